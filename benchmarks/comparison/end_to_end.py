"""The speed of decoding, of the stream from Parquet, and of the pipeline on any device."""

from __future__ import annotations

import io
import shutil
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from comparison.device import rate
from comparison.images import batches
from emotion_ops import ClassifyEmotions, Row


def decode_rate(operator: ClassifyEmotions, files: list[bytes], threads: int, seconds: float, rounds: int) -> float:
    """Return how many images/s a number of threads decode and resize, as the operator does."""
    run = operator.new_run()
    prepare = operator.start(run).prepare
    rows = [Row.from_values({operator.image: file}, run) for file in files] * max(1, 4 * threads // len(files))
    with ThreadPoolExecutor(threads) as pool:
        return rate(lambda: sum(1 for _ in pool.map(prepare, rows)), "cpu", seconds, rounds)


def stream_rate(operator: ClassifyEmotions, sources: Iterable[Path]) -> float:
    """Return the images/s of the stream: the median of all sources but the first. Deletes each source after use."""
    rates: list[float] = []
    for source in sources:
        started = time.perf_counter()
        rows = sum(int(batch.num_rows) for batch in operator.stream(batches(source, 256)))
        rates.append(rows / (time.perf_counter() - started))
        shutil.rmtree(source)
    return statistics.median(rates[1:])


class Images(torch.utils.data.Dataset[Image.Image]):
    """The images of a folder by number, so that the pipeline's workers can share them."""

    def __init__(self, source: Path) -> None:
        self._cells = [cell.as_py() for batch in batches(source) for cell in batch.column(0)]

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, row: int) -> Image.Image:
        return Image.open(io.BytesIO(self._cells[row]))


def pipeline_rate(model: str, source: Path, device: str, batch: int, workers: int) -> float:
    """Return the images/s of transformers.pipeline (fp16 on a GPU) with a number of loading processes, 0 or more."""
    from transformers import pipeline

    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    classify: Any = pipeline("image-classification", model=model, device=device, dtype=dtype)
    images = Images(source)
    for _ in classify(torch.utils.data.Subset(images, range(min(2 * batch, len(images)))), batch_size=batch):
        pass
    started = time.perf_counter()
    rows = sum(1 for _ in classify(images, batch_size=batch, num_workers=workers))
    return rows / (time.perf_counter() - started)
