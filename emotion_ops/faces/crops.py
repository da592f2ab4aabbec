"""An image and a box in it → the square crop for the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_PADDED_SIDE = 1024
"""Maximum side of a crop that reaches beyond the image. Networks take some hundred pixels, and the crop in full size
could be many times as large as the image."""

_BAND_PIXELS = 2**19  # that are padded at a time


def crop_face(image: Image.Image, box: NDArray[np.float32], margin: float) -> Image.Image:
    """Cut out the square with a box's longer side, around the box's centre. Beyond the image its edge is repeated.

    Args:
        image: An upright RGB image.
        box: x, y, width, height, in pixels of the image; not empty, and inside the image.
        margin: What is added on each side, as a part of the longer side; 0 to 1.

    Returns:
        A square RGB image of at least one pixel, not stretched and not rotated. A square that reaches beyond the image
        and is longer than ``MAX_PADDED_SIDE`` is resized to that (bilinear); it is never in memory in full size.
    """
    x, y, width, height = (float(number) for number in box[:4])
    side = max(1, round(max(width, height) * (1 + 2 * margin)))
    left, top = math.floor(x + width / 2 - side / 2 + 0.5), math.floor(y + height / 2 - side / 2 + 0.5)
    right, bottom = left + side, top + side
    inside = max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)
    if inside == (left, top, right, bottom):
        return image.crop(inside)
    pad_x, pad_y = (inside[0] - left, right - inside[2]), (inside[1] - top, bottom - inside[3])
    if side <= MAX_PADDED_SIDE:
        return Image.fromarray(np.pad(np.asarray(image.crop(inside)), (pad_y, pad_x, (0, 0)), mode="edge"))

    def rows(start: int, end: int) -> NDArray[np.uint8]:
        return np.asarray(image.crop((inside[0], inside[1] + start, inside[2], inside[1] + end)))

    narrow = _pad_and_resize(rows, inside[3] - inside[1], pad_x)
    turned = _pad_and_resize(lambda start, end: narrow[:, start:end].swapaxes(0, 1), MAX_PADDED_SIDE, pad_y)
    return Image.fromarray(turned.swapaxes(0, 1))


def crop_peak_bytes(width: int, height: int, margin: float) -> int:
    """Largest memory that ``crop_face`` takes for any box in an image of this size, as measured."""
    side = math.ceil(max(width, height) * (1 + 2 * margin))
    square = 14 * min(side, MAX_PADDED_SIDE) ** 2
    return max(4 * width * height, square if side <= MAX_PADDED_SIDE else square + 3 * MAX_PADDED_SIDE * height)


def _pad_and_resize(
    lines: Callable[[int, int], NDArray[np.uint8]], count: int, padding: tuple[int, int]
) -> NDArray[np.uint8]:
    """Lines of pixels, padded with their first and last pixel and resized to ``MAX_PADDED_SIDE``, a few at a time.

    Args:
        lines: Those from one number up to another: (lines, length, 3).
        count: Number of lines.
        padding: How often the first and the last pixel are repeated.
    """
    resized = np.empty((count, MAX_PADDED_SIDE, 3), np.uint8)
    step = max(1, _BAND_PIXELS // (lines(0, 1).shape[1] + sum(padding)))
    for start in range(0, count, step):
        band = np.pad(lines(start, min(start + step, count)), ((0, 0), padding, (0, 0)), mode="edge")
        resized[start : start + step] = np.asarray(
            Image.fromarray(band).resize((MAX_PADDED_SIDE, len(band)), Image.Resampling.BILINEAR)
        )
    return resized


@dataclass(frozen=True)
class PassThrough:
    """A transform that leaves an image unchanged, so that another process can crop faces from it.

    Attributes:
        margin: See ``crop_face``.
    """

    margin: float

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """All pixels."""
        return np.asarray(image)

    def peak(self, width: int, height: int) -> int:
        """The array, its bytes, the message and what the other process receives; and there the crop."""
        return 12 * width * height + crop_peak_bytes(width, height, self.margin)
