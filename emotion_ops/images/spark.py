"""Spark's image struct: an Arrow struct, or a dict of the same fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import RowError, RowErrorCode

FIELDS = frozenset(("height", "width", "nChannels", "mode", "data"))
"""The fields of the struct that are needed; ``origin`` is optional."""


@dataclass(frozen=True, eq=False)
class SparkImage:
    """Decoded pixels in OpenCV's order, whatever ``Decoding.channels`` says.

    Attributes:
        pixels: uint8 (height, width, 1), or BGR (height, width, 3), or BGR and alpha (height, width, 4).
    """

    pixels: NDArray[np.uint8]


def spark_image(height: Any, width: Any, channels: Any, data: Any) -> SparkImage | None:
    """Read a Spark image.

    Args:
        height: The field ``height``.
        width: The field ``width``.
        channels: The field ``nChannels``: 1, 3 or 4.
        data: The rows of the image, as an object with a buffer.

    Returns:
        The image; its pixels are a view of the buffer. None if there is no data.

    Raises:
        RowError: ``undecodable``: the sizes do not fit the data.
    """
    if data is None:
        return None
    pixels = np.frombuffer(data, dtype=np.uint8)
    sizes = (height, width, channels)
    are_counts = all(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0 for size in sizes)
    if not are_counts or channels not in (1, 3, 4) or pixels.size != int(height) * int(width) * int(channels):
        raise RowError(
            RowErrorCode.UNDECODABLE,
            f"Spark image of {height} × {width} with {channels} channels has {pixels.size} bytes of data",
        )
    return SparkImage(pixels.reshape(height, width, channels))
