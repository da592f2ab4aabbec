"""What every engine offers, and how one is loaded once for each process."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import OptionError
from emotion_ops.models.checkpoint import Checkpoint, resolve_checkpoint
from emotion_ops.models.config import read_architecture
from emotion_ops.models.engines.choice import EngineChoice, EngineName, Precision, choose
from emotion_ops.models.engines.int8 import Calibration
from emotion_ops.models.gc_paused import gc_paused
from emotion_ops.models.pixel_spec import PixelSpec


class Engine(Protocol):
    """A network on a device."""

    @property
    def name(self) -> str:
        """The engine's name, ``torch`` or ``openvino``."""

    @property
    def device(self) -> str:
        """Where it runs, for example ``cpu`` or ``cuda:0``."""

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16``, ``fp16`` or ``int8``."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The checkpoint's own labels, in the order of the columns of ``predict``."""

    @property
    def pixels(self) -> PixelSpec:
        """What the network's input looks like."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Where the weights come from."""

    @property
    def batch_size(self) -> int:
        """A good number of images in one forward pass on the device."""

    @property
    def concurrency(self) -> int:
        """Batches that ``predict`` computes at the same time; further calls wait."""

    def predict(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of images. If memory is short, the batch is computed in parts.

        Args:
            batch: uint8 (N, height, width, 3), RGB, at the size of ``pixels``; N is 1 or more.

        Returns:
            float32 (N, labels); each row sums to 1.

        Raises:
            ModelError: There is not enough memory for one image.
        """
        ...


_loading = threading.Lock()


def _unlock() -> None:
    global _loading
    _loading = threading.Lock()


if sys.platform != "win32":  # a thread of the parent may hold the lock, and that thread does not exist in the child
    os.register_at_fork(after_in_child=_unlock)


def load_engine(
    model: str,
    revision: str | None,
    device: str,
    engine: EngineName,
    precision: Precision,
    calibrate: Callable[[Checkpoint], Calibration] | None = None,
) -> Engine:
    """The engine of these options: loaded at the first call of this process, the same one at every later call.

    Args:
        model: A hub id, a local folder or ``demo``.
        revision: A commit, tag or branch of the hub's repository.
        device: ``auto``, or a torch device name.
        engine: ``auto``, ``torch`` or ``openvino``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``; see ``choice.choose``.
        calibrate: Gives the images that int8 is calibrated on; called for int8 only.

    Raises:
        ModelError: The model cannot be found or used.
        OptionError: The device does not exist, or the options cannot be combined.
        MissingDependencyError: A package that was asked for is not installed.
    """
    checkpoint = resolve_checkpoint(model, revision)
    choice = choose(engine, device, precision, read_architecture(checkpoint))
    calibration = None
    if choice.precision == "int8":
        if calibrate is None:
            raise OptionError("precision", "int8", 'give the images to calibrate on: Int8("images/")')
        calibration = calibrate(checkpoint)
    with _loading, gc_paused():  # two streams that start at the same time share one network
        return _load(os.getpid(), checkpoint, checkpoint.stamp(), choice, calibration)


@functools.lru_cache(maxsize=4)
def _load(
    process: int, checkpoint: Checkpoint, stamp: object, choice: EngineChoice, calibration: Calibration | None
) -> Engine:
    """One network for equal arguments; a forked process, or a folder with other files, gets another."""
    if choice.engine == "openvino":
        from emotion_ops.models.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(checkpoint, choice.precision, calibration)
    from emotion_ops.models.engines.torch_engine import TorchEngine

    return TorchEngine(checkpoint, choice.device, choice.precision)
