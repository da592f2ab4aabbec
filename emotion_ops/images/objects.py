"""Image cells of Python objects: of a pandas object column, or of a list."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from emotion_ops.errors import EmotionOpsError, RowError, RowErrorCode
from emotion_ops.images.spark import FIELDS, SparkImage, spark_image
from emotion_ops.io.redact import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

Cell: TypeAlias = "str | bytes | memoryview | NDArray[Any] | SparkImage | Image.Image | None"
"""An image cell as a plain Python value, the same for tables of every kind:

    None                  missing
    str                   a path or URI
    bytes, memoryview     an encoded image; of a binary column a view of Arrow's own buffer, not a copy
    numpy.ndarray         decoded pixels, uint8
    SparkImage            decoded pixels of Spark's image struct
    PIL.Image.Image       an image of a pandas object column or a list
"""


def to_cell(value: Any) -> Cell:
    """Turn one Python object into a cell.

    Accepts every cell, and also ``pathlib`` paths, ``bytearray``, the dict ``{"bytes": …, "path": …}`` of Hugging
    Face datasets, a dict of Spark's image struct, and the missing values of pandas. Any other object is returned as
    it is; the loader then refuses it with an error that names its type.

    Raises:
        RowError: The object cannot be read, or a dict has neither form.
    """
    with foreign_code(value):
        return _to_cell(value)


def cell_bytes(cell: Cell) -> int:
    """Bytes that a cell keeps in memory until it is decoded; 0 for a path."""
    if isinstance(cell, bytes):
        return len(cell)
    pixels = cell.pixels if isinstance(cell, SparkImage) else cell
    try:
        return pixels.nbytes if isinstance(pixels, memoryview | np.ndarray) else 0
    except ValueError:  # the caller has released the memoryview
        return 0


@contextlib.contextmanager
def foreign_code(value: object) -> Iterator[None]:
    """Make any exception in the block the row's error: a caller's object may raise whatever it likes."""
    try:
        yield
    except EmotionOpsError:
        raise
    except Exception as error:
        what = f"the {type(value).__name__} in the cell cannot be read ({reason(error)})"
        raise RowError(RowErrorCode.UNREADABLE, what) from None


def _to_cell(value: Any) -> Cell:
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, bytearray | memoryview):
        return value if isinstance(value, memoryview) and value.contiguous and value.itemsize == 1 else bytes(value)
    if isinstance(value, Mapping):
        return _from_mapping(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value  # type: ignore[no-any-return]  # any object: the loader's error names its type


def _from_mapping(value: Mapping[Any, Any]) -> Cell:
    if value.keys() >= FIELDS:
        return spark_image(value["height"], value["width"], value["nChannels"], value["data"])
    if "bytes" not in value and "path" not in value:
        keys = ", ".join(map(repr, value)) or "no keys"
        what = f"a {type(value).__name__} with {keys:.100}; give bytes and path, or the fields of Spark's image struct"
        raise RowError(RowErrorCode.UNSUPPORTED, what)
    encoded = value.get("bytes")
    return _to_cell(value.get("path") if encoded is None else encoded)
