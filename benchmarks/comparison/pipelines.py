"""transformers.pipeline in fp32, fed by a generator over the same Parquet files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comparison.contenders import Answer, Job, Run
from comparison.pictures import batches


def images(source: Path) -> Iterator[Image.Image]:
    """The pictures of a folder, opened as the pipeline takes them."""
    for batch in batches(source):
        for cell in batch.column(0):
            yield Image.open(io.BytesIO(cell.as_py()))


def in_order(answers: Iterable[list[dict[str, Any]]], names: dict[int, str]) -> NDArray[np.float32]:
    """What a pipeline says, as (rows, labels)."""
    rows = [{one["label"]: one["score"] for one in answer} for answer in answers]
    return np.array([[row[names[index]] for index in sorted(names)] for row in rows], np.float32)


def prepare(job: Job, batch_size: int) -> Run:
    """https://huggingface.co/docs/transformers/pipeline_tutorial, for large data: a generator and a batch size."""
    from transformers import pipeline

    classify: Any = pipeline("image-classification", model=str(job.model), device="cpu")
    names = classify.model.config.id2label

    def run(source: Path) -> Answer:
        answers = classify(images(source), batch_size=batch_size, top_k=len(names))
        return Answer(in_order(answers, names))

    return run
