"""A picture and a box in it → the square that the network sees."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def crop(picture: Image.Image, box: NDArray[np.float32], margin: float) -> Image.Image:
    """Cut out the square on a box's longer side, around its centre; edges are repeated beyond the picture.

    Args:
        picture: An upright RGB picture.
        box: x, y, width, height, in its pixels; not empty, and inside it.
        margin: What is added on each side, as a part of the longer side.

    Returns:
        A square RGB picture of at least one pixel. It is neither stretched nor levelled.
    """
    x, y, width, height = (float(number) for number in box[:4])
    side = max(1, round(max(width, height) * (1 + 2 * margin)))
    left, top = math.floor(x + width / 2 - side / 2 + 0.5), math.floor(y + height / 2 - side / 2 + 0.5)
    right, bottom = left + side, top + side
    inside = picture.crop((max(0, left), max(0, top), min(picture.width, right), min(picture.height, bottom)))
    if inside.size == (side, side):
        return inside
    beyond = ((max(0, -top), max(0, bottom - picture.height)), (max(0, -left), max(0, right - picture.width)), (0, 0))
    return Image.fromarray(np.pad(np.asarray(inside), beyond, mode="edge"))
