"""The user's own images → the pictures that int8 is calibrated on."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from emotion_ops.errors import OptionError, RowError
from emotion_ops.images.cells import Cell, cells_of
from emotion_ops.images.loader import ImageLoader
from emotion_ops.models.engines.int8 import Calibration
from emotion_ops.operators.classify.face_loader import Crops, FaceLoader

if TYPE_CHECKING:
    from emotion_ops.operators.classify.operator import ClassifyEmotions

T = TypeVar("T")

PICTURES = 256
_FEWEST = 16
_GROUPS = 16  # row groups that are read, of however many
_TABLES = (".parquet", ".parq", ".pq")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")


def calibration_of(options: ClassifyEmotions, loader: ImageLoader | FaceLoader) -> Calibration:
    """Up to 256 pictures, spread evenly over what ``options.calibration`` names: images, or 16 row groups.

    Args:
        options: What is calibrated on, and which column of a table holds the images.
        loader: Brings an image, or the faces in it, to the network's size.

    Raises:
        OptionError: Nothing is named, or it holds too few images that can be read.
    """
    if options.calibration is None:
        raise OptionError("precision", "int8", "say what it is calibrated on: calibration='images/'")
    pictures: list[NDArray[np.uint8]] = []
    for cell in _cells(options):
        try:
            loaded = loader.load_unless(cell, None)
        except RowError:  # a broken image calibrates nothing; the others are enough, or it is told below
            continue
        if isinstance(loaded, Crops):
            pictures.extend(loaded.pixels)
        elif loaded is not None:
            pictures.append(loaded)
    if len(pictures) < _FEWEST:
        what = "faces in images" if isinstance(loader, FaceLoader) else "images"
        hint = f"it holds {len(pictures)} {what} that can be read, and {_FEWEST} are the fewest: give a few hundred"
        raise OptionError("calibration", options.calibration, hint)
    return Calibration.from_pixels(np.stack(pictures))


def calibration_stamp(options: ClassifyEmotions) -> str:
    """Changes whenever what ``options.calibration`` names may have changed: a hash of names, sizes and times."""
    digest = hashlib.sha256()
    for path in _files(options):
        with contextlib.suppress(OSError):
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files(options: ClassifyEmotions) -> list[Path]:
    where = Path(os.path.expanduser(str(options.calibration)))  # noqa: PTH111  (which raises where there is no home)
    return sorted(path for path in where.rglob("*") if path.is_file()) if where.is_dir() else [where]


def _cells(options: ClassifyEmotions) -> Iterator[Cell]:
    files = _files(options)
    if images := [path for path in files if path.suffix.lower() in _IMAGES]:
        for path in _spread(images, PICTURES):
            with contextlib.suppress(OSError):  # like one that is broken
                yield path.read_bytes()
        return
    try:
        tables = [path for path in files if path.suffix.lower() in _TABLES or len(files) == 1]
        groups = [
            (path, group)
            for path in _spread(tables, PICTURES)
            for group in range(pq.read_metadata(path).num_row_groups)
        ]
        chosen = _spread(groups, _GROUPS)
        for path, group in chosen:
            yield from _cells_of_group(path, group, options.image, -(-PICTURES // len(chosen)))
    except (OSError, pa.ArrowException) as error:
        hint = f"give a folder of images, or a Parquet file or folder with the column {options.image!r} ({error})"
        raise OptionError("calibration", options.calibration, hint) from error


def _cells_of_group(path: Path, group: int, column: str, count: int) -> Iterator[Cell]:
    """Up to so many rows of a row group, spread evenly; a few of its pages are in memory at once."""
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
        if column not in file.schema_arrow.names:
            raise pa.ArrowKeyError(f"{path} has no such column")
        step, start = max(1, -(-file.metadata.row_group(group).num_rows // count)), 0
        for batch in file.iter_batches(64, row_groups=[group], columns=[column]):
            cell = cells_of(batch.column(0), column)
            yield from (cell(row) for row in range(-start % step, batch.num_rows, step))
            start += batch.num_rows


def _spread(items: list[T], count: int) -> list[T]:
    """Up to so many of them, evenly."""
    return items[:: max(1, -(-len(items) // count))]
