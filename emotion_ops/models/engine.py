"""What every engine does, and how one is chosen and kept."""

from __future__ import annotations

import functools
import os
import sys
import threading
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from emotion_ops.models import openmp
from emotion_ops.models.spec import PixelSpec
from emotion_ops.models.weights import Checkpoint, locate

EngineName = Literal["auto", "torch"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS = ("fp32", "bf16", "fp16")
"""What a network can be run in; ``auto`` is the first."""


class Engine(Protocol):
    """A network on a device."""

    @property
    def name(self) -> str:
        """The engine's name, ``torch``."""

    @property
    def device(self) -> str:
        """Where it runs, ``cpu`` or ``cuda:0`` say."""

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``fp16``."""

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

    def predict(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures.

        Args:
            batch: uint8 (N, height, width, 3), RGB, at the size that ``pixels`` says; N is 1 or more.

        Returns:
            float32 (N, labels); each row sums to 1.
        """
        ...


_loading = threading.Lock()


def _unlock() -> None:
    global _loading
    _loading = threading.Lock()


if sys.platform != "win32":  # a thread of the parent may have held it, and is not there to let go of it
    os.register_at_fork(after_in_child=_unlock)


def load(model: str, revision: str | None, device: str, engine: EngineName, precision: Precision) -> Engine:
    """The engine for these options: loaded at the first call of this process, the same one ever after.

    Args:
        model: A hub id, a local folder or ``demo``.
        revision: A commit, tag or branch of the hub's repository.
        device: ``auto``, or what torch calls a device.
        engine: ``auto`` or ``torch``.
        precision: ``auto`` (fp32), ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        ModelError: The model cannot be found or used.
        OptionError: The device is not there.
    """
    checkpoint = locate(model, revision)
    openmp.wait_passively()
    from emotion_ops.models.torch_engine import device_of

    precision = "fp32" if precision == "auto" else precision
    with _loading:  # two streams that start together share one network
        return _load(os.getpid(), checkpoint, checkpoint.stamp(), device_of(device), precision)


@functools.lru_cache(maxsize=4)
def _load(process: int, checkpoint: Checkpoint, stamp: object, device: str, precision: str) -> Engine:
    """One network for equal arguments; a child process and a folder with new files have their own."""
    from emotion_ops.models.torch_engine import TorchEngine

    return TorchEngine(checkpoint, device, precision)
