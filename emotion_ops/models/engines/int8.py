"""Post-training quantisation to int8, calibrated on the user's own images."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import OptionError
from emotion_ops.options import OptionGroup, option, path

if TYPE_CHECKING:
    import openvino as ov

FloatPrecision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]
"""The values of the option ``precision`` that need no calibration."""

FLOAT_PRECISIONS: tuple[FloatPrecision, ...] = ("auto", "fp32", "bf16", "fp16")

_EXAMPLE = 'give Int8("images/"), a folder of 100 to 300 of your own images'
_log = logging.getLogger("emotion_ops")


@dataclass(frozen=True)
class Int8(OptionGroup):
    """The precision int8, and the images that it is calibrated on. Needs OpenVINO and NNCF (extra ``openvino``).

    Args:
        calibration: A local folder of images, or a Parquet file or a folder of such files with the image column.
            16 images at least; up to 256 are used, spread evenly. Use images like those that will be classified.

    Raises:
        OptionError: It is not a path.
    """

    calibration: str | os.PathLike[str] = option(path, changes_values=False)  # their pixels do, not their place


def precision(name: str, value: Any) -> FloatPrecision | Int8:
    """A check for ``option``: a float precision, an ``Int8``, or ``{"calibration": …}`` from JSON.

    Args:
        name: The option's name, for messages.
        value: The value.

    Raises:
        OptionError: It is something else, or ``"int8"`` without images to calibrate on.
    """
    if isinstance(value, Int8):
        return value
    if isinstance(value, Mapping) and set(value) == {"calibration"}:
        return Int8(**value)
    if value == "int8":
        raise OptionError(name, value, f"int8 is calibrated on images: {_EXAMPLE}")
    if value not in FLOAT_PRECISIONS:
        names = ", ".join(repr(one) for one in FLOAT_PRECISIONS)
        raise OptionError(name, value, f"give one of {names}, or for int8 {_EXAMPLE}")
    return value  # type: ignore[no-any-return]  # one of the names above


@dataclass(frozen=True)
class Calibration:
    """Images that int8 is calibrated on.

    Attributes:
        pixels: uint8 (N, height, width, 3), at the network's size. 100 to 300 images are enough.
        digest: SHA-256 of the pixels: equal digests give equal int8 networks.
    """

    pixels: NDArray[np.uint8] = field(hash=False, compare=False)
    digest: str = ""

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.uint8]) -> Calibration:
        """The images and their digest."""
        return cls(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())

    def quantise(self, network: ov.Model) -> ov.Model:
        """The network with its matrix products in int8; the convolution that embeds patches stays in float.

        That convolution's inputs are raw pixels. There int8 costs accuracy and saves almost no time.
        """
        os.environ.setdefault("NNCF_CI", "1")  # otherwise nncf sends usage statistics
        import nncf

        nncf.set_log_level(logging.ERROR)
        _log.info("calibrating int8 on %d images, once for these images and weights", len(self.pixels))
        with contextlib.redirect_stdout(sys.stderr):  # nncf prints progress bars; stdout is for results
            return nncf.quantize(
                network,
                nncf.Dataset([self.pixels[row : row + 1] for row in range(len(self.pixels))]),
                model_type=nncf.ModelType.TRANSFORMER,
                ignored_scope=nncf.IgnoredScope(types=["Convolution"], validate=False),
                subset_size=len(self.pixels),
            )
