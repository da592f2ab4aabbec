"""A picture and a box in it → the square that the network sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LONGEST = 1024
"""Side of a square that reaches beyond the picture, at the most. It is for a network of some hundred pixels, and in
full it might be many times the picture."""

_AT_ONCE = 2**19  # pixels


def crop(picture: Image.Image, box: NDArray[np.float32], margin: float) -> Image.Image:
    """Cut out the square on a box's longer side, around its centre; edges are repeated beyond the picture.

    Args:
        picture: An upright RGB picture.
        box: x, y, width, height, in its pixels; not empty, and inside it.
        margin: What is added on each side, as a part of the longer side; 0 to 1.

    Returns:
        A square RGB picture of at least one pixel, neither stretched nor levelled. One that reaches beyond the picture
        and is longer than ``LONGEST`` is resized to that (bilinear), without ever being there in full.
    """
    x, y, width, height = (float(number) for number in box[:4])
    side = max(1, round(max(width, height) * (1 + 2 * margin)))
    left, top = math.floor(x + width / 2 - side / 2 + 0.5), math.floor(y + height / 2 - side / 2 + 0.5)
    right, bottom = left + side, top + side
    within = max(0, left), max(0, top), min(picture.width, right), min(picture.height, bottom)
    if within == (left, top, right, bottom):
        return picture.crop(within)
    across, down = (within[0] - left, right - within[2]), (within[1] - top, bottom - within[3])
    if side <= LONGEST:
        return Image.fromarray(np.pad(np.asarray(picture.crop(within)), (down, across, (0, 0)), mode="edge"))

    def rows(start: int, end: int) -> NDArray[np.uint8]:
        return np.asarray(picture.crop((within[0], within[1] + start, within[2], within[1] + end)))

    narrow = _resized(rows, within[3] - within[1], across)
    turned = _resized(lambda start, end: narrow[:, start:end].swapaxes(0, 1), LONGEST, down)
    return Image.fromarray(turned.swapaxes(0, 1))


def peak(width: int, height: int, margin: float) -> int:
    """Bytes that ``crop`` fills at the worst moment for any box in a picture of this size, as measured."""
    side = math.ceil(max(width, height) * (1 + 2 * margin))
    square = 14 * min(side, LONGEST) ** 2
    return max(4 * width * height, square if side <= LONGEST else square + 3 * LONGEST * height)


def _resized(lines: Callable[[int, int], NDArray[np.uint8]], count: int, beyond: tuple[int, int]) -> NDArray[np.uint8]:
    """Lines of pixels, their ends repeated so often, at a length of ``LONGEST``; few of them are there at once.

    Args:
        lines: Those from one on up to another: (lines, length, 3).
        count: How many there are.
        beyond: How often the first and the last pixel are repeated.
    """
    resized = np.empty((count, LONGEST, 3), np.uint8)
    some = max(1, _AT_ONCE // (lines(0, 1).shape[1] + sum(beyond)))
    for start in range(0, count, some):
        band = np.pad(lines(start, min(start + some, count)), ((0, 0), beyond, (0, 0)), mode="edge")
        resized[start : start + some] = np.asarray(
            Image.fromarray(band).resize((LONGEST, len(band)), Image.Resampling.BILINEAR)
        )
    return resized


@dataclass(frozen=True)
class PassThrough:
    """A transform that leaves a picture as it is, for another process to cut faces out of it.

    Attributes:
        margin: As ``crop`` takes it.
    """

    margin: float

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """All pixels."""
        return np.asarray(picture)

    def peak(self, width: int, height: int) -> int:
        """An array, its bytes, the message, what the other side receives; and there the square, at last."""
        return 12 * width * height + peak(width, height, self.margin)
