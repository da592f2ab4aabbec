"""The user's own images → the pictures that int8 is calibrated on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotion_ops.errors import ImageError, OptionError
from emotion_ops.images.cells import Cell, cells_of
from emotion_ops.images.loader import ImageLoader
from emotion_ops.models.int8 import Calibration

if TYPE_CHECKING:
    from emotion_ops.operators.classify import ClassifyEmotions

PICTURES = 256
_FEWEST = 16
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")


def calibration_of(options: ClassifyEmotions, loader: ImageLoader) -> Calibration:
    """Up to 256 pictures, spread evenly over what ``options.calibration`` names.

    Args:
        options: What is calibrated on, and which column of a table holds the images.
        loader: Brings an image to the network's size.

    Raises:
        OptionError: Nothing is named, or it holds too few images that can be read.
    """
    if options.calibration is None:
        raise OptionError("precision", "int8", "say what it is calibrated on: calibration='images/'")
    pictures = []
    for cell in _cells(options):
        try:
            pictures.append(loader.load(cell))
        except ImageError:  # a broken image calibrates nothing; the others are enough, or it is told below
            continue
    if len(pictures) < _FEWEST:
        cure = f"it holds {len(pictures)} images that can be read, and {_FEWEST} are the fewest: give a few hundred"
        raise OptionError("calibration", options.calibration, cure)
    return Calibration.of(np.stack(pictures))


def _cells(options: ClassifyEmotions) -> Iterator[Cell]:
    import pyarrow.dataset as ds  # loads pandas where it is installed

    where = Path(str(options.calibration)).expanduser()
    files = sorted(path for path in where.rglob("*") if path.suffix.lower() in _ENDINGS) if where.is_dir() else []
    if files:
        yield from (path.read_bytes() for path in files[:: -(-len(files) // PICTURES)])
        return
    try:
        dataset = ds.dataset(where, format="parquet")
        rows = dataset.count_rows()
        batches = dataset.to_batches(columns=[options.image], batch_size=64)
    except (OSError, ValueError) as error:
        cure = f"give a folder of images, or a Parquet file or folder with the column {options.image!r} ({error})"
        raise OptionError("calibration", options.calibration, cure) from error
    step, start = max(1, -(-rows // PICTURES)), 0
    for batch in batches:
        cell = cells_of(batch.column(0), options.image)
        for row in itertools.islice(range(-start % step, batch.num_rows), 0, None, step):
            yield cell(row)
        start += batch.num_rows
