"""What a checkpoint's own files say about it: its labels and what its image processor does to pixels."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import RowError, RowErrorCode, UnsupportedModelError
from emotion_ops.models.disk_cache import kept
from emotion_ops.models.weights import Checkpoint

if TYPE_CHECKING:
    from PIL import Image

_LABELS_CURE = 'give each output of the network a name in config.json: "id2label": {"0": "sad", "1": "disgust", …}'
_FORMAT = 1  # raised whenever something else is kept of the same settings
_MOST_PIXELS = 100_000_000  # of a resized picture, before its centre is cut out
_TOLERANCE = 2e-6  # of a normalised pixel: float32 rounding of the two ways to write one multiply-add


@dataclass(frozen=True)
class PixelSpec:
    """What the network wants to see.

    Attributes:
        height: Of the input, in pixels.
        width: Of the input, in pixels.
        scale: By which a channel's uint8 value is multiplied, for red, green and blue.
        offset: What is added after that.
        config: The image processor's whole configuration, defaults included.
        transform: The checkpoint's own resize and crop, for those who do not know better: an RGB picture →
            uint8 (height, width, 3). Slower than doing it by ``config``, and always right; a picture that it
            cannot bring to this size is an ``RowError``. The first call loads transformers.
        probe: SHA-256 of what ``transform`` makes of ``probe_pixels()``.
    """

    height: int
    width: int
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    config: Mapping[str, Any] = field(hash=False, compare=False)
    transform: Callable[[Image.Image], NDArray[np.uint8]] = field(hash=False, compare=False)
    probe: str = ""


def architecture_of(checkpoint: Checkpoint) -> str:
    """The kind of network, ``vit`` say: what transformers calls ``model_type``."""
    return str(checkpoint.config().get("model_type", ""))


def labels_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The checkpoint's labels, in the order of its ``id2label``, from config.json alone.

    Raises:
        UnsupportedModelError: It is no classifier with at least two labels that exclude each other, or does not
            name each of them.
    """
    config = checkpoint.config()
    labels = _named(checkpoint, config.get("id2label") or {}, config.get("num_labels"))
    problem = config.get("problem_type") or "single_label_classification"
    if problem != "single_label_classification" or len(labels) < 2:
        raise UnsupportedModelError(
            checkpoint.model,
            f"problem_type {problem!r} with {len(labels)} label(s) gives no probabilities that sum to 1",
            "choose an image classifier with two or more labels that exclude each other",
        )
    if len(set(labels)) < len(labels):
        raise UnsupportedModelError(
            checkpoint.model,
            f"two labels have one name in id2label {labels}",
            "give each label its own name in config.json",
        )
    return labels


def _named(checkpoint: Checkpoint, id2label: object, count: object) -> tuple[str, ...]:
    """The names by their numbers, which are those of the network's outputs; what stands for none is transformers'."""
    if not id2label:
        count = 2 if count is None else count
        if not isinstance(count, int):
            raise UnsupportedModelError(
                checkpoint.model, f"its num_labels is {count!r} and it has no id2label", _LABELS_CURE
            )
        return tuple(f"LABEL_{index}" for index in range(count))
    names = [id2label.get(str(index)) for index in range(len(id2label))] if isinstance(id2label, dict) else [None]
    if not all(isinstance(name, str) for name in names):
        raise UnsupportedModelError(
            checkpoint.model,
            f"its id2label does not give a name to each number from 0 on: {reprlib.repr(id2label)}",
            _LABELS_CURE,
        )
    return tuple(map(str, names))


def pixels_of(checkpoint: Checkpoint) -> PixelSpec:
    """Find out what the checkpoint's image processor does, by asking it.

    Normalisation is read off two pictures, one black and one white, and confirmed on a third: whatever
    processor class the checkpoint names, its numbers are its own, not our reading of its settings. What was found
    out is kept on disk for equal settings and libraries, so that transformers need not be loaded to know it.

    Raises:
        UnsupportedModelError: The processor cannot be loaded, or does something else than resizing and
            cropping to one size and one multiply-add a channel.
    """
    libraries = [importlib.metadata.version(name) for name in ("transformers", "pillow", "numpy")]
    found = kept("pixels", (_FORMAT, checkpoint.settings_sha256(), *libraries), lambda: _asked(checkpoint))
    size, scale, offset = found["size"], found["scale"], found["offset"]
    return PixelSpec(
        height=size[0],
        width=size[1],
        scale=(scale[0], scale[1], scale[2]),
        offset=(offset[0], offset[1], offset[2]),
        config=found["config"],
        transform=_OwnGeometry(checkpoint, (size[0], size[1])),
        probe=found["probe"],
    )


