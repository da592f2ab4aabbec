"""Images, tables of images and the size of a network: the same on every machine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

VIT_B16: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 16,
}
"""The architecture of the default model."""

ROWS_PER_FILE = 16
QUALITY = 97  # 640 × 480 pixels take about 99 kB, as photographs do at quality 90


def noise_image(width: int, height: int, seed: int) -> Image.Image:
    """Return noise of all scales; coarse noise is stronger, as in photographs."""
    rng = np.random.default_rng((seed, width, height))
    pixels = np.full((height, width, 3), 128, np.float32)
    cells, strength = 3, 50.0
    while cells < 2 * max(width, height):
        for channel in range(3):
            noise = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
            pixels[..., channel] += strength * np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))
        cells, strength = 2 * cells, 0.62 * strength
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def jpegs(count: int, size: tuple[int, int], seed: int = 0) -> list[bytes]:
    """Return images of one size as JPEG files."""
    files = []
    for number in range(count):
        stream = io.BytesIO()
        noise_image(*size, seed + number).save(stream, "JPEG", quality=QUALITY)
        files.append(stream.getvalue())
    return files


def write_table(folder: Path, files: list[bytes], rows: int, mark: str, rows_per_file: int = ROWS_PER_FILE) -> Path:
    """Write a folder of Parquet files with the columns ``id`` and ``image``; the rows use the JPEG files in turn.

    Each JPEG is followed by the mark and the number of its row, which decoders ignore. So no two rows are equal, and
    no row equals one of a table with another mark: no result can come from a cache.
    """
    folder.mkdir(parents=True)
    for start in range(0, rows, rows_per_file):
        part = range(start, min(rows, start + rows_per_file))
        images = [files[row % len(files)] + f"{mark}-{row}".encode() for row in part]
        table = pa.table({"id": pa.array(part, pa.int64()), "image": pa.array(images, pa.binary())})
        pq.write_table(table, folder / f"{start:08}.parquet")
    return folder


def batches(folder: Path, rows: int = ROWS_PER_FILE) -> Iterator[pa.RecordBatch]:
    """Read the images of a folder in batches, in order."""
    for file in sorted(folder.glob("*.parquet")):
        yield from pq.ParquetFile(file).iter_batches(rows, columns=["image"])
