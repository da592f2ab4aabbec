"""transformers.pipeline in fp32, with a generator over the same Parquet files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comparison.contenders import Job, Result, Run
from comparison.images import batches


def read_images(source: Path) -> Iterator[Image.Image]:
    """Open the images of a folder, as the pipeline expects them."""
    for batch in batches(source):
        for cell in batch.column(0):
            yield Image.open(io.BytesIO(cell.as_py()))


def to_probabilities(results: Iterable[list[dict[str, Any]]], labels: dict[int, str]) -> NDArray[np.float32]:
    """Return the results of a pipeline as an array (rows, labels)."""
    rows = [{one["label"]: one["score"] for one in result} for result in results]
    return np.array([[row[labels[index]] for index in sorted(labels)] for row in rows], np.float32)


def load(job: Job, batch_size: int) -> Run:
    """https://huggingface.co/docs/transformers/pipeline_tutorial, for large data: a generator and a batch size."""
    from transformers import pipeline

    classify: Any = pipeline("image-classification", model=str(job.model), device="cpu")
    labels = classify.model.config.id2label

    def run(source: Path) -> Result:
        results = classify(read_images(source), batch_size=batch_size, top_k=len(labels))
        return Result(to_probabilities(results, labels))

    return run
