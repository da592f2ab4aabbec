"""The image processor of transformers that a checkpoint names, and its resize and crop as a transform of one image."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import RowError, RowErrorCode, UnsupportedModelError, first_line
from emotion_ops.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    from PIL import Image

_MAX_RESIZED_PIXELS = 100_000_000  # before the centre is cropped


def load_processor(checkpoint: Checkpoint) -> Any:
    """The checkpoint's image processor, with Pillow as its back end. No code of the checkpoint is run.

    Raises:
        UnsupportedModelError: transformers cannot load it, or does not have its class.
    """
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]  # untyped in transformers
            checkpoint.folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError, LookupError, TypeError, AttributeError) as error:
        raise UnsupportedModelError(
            checkpoint.model,
            f"its image processor does not load ({first_line(error)})",
            "save an image processor of transformers with the weights",
        ) from error


def process(processor: Any, image: Image.Image, **options: bool) -> NDArray[Any]:
    """The ``pixel_values`` of one image: (3, height, width).

    Raises:
        ValueError: The processor gives something else.
    """
    result = processor(images=image, return_tensors="np", **options)
    values: NDArray[Any] = np.asarray(result["pixel_values"])
    if set(result.keys()) != {"pixel_values"} or values.ndim != 4 or values.shape[:2] != (1, 3):
        raise ValueError(f"it gives {', '.join(sorted(result.keys()))} of shape {values.shape}")
    first: NDArray[Any] = values[0]
    return first


def resize_only(processor: Any) -> dict[str, bool]:
    """The options with which a processor only resizes and crops."""
    options = {"do_rescale": False, "do_normalize": False}
    if hasattr(processor, "include_top"):  # EfficientNet's has a second normalisation with its own option
        options["include_top"] = False
    return options


def as_uint8(planes: NDArray[Any]) -> NDArray[np.uint8]:
    """(3, height, width) of numbers from 0 to 255 → (height, width, 3)."""
    return np.ascontiguousarray(planes.transpose(1, 2, 0).round().astype(np.uint8))


class ProcessorTransform:
    """The processor's own resize and crop; see ``PixelSpec.transform``. The processor loads at the first call.

    Args:
        checkpoint: Whose processor.
        size: The network's (height, width).
    """

    def __init__(self, checkpoint: Checkpoint, size: tuple[int, int]) -> None:
        self._checkpoint, self._size = checkpoint, size

    @functools.cached_property
    def _processor(self) -> Any:
        return load_processor(self._checkpoint)

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """The image at the network's size, uint8 (height, width, 3); raises ``RowError``."""
        processor = self._processor
        edge = dict(getattr(processor, "size", None) or {}).get("shortest_edge") or 0
        size = f"{image.width:,} × {image.height:,} pixels"
        resized = edge * edge * max(image.size) // min(image.size)
        if resized > _MAX_RESIZED_PIXELS:  # a very narrow image becomes huge before its centre is cropped
            what = f"{size}, resized to a shorter side of {edge}, would be {resized:,} pixels"
            raise RowError(RowErrorCode.TOO_LARGE, what)
        try:
            planes = process(processor, image, **resize_only(processor))
        except Exception as error:  # it processed other images: the cause is this image, or too little memory
            code = RowErrorCode.TOO_LARGE if isinstance(error, MemoryError) else RowErrorCode.UNSUPPORTED
            what = f"the checkpoint's {type(processor).__name__} failed on {size} ({first_line(error)})"
            raise RowError(code, what) from error
        if planes.shape[1:] != self._size:
            what = f"{size} become {planes.shape[2]:,} × {planes.shape[1]:,}"
            needed = f"{self._size[1]:,} × {self._size[0]:,}"
            raise RowError(RowErrorCode.UNSUPPORTED, f"{what}, and the network takes {needed}")
        return as_uint8(planes)