def _asked(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the checkpoint's image processor does; see ``PixelSpec``."""
    from PIL import Image

    processor = _processor(checkpoint)

    def seen(pixels: NDArray[np.uint8], **options: bool) -> NDArray[Any]:
        try:
            return _pixel_values(processor, Image.fromarray(pixels), **options)
        except Exception as error:  # whatever a foreign processor meets, it cannot serve here
            raise UnsupportedModelError(
                checkpoint.model,
                f"its {type(processor).__name__} cannot process a picture ({first_line(error)})",
                "choose a checkpoint whose processor gives pixel_values of shape (1, 3, height, width)",
            ) from error

    black, white, probe, portrait = (
        seen(pixels) for pixels in (_flat(0), _flat(255), probe_pixels(), probe_pixels(307, 211))
    )
    if portrait.shape != probe.shape:
        raise UnsupportedModelError(
            checkpoint.model,
            f"its {type(processor).__name__} makes {_sides(probe)} pixels of a picture of 211 × 307 and "
            f"{_sides(portrait)} of one of 307 × 211 (height × width), and a batch needs one size",
            "set size to a height and a width in its preprocessor_config.json, or do_center_crop and crop_size",
        )
    middle = tuple(side // 2 for side in black.shape[1:])  # the edge may be padding
    at_black = black[:, *middle].astype(np.float64)
    at_white = white[:, *middle].astype(np.float64)
    scale, offset = (at_white - at_black) / 255, at_black
    pixels = _uint8(seen(probe_pixels(), **_untouched(processor)))
    linear = pixels.transpose(2, 0, 1) * scale[:, None, None] + offset[:, None, None]
    if linear.shape != probe.shape or not np.allclose(linear, probe, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise UnsupportedModelError(
            checkpoint.model,
            f"its {type(processor).__name__} does more to a picture than resize, crop, rescale and normalise",
            "choose a checkpoint whose processor gives one picture of fixed size for each image",
        )
    return {
        "size": [int(side) for side in probe.shape[1:]],
        "scale": scale.tolist(),
        "offset": offset.tolist(),
        "config": json.loads(processor.to_json_string()),
        "probe": pixels_sha256(pixels),
    }


def pixels_sha256(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of a picture's pixels and shape."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def probe_pixels(height: int = 211, width: int = 307) -> NDArray[np.uint8]:
    """A picture of noise over gradients, the same each time: uint8 (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) * 255 // (height + width)], axis=-1)
    noise = np.random.default_rng(0).integers(-60, 60, size=ramp.shape)
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)


def _processor(checkpoint: Checkpoint) -> Any:
    """The checkpoint's image processor; transformers refuses a class that it lacks."""
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            checkpoint.folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError, LookupError, TypeError, AttributeError) as error:
        raise UnsupportedModelError(
            checkpoint.model,
            f"its image processor does not load ({first_line(error)})",
            "save a standard image processor beside the weights",
        ) from error


def _pixel_values(processor: Any, image: Image.Image, **options: bool) -> NDArray[Any]:
    """The processor's answer for one picture: (3, height, width)."""
    answer = processor(images=image, return_tensors="np", **options)
    values: NDArray[Any] = np.asarray(answer["pixel_values"])
    if set(answer.keys()) != {"pixel_values"} or values.ndim != 4 or values.shape[:2] != (1, 3):
        raise ValueError(f"it gives {', '.join(sorted(answer.keys()))} of shape {values.shape}")
    first: NDArray[Any] = values[0]
    return first


def _untouched(processor: Any) -> dict[str, bool]:
    """The options under which a processor resizes and crops alone."""
    options = {"do_rescale": False, "do_normalize": False}
    if hasattr(processor, "include_top"):  # EfficientNet's normalises once more, by an option of its own
        options["include_top"] = False
    return options


class _OwnGeometry:
    """The processor's own resize and crop; see ``PixelSpec.transform``. The processor loads at the first call."""

    def __init__(self, checkpoint: Checkpoint, size: tuple[int, int]) -> None:
        self._checkpoint, self._size = checkpoint, size

    @functools.cached_property
    def _processor(self) -> Any:
        return _processor(self._checkpoint)

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        processor = self._processor
        edge = dict(getattr(processor, "size", None) or {}).get("shortest_edge") or 0
        what = f"{image.width:,} × {image.height:,} pixels"
        resized = edge * edge * max(image.size) // min(image.size)
        if resized > _MOST_PIXELS:  # a strip so narrow that its crop is cut out of a bomb
            raise RowError(RowErrorCode.TOO_LARGE, f"{what}, resized to a shorter side of {edge}, would be {resized:,}")
        try:
            planes = _pixel_values(processor, image, **_untouched(processor))
        except Exception as error:  # it has served other pictures: this one is to blame, or there is no memory for it
            code = RowErrorCode.TOO_LARGE if isinstance(error, MemoryError) else RowErrorCode.UNSUPPORTED
            what = f"the checkpoint's {type(processor).__name__} failed on {what} ({first_line(error)})"
            raise RowError(code, what) from error
        if planes.shape[1:] != self._size:
            what = f"{what} become {planes.shape[2]:,} × {planes.shape[1]:,}"
            raise RowError(
                RowErrorCode.UNSUPPORTED, f"{what}, and the network takes {self._size[1]:,} × {self._size[0]:,}"
            )
        return _uint8(planes)


def _uint8(planes: NDArray[Any]) -> NDArray[np.uint8]:
    """(3, height, width) of numbers from 0 to 255 → (height, width, 3)."""
    return np.ascontiguousarray(planes.transpose(1, 2, 0).round().astype(np.uint8))


def _flat(value: int) -> NDArray[np.uint8]:
    return np.full((211, 307, 3), value, dtype=np.uint8)


def _sides(planes: NDArray[Any]) -> str:
    return f"{planes.shape[1]} × {planes.shape[2]}"


def first_line(error: Exception) -> str:
    """What an error says, short enough for a message; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
