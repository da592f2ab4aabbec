"""The same job in datasets, Ray Data and Daft, each written as its own documentation shows."""

from __future__ import annotations

import io
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from comparison.contenders import Answer, Job, Run
from comparison.pipelines import in_order

_PATIENCE = 300  # seconds that workers wait for each other


class Gate:
    """Where workers that have started wait for the others, so that the clock starts with all of them at work.

    Args:
        folder: Where each leaves a file.
        workers: How many there will be.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder, self._workers = folder, workers
        folder.mkdir(parents=True, exist_ok=True)

    def pass_through(self) -> None:
        """Called by each worker when it could begin."""
        (self._folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        until = time.time() + _PATIENCE
        while len(list(self._folder.iterdir())) < self._workers:
            if time.time() > until:
                raise TimeoutError(f"fewer than {self._workers} workers started in {_PATIENCE} s")
            time.sleep(0.01)

    def opened(self) -> float:
        """The time when the last of them came."""
        return max(path.stat().st_mtime for path in self._folder.iterdir())


def prepare(job: Job, framework: str, batch_size: int) -> Run:
    """One of the three, as far as it can be started before its source is known."""
    return {"datasets": _datasets, "ray": _ray, "daft": _daft}[framework](job, batch_size)


def _files(source: Path) -> list[str]:
    return [str(path) for path in sorted(source.glob("*.parquet"))]


def _datasets(job: Job, batch_size: int) -> Run:
    """https://huggingface.co/docs/datasets/process#multiprocessing: a function with model and processor, on batches."""
    import torch
    from datasets import Dataset, Image, disable_progress_bars
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    disable_progress_bars()
    model = AutoModelForImageClassification.from_pretrained(job.model).eval()
    processor = AutoImageProcessor.from_pretrained(job.model)  # type: ignore[no-untyped-call]  # transformers leaves it untyped

    def classify(rows: dict[str, Any]) -> dict[str, Any]:
        inputs = processor(images=rows["image"], return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        return {"probabilities": outputs.logits.softmax(dim=-1).numpy()}

    def run(source: Path) -> Answer:
        rows = Dataset.from_parquet(_files(source), cache_dir=str(job.scratch)).cast_column("image", Image())
        done = rows.map(classify, batched=True, batch_size=batch_size, remove_columns=["image"])
        return Answer(np.array(done["probabilities"], np.float32))

    return run


class RayClassifier:
    """https://docs.ray.io/en/latest/data/examples/huggingface_vit_batch_prediction.html: an actor with a pipeline."""

    def __init__(self, model: str, gate: Gate, batch_size: int) -> None:
        from transformers import pipeline

        self.classify: Any = pipeline("image-classification", model=model, device="cpu")
        self.batch_size = batch_size
        gate.pass_through()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The probabilities of a batch of decoded pictures."""
        pictures = [Image.fromarray(pixels) for pixels in batch["image"]]
        names = self.classify.model.config.id2label
        answers = self.classify(pictures, top_k=len(names), batch_size=self.batch_size)
        return {"id": batch["id"], "probabilities": in_order(answers, names)}


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    row["image"] = np.array(Image.open(io.BytesIO(row["image"])).convert("RGB"))
    return row


def _ray(job: Job, batch_size: int) -> Run:
    """An actor for each core, with the one thread that Ray gives it; decoding is a ``map`` before them.

    Ray is told of one core more than there is: the actors hold theirs, and reading would be left without any.
    """
    import ray

    ray.init(num_cpus=job.cores + 1, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def run(source: Path) -> Answer:
        gate = Gate(job.scratch / "gate" / source.name, job.cores)
        rows = ray.data.read_parquet(_files(source)).map(_decoded)
        done = rows.map_batches(
            RayClassifier,
            fn_constructor_args=(str(job.model), gate, batch_size),
            compute=ray.data.ActorPoolStrategy(size=job.cores),
            batch_size=batch_size,
        )
        found = {row["id"]: row["probabilities"] for row in done.iter_rows()}
        return Answer(np.stack([found[row] for row in sorted(found)]), gate.opened())

    return run


def _daft(job: Job, batch_size: int) -> Run:
    """https://docs.daft.ai/en/stable/custom-code/cls/: a class whose batch method gets decoded pictures.

    As there, with no limit on concurrency: with one, Daft starts a process and copies the pictures to it. The class is
    instantiated in the first run, which is not timed, and stays.
    """
    import daft
    from daft import DataType, Series

    @daft.cls
    class Classifier:
        def __init__(self, model: str) -> None:
            from transformers import AutoImageProcessor, AutoModelForImageClassification

            self.processor = AutoImageProcessor.from_pretrained(model)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            self.model = AutoModelForImageClassification.from_pretrained(model).eval()

        @daft.method.batch(return_dtype=DataType.list(DataType.float32()), batch_size=batch_size)  # type: ignore[untyped-decorator]  # so Daft leaves it
        def probabilities(self, images: Series) -> Any:
            import torch

            inputs = self.processor(images=images.to_pylist(), return_tensors="pt")
            with torch.no_grad():
                return list(self.model(**inputs).logits.softmax(dim=-1).numpy())

    classifier = Classifier(str(job.model))

    def run(source: Path) -> Answer:
        rows = daft.read_parquet(_files(source))
        rows = rows.with_column("image", rows["image"].decode_image(mode="RGB"))
        done = rows.select("id", classifier.probabilities(rows["image"]).alias("probabilities")).sort("id").to_pydict()
        return Answer(np.array(done["probabilities"], np.float32))

    return run
