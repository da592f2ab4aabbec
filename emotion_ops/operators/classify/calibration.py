"""The user's own images → the pixels that int8 is calibrated on."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emotion_ops.errors import OptionError, RowError
from emotion_ops.images.cells import cell_getter
from emotion_ops.images.objects import Cell
from emotion_ops.models.engines.int8 import Calibration
from emotion_ops.operators.rows import Parts, Row
from emotion_ops.operators.run import Run

T = TypeVar("T")

_MAX_IMAGES = 256
_MIN_IMAGES = 16
_GROUPS = 16  # row groups that are read
_TABLES = (".parquet", ".parq", ".pq")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")


def load_calibration(source: str, image: str, prepare: Callable[[Row], Any], run: Run, what: str) -> Calibration:
    """Up to 256 images, spread evenly over a source: image files, or 16 row groups of Parquet.

    Args:
        source: A folder of images, or a Parquet file or folder.
        image: The column of a table that holds the images.
        prepare: Brings a row's image, or the faces in it, to the network's size.
        run: How images are loaded.
        what: What is counted, in words.

    Raises:
        OptionError: There are too few images that can be read.
    """
    images: list[NDArray[np.uint8]] = []
    for cell in _cells(source, image):
        try:
            prepared = prepare(Row.from_values({image: cell}, run))
        except RowError:  # the other images are enough, or too few are left, which is reported below
            continue
        images.extend(prepared.items if isinstance(prepared, Parts) else [prepared])
    if len(images) < _MIN_IMAGES:
        hint = f"it holds {len(images)} {what} that can be read, at least {_MIN_IMAGES} are needed: give a few hundred"
        raise OptionError("Int8.calibration", source, hint)
    return Calibration.from_pixels(np.stack(images))


def calibration_stamp(source: str) -> str:
    """Changes whenever the files of a source may have changed: a hash of names, sizes and times."""
    digest = hashlib.sha256()
    for path in _files(source):
        with contextlib.suppress(OSError):
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files(source: str) -> list[Path]:
    where = Path(os.path.expanduser(source))  # noqa: PTH111  (which raises where there is no home)
    return sorted(path for path in where.rglob("*") if path.is_file()) if where.is_dir() else [where]


def _cells(source: str, image: str) -> Iterator[Cell]:
    files = _files(source)
    if images := [path for path in files if path.suffix.lower() in _IMAGES]:
        for path in _spread(images, _MAX_IMAGES):
            with contextlib.suppress(OSError):  # like a broken one
                yield path.read_bytes()
        return
    try:
        tables = [path for path in files if path.suffix.lower() in _TABLES or len(files) == 1]
        groups = [
            (path, group)
            for path in _spread(tables, _MAX_IMAGES)
            for group in range(pq.read_metadata(path).num_row_groups)
        ]
        chosen = _spread(groups, _GROUPS)
        for path, group in chosen:
            yield from _cells_of_group(path, group, image, -(-_MAX_IMAGES // len(chosen)))
    except (OSError, pa.ArrowException) as error:
        hint = f"give a folder of images, or a Parquet file or folder with the column {image!r} ({error})"
        raise OptionError("Int8.calibration", source, hint) from error


def _cells_of_group(path: Path, group: int, column: str, count: int) -> Iterator[Cell]:
    """Up to ``count`` rows of a row group, spread evenly; only a few of its pages are in memory."""
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
        if column not in file.schema_arrow.names:
            raise pa.ArrowKeyError(f"{path} has no such column")
        step, start = max(1, -(-file.metadata.row_group(group).num_rows // count)), 0
        for batch in file.iter_batches(64, row_groups=[group], columns=[column]):
            cell = cell_getter(batch.column(0), column)
            yield from (cell(row) for row in range(-start % step, batch.num_rows, step))
            start += batch.num_rows


def _spread(items: list[T], count: int) -> list[T]:
    """Up to ``count`` of some items, spread evenly."""
    return items[:: max(1, -(-len(items) // count))]
