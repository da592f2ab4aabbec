"""JPEGs decoded at a half, a quarter or an eighth of their size, where that is still enough for the network.

libjpeg leaves out the frequencies that a smaller picture has no room for, which is the cheapest resize there is,
and less to decode. Pillow calls it ``draft``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from emotion_ops.images.decode import orientation_of
from emotion_ops.images.preprocess import Resize

_TURNED = (5, 6, 7, 8)  # EXIF orientations whose width is the picture's height
_FLIPPED_ACROSS, _FLIPPED_DOWN = (2, 3, 6, 7), (3, 4, 7, 8)  # whose right edge comes to the left; bottom to the top


@dataclass(frozen=True)
class Scaled:
    """What is left to do for a picture that was decoded at a part of its size: a transform like any other.

    Attributes:
        resize: What is to be done to the picture of full size.
        size: Width and height that it resizes to.
        box: The part of the smaller picture that is the picture: left, top, right, bottom. libjpeg rounds sides up.
    """

    resize: Resize
    size: tuple[int, int]
    box: tuple[float, float, float, float]

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """See ``Resize``; the picture is upright."""
        return self.resize.cut(image.resize(self.size, self.resize.resample, self.box))


def scale_down(picture: Image.Image, resize: Resize) -> Scaled | None:
    """Have a JPEG decoded at the smallest scale at which neither side is shorter than it is resized to.

    Args:
        picture: A picture that has not been decoded, and is nobody else's.
        resize: What is to be done to it.

    Returns:
        What is left to do once it is decoded and upright. None where it is decoded whole: no JPEG, or too small.

    Raises:
        RowError: ``too_large``; see ``Resize.resized``.
    """
    if not isinstance(picture, JpegImageFile):
        return None
    whole, orientation = picture.size, orientation_of(picture)
    turned = orientation in _TURNED
    size = resize.resized(*(whole[::-1] if turned else whole))
    drafted = picture.draft(None, size[::-1] if turned else size)
    if drafted is None or picture.size == whole:
        return None
    (width, height), (_, _, right, bottom) = picture.size, drafted[1]
    excess = (width - right, height - bottom)  # less than a pixel, at the right and the bottom
    (across, down), (width, height) = (excess[::-1], (height, width)) if turned else (excess, (width, height))
    left, top = across if orientation in _FLIPPED_ACROSS else 0.0, down if orientation in _FLIPPED_DOWN else 0.0
    return Scaled(resize, size, (left, top, width - across + left, height - down + top))
