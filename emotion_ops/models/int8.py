"""Post-training quantisation to int8, calibrated on pictures of the user's own."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import openvino as ov


_log = logging.getLogger("emotion_ops")


@dataclass(frozen=True)
class Calibration:
    """Pictures that int8 is calibrated on.

    Attributes:
        pixels: uint8 (N, height, width, 3), at the network's size; 100 to 300 do, of all kinds that it will meet.
    """

    pixels: NDArray[np.uint8] = field(hash=False, compare=False)
    digest: str = ""

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> Calibration:
        """The pictures and their SHA-256: equal digests give equal int8 networks."""
        return cls(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())

    def quantise(self, network: ov.Model) -> ov.Model:
        """The network with its matrix products in int8; the convolution that embeds patches stays in float.

        Its inputs are raw pixels, where int8 costs accuracy and saves next to nothing.
        """
        os.environ.setdefault("NNCF_CI", "1")  # otherwise nncf reports its use to its makers
        import nncf

        nncf.set_log_level(logging.ERROR)
        _log.info("calibrating int8 on %d images, once for them and these weights", len(self.pixels))
        with contextlib.redirect_stdout(sys.stderr):  # its progress bars; stdout is for answers
            return nncf.quantize(
                network,
                nncf.Dataset([self.pixels[row : row + 1] for row in range(len(self.pixels))]),
                model_type=nncf.ModelType.TRANSFORMER,
                ignored_scope=nncf.IgnoredScope(types=["Convolution"], validate=False),
                subset_size=len(self.pixels),
            )


from emotion_ops.options import OptionGroup, option, path
from emotion_ops.errors import OptionError


@dataclass(frozen=True)
class Int8(OptionGroup):
    calibration: str = option(path)


def precision(name, value):
    if isinstance(value, Int8) or value in ("auto", "fp32", "bf16", "fp16"):
        return value
    if isinstance(value, dict):
        return Int8(**value)
    raise OptionError(name, value, "give one of 'auto', 'fp32', 'bf16', 'fp16' or Int8('images/')")
