"""YuNet: an upright RGB picture → the faces in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import ModelError
from emotion_ops.faces.decoding import STRIDES, decoded, without_overlaps
from emotion_ops.faces.runtime import Session

Floats = NDArray[np.float32]

LONG_SIDE = 640
"""A larger picture is made this long first: at full resolution a large face gets several boxes."""

OVERLAP = 0.3

_INPUT = "whose input is float32 (1, 3, height, width)"


@dataclass(frozen=True)
class YuNet:
    """The detector; may be called from many threads.

    Attributes:
        session: Its network.
        threshold: The least probability of a face.
        name: What it is called in messages.
    """

    session: Session
    threshold: float
    name: str

    def __call__(self, picture: Image.Image) -> Floats:
        """The faces in a picture, the most probable first.

        Args:
            picture: An upright RGB picture of any size.

        Returns:
            float32 (faces, ``decoding.COLUMNS``), in pixels of the picture; boxes may reach over its edges.

        Raises:
            ModelError: The network does not take pictures, or its outputs are not those of YuNet.
        """
        scale = min(1.0, self._long_side / max(picture.size))
        width, height = (max(1, round(side * scale)) for side in picture.size)
        scaled = picture if scale == 1.0 else picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)
        pixels = self._padded(np.asarray(scaled))
        try:
            outputs = self.session.run(pixels)
        except Exception as error:  # a runtime's own types
            said = (str(error).strip().splitlines() or [""])[0][:200]
            what = f"it cannot look at a picture of shape {pixels.shape} ({type(error).__name__}: {said})"
            raise ModelError(self.name, what, f"give a YuNet file, {_INPUT}", kind="detector") from error
        try:
            faces = without_overlaps(decoded(outputs, pixels.shape[3], self.threshold), OVERLAP)
        except (KeyError, ValueError, IndexError) as error:
            hint = "give a YuNet file, of the outputs cls, obj, bbox and kps in strides of 8, 16 and 32"
            what = f"its outputs are not those of YuNet ({error!r})"
            raise ModelError(self.name, what, hint, kind="detector") from error
        by_side = np.array([picture.width / width, picture.height / height], np.float32)
        faces[:, :4] *= np.tile(by_side, 2)
        faces[:, 5:] *= np.tile(by_side, 5)
        return faces

    @property
    def _long_side(self) -> int:
        return LONG_SIDE if self.session.shape is None else min(LONG_SIDE, *self.session.shape)

    def _padded(self, rgb: NDArray[np.uint8]) -> Floats:
        """The network's input: BGR from 0 to 255, black to the right and below up to whole strides."""
        height, width = rgb.shape[:2]
        whole = max(STRIDES)
        padded = self.session.shape or (math.ceil(height / whole) * whole, math.ceil(width / whole) * whole)
        pixels = np.zeros((1, 3, *padded), np.float32)
        pixels[0, :, :height, :width] = rgb[:, :, ::-1].transpose(2, 0, 1)
        return pixels
