"""YuNet: an upright RGB image → the faces in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import ModelError, first_line
from emotion_ops.faces.decoding import STRIDES, decode_outputs, suppress_overlaps
from emotion_ops.faces.runtime import OnnxNetwork

Floats = NDArray[np.float32]

MAX_SIDE = 640
"""A larger image is first resized to this longer side: at full resolution a large face gets several boxes."""

MAX_OVERLAP = 0.3
"""Maximum intersection over union of two faces."""


@dataclass(frozen=True)
class YuNet:
    """The detector; many threads may call it.

    Attributes:
        network: Its network.
        threshold: Minimum probability of a face.
        name: Its name, for messages.
    """

    network: OnnxNetwork
    threshold: float
    name: str

    def __call__(self, image: Image.Image) -> Floats:
        """The faces in an image, the most probable first.

        Args:
            image: An upright RGB image of any size.

        Returns:
            float32 (faces, ``decoding.COLUMNS``), in pixels of the image; boxes may reach over its edges.

        Raises:
            ModelError: The network does not take images, or its outputs are not those of YuNet.
        """
        scale = min(1.0, self._max_side / max(image.size))
        width, height = (max(1, round(side * scale)) for side in image.size)
        scaled = image if scale == 1.0 else image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)
        pixels = self._network_input(np.asarray(scaled))
        try:
            outputs = self.network.run(pixels)
        except Exception as error:  # the runtimes have their own error types
            what = f"it cannot take an image of shape {pixels.shape} ({type(error).__name__}: {first_line(error)})"
            hint = "give a YuNet file, whose input is float32 (1, 3, height, width)"
            raise ModelError(self.name, what, hint, kind="detector") from error
        try:
            faces = suppress_overlaps(decode_outputs(outputs, pixels.shape[3], self.threshold), MAX_OVERLAP)
        except (KeyError, ValueError, IndexError) as error:
            what = f"its outputs are not those of YuNet ({error!r})"
            hint = "give a YuNet file, with the outputs cls, obj, bbox and kps in strides of 8, 16 and 32"
            raise ModelError(self.name, what, hint, kind="detector") from error
        factors = np.array([image.width / width, image.height / height], np.float32)
        faces[:, :4] *= np.tile(factors, 2)
        faces[:, 5:] *= np.tile(factors, 5)
        return faces

    @property
    def _max_side(self) -> int:
        return MAX_SIDE if self.network.shape is None else min(MAX_SIDE, *self.network.shape)

    def _network_input(self, rgb: NDArray[np.uint8]) -> Floats:
        """BGR from 0 to 255, padded with black on the right and below to a multiple of the largest stride."""
        height, width = rgb.shape[:2]
        stride = max(STRIDES)
        padded = self.network.shape or (math.ceil(height / stride) * stride, math.ceil(width / stride) * stride)
        pixels = np.zeros((1, 3, *padded), np.float32)
        pixels[0, :, :height, :width] = rgb[:, :, ::-1].transpose(2, 0, 1)
        return pixels
