"""JPEGs that are decoded at a half, a quarter or an eighth of their size, if that is enough for the network.

libjpeg skips the frequencies that a smaller image cannot show. This is the cheapest way to resize, and there is less
to decode. Pillow calls it ``draft``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from emotion_ops.images.formats import exif_orientation
from emotion_ops.images.resize import Resize

_QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_RIGHT_TO_LEFT, _BOTTOM_TO_TOP = (2, 3, 6, 7), (3, 4, 7, 8)  # that move the right edge left; the bottom edge up


@dataclass(frozen=True)
class RestOfResize:
    """The transform that remains for an image that was decoded at a part of its size.

    Attributes:
        resize: The transform of the image at full size.
        size: Width and height that it resizes to.
        box: The exact image inside the decoded one, whose sides libjpeg rounds up: left, top, right, bottom.
    """

    resize: Resize
    size: tuple[int, int]
    box: tuple[float, float, float, float]

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """See ``Resize``; the image is upright."""
        return self.resize.crop_centre(image.resize(self.size, self.resize.resample, self.box))


def scale_down(image: Image.Image, resize: Resize) -> RestOfResize | None:
    """Make Pillow decode a JPEG at the smallest scale at which no side is shorter than it is resized to.

    Args:
        image: An image that is not decoded, and that no other code uses.
        resize: What is done with it.

    Returns:
        The transform that remains when it is decoded and upright. None if it is decoded at full size: it is not a
        JPEG, or too small.

    Raises:
        RowError: ``too_large``; see ``Resize.resized_size``.
    """
    if not isinstance(image, JpegImageFile):
        return None
    full_size, orientation = image.size, exif_orientation(image)
    is_turned = orientation in _QUARTER_TURNS
    size = resize.resized_size(*(full_size[::-1] if is_turned else full_size))
    drafted = image.draft(None, size[::-1] if is_turned else size)
    if drafted is None or image.size == full_size:
        return None
    (width, height), (_, _, right, bottom) = image.size, drafted[1]
    excess = (width - right, height - bottom)  # less than a pixel, at the right and the bottom
    (excess_x, excess_y), (width, height) = (excess[::-1], (height, width)) if is_turned else (excess, (width, height))
    left, top = excess_x if orientation in _RIGHT_TO_LEFT else 0.0, excess_y if orientation in _BOTTOM_TO_TOP else 0.0
    return RestOfResize(resize, size, (left, top, width - excess_x + left, height - excess_y + top))
