"""An upright RGB image → uint8 pixels of the size that the network takes.

Rescaling and normalisation are one multiply-add for each channel. The engine does them, on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import RowError, RowErrorCode

_MAX_PIXELS = 100_000_000  # of a resized image, before its centre is cut out


@dataclass(frozen=True)
class Resize:
    """Resize, then cut out the centre, as the image processors of transformers do with Pillow.

    Attributes:
        size: (height, width) to resize to, or the length of the shorter side as an int, or None.
        resample: Pillow's resampling filter.
        crop: (height, width) of the centre, padded with black if the image is smaller; None for the whole image.
    """

    size: tuple[int, int] | int | None
    resample: Image.Resampling
    crop: tuple[int, int] | None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Resize | None:
        """Read the transform from the configuration of an image processor.

        Args:
            config: The processor's whole configuration, defaults included.

        Returns:
            The transform; None if the configuration asks for something that this class does not do.
        """
        size: tuple[int, int] | int | None = None
        crop: tuple[int, int] | None = None
        if config.get("do_resize"):
            wanted = {key: value for key, value in dict(config.get("size") or {}).items() if value is not None}
            if wanted.keys() == {"height", "width"}:
                size = (wanted["height"], wanted["width"])
            elif wanted.keys() == {"shortest_edge"}:
                size = wanted["shortest_edge"]
            else:
                return None
        if config.get("do_center_crop"):
            wanted = dict(config.get("crop_size") or {})
            if not {"height", "width"} <= wanted.keys():
                return None
            crop = (wanted["height"], wanted["width"])
        if config.get("do_pad") or config.get("do_flip_channel_order"):
            return None
        return cls(size, Image.Resampling(config.get("resample", Image.Resampling.BILINEAR)), crop)

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """The image at the network's size.

        Args:
            image: An RGB image.

        Returns:
            uint8 (height, width, 3), RGB.

        Raises:
            RowError: ``too_large``: the image is so narrow that it would be resized to too many pixels.
        """
        width, height = self.resized_size(image.width, image.height)
        if self.size is not None:
            image = image.resize((width, height), self.resample)
        return self.crop_centre(image)

    def peak(self, width: int, height: int) -> int:
        """Bytes that resizing an image of this size needs, as measured; raises as ``resized_size`` does."""
        out_width, out_height = self.resized_size(width, height)
        return 8 * out_width * out_height

    def crop_centre(self, image: Image.Image) -> NDArray[np.uint8]:
        """The centre of an image that is already resized, or the whole image: the last step of ``__call__``."""
        pixels = np.asarray(image)
        return pixels if self.crop is None else _centre(pixels, *self.crop)

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that an image of this size is resized to, before its centre is cut out.

        Raises:
            RowError: ``too_large``, as above.
        """
        if self.size is None:
            return width, height
        if isinstance(self.size, tuple):
            return self.size[1], self.size[0]
        long = int(self.size * max(width, height) / min(width, height))
        scaled = (self.size, long) if width <= height else (long, self.size)
        if self.size * long > _MAX_PIXELS:
            what = f"{width:,} × {height:,} pixels would be resized to {scaled[0]:,} × {scaled[1]:,}"
            raise RowError(RowErrorCode.TOO_LARGE, what)
        return scaled


def _centre(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Cut out or pad to (height, width) around the centre; an odd pixel is on the same side as in transformers."""
    have_height, have_width = pixels.shape[:2]
    top, left = (have_height - height) // 2, (have_width - width) // 2
    if top >= 0 and left >= 0:
        return pixels[top : top + height, left : left + width].copy()  # a view would keep the whole image in memory
    out_height, out_width = max(height, have_height), max(width, have_width)
    padded = np.zeros((out_height, out_width, 3), dtype=np.uint8)
    pad_top, pad_left = -(-(out_height - have_height) // 2), -(-(out_width - have_width) // 2)
    padded[pad_top : pad_top + have_height, pad_left : pad_left + have_width] = pixels
    top, left = max(0, top + pad_top), max(0, left + pad_left)
    return padded[top : top + height, left : left + width].copy()
