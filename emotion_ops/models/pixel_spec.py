"""What a network's input looks like: its size and normalisation, measured on the checkpoint's own image processor."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import UnsupportedModelError, first_line
from emotion_ops.models.checkpoint import Checkpoint
from emotion_ops.models.disk_cache import load_or_compute
from emotion_ops.models.processor import ProcessorTransform, as_uint8, load_processor, process, resize_only

_FORMAT = 2  # raised when other values are stored for the same settings
_TOLERANCE = 2e-6  # of a normalised pixel: float32 rounding of the two ways to write one multiply-add


@dataclass(frozen=True)
class PixelSpec:
    """What the network's input looks like.

    Attributes:
        height: Of the input, in pixels.
        width: Of the input, in pixels.
        scale: What a channel's uint8 value is multiplied by, for red, green and blue.
        offset: What is added after that.
        config: The image processor's complete configuration, defaults included.
        transform: The checkpoint's own resize and crop: an RGB image → uint8 (height, width, 3). It is slower than
            our resize by ``config``, and always right. An image that it cannot bring to this size is a ``RowError``.
            The first call loads transformers.
        probe: SHA-256 of the result of ``transform`` for ``probe_pixels()``.
    """

    height: int
    width: int
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    config: Mapping[str, Any] = field(hash=False, compare=False)
    transform: Callable[[Image.Image], NDArray[np.uint8]] = field(hash=False, compare=False)
    probe: str = ""


def read_pixel_spec(checkpoint: Checkpoint) -> PixelSpec:
    """Measure what the checkpoint's image processor does.

    Normalisation is measured on a black and a white image and confirmed on a third. So the numbers are those of the
    processor class that the checkpoint names, and not our interpretation of its settings. The result is cached on
    disk for equal settings and library versions, so that a later process does not load transformers for it.

    Raises:
        UnsupportedModelError: The processor cannot be loaded, or it does something else than to resize and crop to
            one size and to multiply and add one number for each channel.
    """
    libraries = [importlib.metadata.version(name) for name in ("transformers", "pillow", "numpy")]
    inputs = (_FORMAT, checkpoint.settings_sha256(), *libraries)
    values = load_or_compute("pixels", inputs, lambda: _measure(checkpoint))
    size, scale, offset = values["size"], values["scale"], values["offset"]
    return PixelSpec(
        height=size[0],
        width=size[1],
        scale=(scale[0], scale[1], scale[2]),
        offset=(offset[0], offset[1], offset[2]),
        config=values["config"],
        transform=ProcessorTransform(checkpoint, (size[0], size[1])),
        probe=values["probe"],
    )


def _measure(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the checkpoint's image processor does; see ``PixelSpec``."""
    processor = load_processor(checkpoint)
    kind = type(processor).__name__

    def values_of(pixels: NDArray[np.uint8], **options: bool) -> NDArray[Any]:
        try:
            return process(processor, Image.fromarray(pixels), **options)
        except Exception as error:  # a foreign processor may raise anything; then it cannot be used here
            raise UnsupportedModelError(
                checkpoint.model,
                f"its {kind} cannot process an image ({first_line(error)})",
                "choose a checkpoint whose processor gives pixel_values of shape (1, 3, height, width)",
            ) from error

    black, white, probe, portrait = (
        values_of(pixels) for pixels in (_uniform(0), _uniform(255), probe_pixels(), probe_pixels(307, 211))
    )
    if portrait.shape != probe.shape:
        raise UnsupportedModelError(
            checkpoint.model,
            f"its {kind} makes {_size_text(probe)} pixels of an image of 211 × 307 and "
            f"{_size_text(portrait)} of one of 307 × 211 (height × width), but a batch needs one size",
            "set size to a height and a width in its preprocessor_config.json, or do_center_crop and crop_size",
        )
    middle = tuple(side // 2 for side in black.shape[1:])  # the edge may be padding
    at_black = black[:, *middle].astype(np.float64)
    at_white = white[:, *middle].astype(np.float64)
    scale, offset = (at_white - at_black) / 255, at_black
    pixels = as_uint8(values_of(probe_pixels(), **resize_only(processor)))
    linear = pixels.transpose(2, 0, 1) * scale[:, None, None] + offset[:, None, None]
    if linear.shape != probe.shape or not np.allclose(linear, probe, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise UnsupportedModelError(
            checkpoint.model,
            f"its {kind} does more to an image than resize, crop, rescale and normalise",
            "choose a checkpoint whose processor makes one array of fixed size of each image",
        )
    return {
        "size": [int(side) for side in probe.shape[1:]],
        "scale": scale.tolist(),
        "offset": offset.tolist(),
        "config": json.loads(processor.to_json_string()),
        "probe": pixels_sha256(pixels),
    }


def pixels_sha256(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of an image's pixels and shape."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def probe_pixels(height: int = 211, width: int = 307) -> NDArray[np.uint8]:
    """An image of noise over gradients, the same at each call: uint8 (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) * 255 // (height + width)], axis=-1)
    noise = np.random.default_rng(0).integers(-60, 60, size=ramp.shape)
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)


def _uniform(value: int) -> NDArray[np.uint8]:
    return np.full((211, 307, 3), value, dtype=np.uint8)


def _size_text(planes: NDArray[Any]) -> str:
    return f"{planes.shape[1]} × {planes.shape[2]}"
