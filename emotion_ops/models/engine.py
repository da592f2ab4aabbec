"""What every engine does, and how one is chosen and kept."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import OptionError
from emotion_ops.models.choice import Choice, choose
from emotion_ops.models.engines.int8 import Calibration
from emotion_ops.models.gc_paused import uncollected
from emotion_ops.models.spec import PixelSpec, architecture_of
from emotion_ops.models.weights import Checkpoint, locate

EngineName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
ENGINES: tuple[EngineName, ...] = ("torch", "openvino")
"""What can run a network."""

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")
"""What a network can be run in."""


class Engine(Protocol):
    """A network on a device."""

    @property
    def name(self) -> str:
        """The engine's name, ``torch`` or ``openvino``."""

    @property
    def device(self) -> str:
        """Where it runs, ``cpu`` or ``cuda:0`` say."""

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16``, ``fp16`` or ``int8``."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The checkpoint's own label names, in the order of the columns of ``predict``."""

    @property
    def pixels(self) -> PixelSpec:
        """What the network wants to see."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Where the weights come from."""

    @property
    def batch_size(self) -> int:
        """Rows in one forward pass that suit the device."""

    @property
    def at_once(self) -> int:
        """Batches that ``predict`` computes side by side; more wait for their turn."""

    def predict(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures, of fewer at once where memory does not hold them all.

        Args:
            batch: uint8 (N, height, width, 3), RGB, at the size that ``pixels`` says; N is 1 or more.

        Returns:
            float32 (N, labels); each row sums to 1.

        Raises:
            ModelError: There is not enough memory for one picture.
        """
        ...


_loading = threading.Lock()


def _unlock() -> None:
    global _loading
    _loading = threading.Lock()


if sys.platform != "win32":  # a thread of the parent may have held it, and is not there to let go of it
    os.register_at_fork(after_in_child=_unlock)


def load(
    model: str,
    revision: str | None,
    device: str,
    engine: EngineName,
    precision: Precision,
    calibrate: Callable[[Checkpoint], Calibration] | None = None,
) -> Engine:
    """The engine for these options: loaded at the first call of this process, the same one ever after.

    Args:
        model: A hub id, a local folder or ``demo``.
        revision: A commit, tag or branch of the hub's repository.
        device: ``auto``, or what torch calls a device.
        engine: ``auto``, ``torch`` or ``openvino``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``; see ``emotion_ops.models.choice.choose``.
        calibrate: Gives the pictures that int8 is calibrated on; asked in int8 only.

    Raises:
        ModelError: The model cannot be found or used.
        OptionError: The device is not there, or the options do not go together.
        MissingDependencyError: A package that was asked for is not installed.
    """
    checkpoint = locate(model, revision)
    chosen = choose(engine, device, precision, architecture_of(checkpoint))
    calibration = None
    if chosen.precision == "int8":
        if calibrate is None:
            raise OptionError("precision", "int8", "say what it is calibrated on: calibration='images/'")
        calibration = calibrate(checkpoint)
    with _loading, uncollected():  # two streams that start together share one network
        return _load(os.getpid(), checkpoint, checkpoint.stamp(), chosen, calibration)


@functools.lru_cache(maxsize=4)
def _load(
    process: int, checkpoint: Checkpoint, stamp: object, chosen: Choice, calibration: Calibration | None
) -> Engine:
    """One network for equal arguments; a child process and a folder with new files have their own."""
    if chosen.engine == "openvino":
        from emotion_ops.models.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(checkpoint, chosen.precision, calibration)
    from emotion_ops.models.torch_engine import TorchEngine

    return TorchEngine(checkpoint, chosen.device, chosen.precision)
