"""The same job in datasets, Ray Data and Daft, each written as its documentation shows."""

from __future__ import annotations

import io
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from comparison.contenders import Job, Result, Run
from comparison.pipelines import to_probabilities

_TIMEOUT = 300  # seconds that workers wait for each other


class Barrier:
    """Workers that have started wait here for the others, so that only the time with all workers is measured.

    Args:
        folder: For one file of each worker.
        workers: How many workers there are.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder, self._workers = folder, workers
        folder.mkdir(parents=True, exist_ok=True)

    def wait(self) -> None:
        """Wait for all workers; each worker calls this when it is ready."""
        (self._folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        until = time.time() + _TIMEOUT
        while len(list(self._folder.iterdir())) < self._workers:
            if time.time() > until:
                raise TimeoutError(f"fewer than {self._workers} workers started in {_TIMEOUT} s")
            time.sleep(0.01)

    def ready(self) -> float:
        """Return the time (``time.time``) when the last worker was ready."""
        return max(path.stat().st_mtime for path in self._folder.iterdir())


def load(job: Job, framework: str, batch_size: int) -> Run:
    """Load one of the three, as far as that is possible before the source is known."""
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

    def run(source: Path) -> Result:
        rows = Dataset.from_parquet(_files(source), cache_dir=str(job.scratch)).cast_column("image", Image())
        done = rows.map(classify, batched=True, batch_size=batch_size, remove_columns=["image"])
        return Result(np.array(done["probabilities"], np.float32))

    return run


class RayClassifier:
    """https://docs.ray.io/en/latest/data/examples/huggingface_vit_batch_prediction.html: an actor with a pipeline."""

    def __init__(self, model: str, barrier: Barrier, batch_size: int) -> None:
        from transformers import pipeline

        self.classify: Any = pipeline("image-classification", model=model, device="cpu")
        self.batch_size = batch_size
        barrier.wait()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the probabilities of a batch of decoded images."""
        images = [Image.fromarray(pixels) for pixels in batch["image"]]
        labels = self.classify.model.config.id2label
        results = self.classify(images, top_k=len(labels), batch_size=self.batch_size)
        return {"id": batch["id"], "probabilities": to_probabilities(results, labels)}


def _decode(row: dict[str, Any]) -> dict[str, Any]:
    row["image"] = np.array(Image.open(io.BytesIO(row["image"])).convert("RGB"))
    return row


def _ray(job: Job, batch_size: int) -> Run:
    """One actor for each core, with the one thread that Ray gives it; a ``map`` before them decodes.

    ``num_cpus`` is one more than there is: the actors reserve all cores, and nothing would be left for reading.
    """
    import ray

    ray.init(num_cpus=job.cores + 1, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def run(source: Path) -> Result:
        barrier = Barrier(job.scratch / "barrier" / source.name, job.cores)
        rows = ray.data.read_parquet(_files(source)).map(_decode)
        done = rows.map_batches(
            RayClassifier,
            fn_constructor_args=(str(job.model), barrier, batch_size),
            compute=ray.data.ActorPoolStrategy(size=job.cores),
            batch_size=batch_size,
        )
        found = {row["id"]: row["probabilities"] for row in done.iter_rows()}
        return Result(np.stack([found[row] for row in sorted(found)]), barrier.ready())

    return run


def _daft(job: Job, batch_size: int) -> Run:
    """https://docs.daft.ai/en/stable/custom-code/cls/: a class whose batch method gets decoded images.

    As there, concurrency has no limit: with a limit, Daft starts a process and copies the images to it. The first run,
    which is not timed, makes the instance that all runs use.
    """
    import daft
    from daft import DataType, Series

    @daft.cls
    class Classifier:
        def __init__(self, model: str) -> None:
            from transformers import AutoImageProcessor, AutoModelForImageClassification

            self.processor = AutoImageProcessor.from_pretrained(model)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            self.model = AutoModelForImageClassification.from_pretrained(model).eval()

        @daft.method.batch(return_dtype=DataType.list(DataType.float32()), batch_size=batch_size)  # type: ignore[untyped-decorator]  # Daft leaves it untyped
        def probabilities(self, images: Series) -> Any:
            import torch

            inputs = self.processor(images=images.to_pylist(), return_tensors="pt")
            with torch.no_grad():
                return list(self.model(**inputs).logits.softmax(dim=-1).numpy())

    classifier = Classifier(str(job.model))

    def run(source: Path) -> Result:
        rows = daft.read_parquet(_files(source))
        rows = rows.with_column("image", rows["image"].decode_image(mode="RGB"))
        done = rows.select("id", classifier.probabilities(rows["image"]).alias("probabilities")).sort("id").to_pydict()
        return Result(np.array(done["probabilities"], np.float32))

    return run
