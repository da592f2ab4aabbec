"""An encoded image → the pixels that the network takes: one value, run by a thread or by a worker process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.images.decode import open_encoded, upright_rgb
from emotion_ops.images.limits import Limits

Geometry: TypeAlias = Callable[[Image.Image], NDArray[np.uint8]]
"""An upright RGB picture → uint8 (height, width, 3)."""

Reserve: TypeAlias = Callable[[int], None]
"""Told of the bytes that a decoded picture takes, before it takes them; may wait."""

Decoder: TypeAlias = Callable[[bytes | memoryview, Reserve], NDArray[np.uint8]]
"""An encoded image → uint8 (height, width, 3), or ``ImageError``."""

_PIXEL_BYTES = {"JPEG": 8, "WEBP": 21, "AVIF": 18}
"""What a pixel takes at the worst moment, copies included, as measured; of the other formats 12."""


@dataclass(frozen=True)
class PictureDecoder:
    """Decode, turn upright and bring to size.

    Attributes:
        limits: What an image may cost.
        geometry: Brings it to the network's size; None leaves it as it is.
    """

    limits: Limits
    geometry: Geometry | None

    def __call__(self, encoded: bytes | memoryview, reserve: Reserve) -> NDArray[np.uint8]:
        """Decode one image; raises ``ImageError``."""
        return self.finish(open_encoded(encoded, self.limits), reserve)

    def finish(self, picture: Image.Image, reserve: Reserve) -> NDArray[np.uint8]:
        """Do all but the opening; raises ``ImageError``."""
        reserve(picture.width * picture.height * _PIXEL_BYTES.get(picture.format or "", 12))
        picture = upright_rgb(picture)
        return np.asarray(picture) if self.geometry is None else self.geometry(picture)
