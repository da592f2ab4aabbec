"""The network in PyTorch, on a CPU, a CUDA GPU or Apple's MPS."""

from __future__ import annotations

import os
import sys

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_ops.errors import ModelError, OptionError, UnsupportedModelError
from emotion_ops.models.cuda import AT_ONCE, CudaGraphPool
from emotion_ops.models.halving import HalvingEngine
from emotion_ops.models.network import PixelsToProbabilities, load_network
from emotion_ops.models.spec import first_line, labels_of, pixels_of
from emotion_ops.models.weights import Checkpoint

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OUT_OF_MEMORY = (  # where it has no class of its own
    "MPS backend out of memory", "DefaultCPUAllocator: ", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory",
)  # fmt: skip
_BATCH_SIZES = {"cpu": 16, "cuda": 128, "mps": 64}

if sys.platform != "win32":  # OpenMP's threads stay behind in the parent: a child that waited for them would never end
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class TorchEngine(HalvingEngine):
    """Loads a checkpoint at once and keeps it; ``predict`` may be called from any thread.

    Args:
        checkpoint: Where the weights are.
        device: As ``device_of`` names it.
        precision: ``fp32``, ``bf16`` or ``fp16``; softmax is computed in float32 always.

    Attributes:
        network: uint8 (N, height, width, 3) → float32 (N, labels), as a module.

    Raises:
        UnsupportedModelError: The checkpoint is no image classifier, its weights do not fill the network, or the
            network does not take what the image processor gives.
    """

    name = "torch"

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.labels = labels_of(checkpoint)
        self.pixels = pixels_of(checkpoint)
        self.precision = precision
        self.device = device
        self._device = torch.device(device)
        self.batch_size = _BATCH_SIZES.get(self._device.type, 16)
        if self._device.type == "cuda" and precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # convolutions would keep 11 bits of each number, and not say so
        self.network = self._placed(
            PixelsToProbabilities(load_network(checkpoint), self.pixels, _DTYPES[precision]).eval()
        )
        self._lanes = CudaGraphPool(self.network, self._device) if self._device.type == "cuda" else None
        self.at_once = AT_ONCE if self._lanes else 1
        self._check_fit()

    def _placed(self, network: PixelsToProbabilities) -> PixelsToProbabilities:
        try:
            return network.to(self._device)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            raise ModelError(
                self.checkpoint.model,
                f"its weights do not fit into the memory of {self.device} in {self.precision} ({first_line(error)})",
                "free memory there, choose another device, or a smaller model",
            ) from error

    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            if self._lanes is not None:
                return self._lanes.run(batch)
            with torch.inference_mode():
                answer = self.network(torch.from_numpy(batch).to(self._device)).cpu()
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if self._lanes is not None:
                self._lanes.give_up()
            if self._device.type != "cpu":
                torch.get_device_module(self._device).empty_cache()
            raise MemoryError(first_line(error)) from error
        probabilities: NDArray[np.float32] = answer.numpy()
        return probabilities

    def _check_fit(self) -> None:
        """Run the network once: what does not fit is told now, and not after the first images were decoded."""
        height, width, labels = self.pixels.height, self.pixels.width, len(self.labels)
        try:
            probabilities = self.predict(np.zeros((1, height, width, 3), np.uint8))
        except ModelError:  # there is no memory for one picture
            raise
        except Exception as error:  # whatever a foreign network meets, it cannot serve here
            raise UnsupportedModelError(
                self.checkpoint.model,
                f"its network cannot take the {height} × {width} pixels that its image processor gives, "
                f"in {self.precision} on {self.device} ({first_line(error)})",
                "make size or crop_size in preprocessor_config.json what the network was made for",
            ) from error
        if probabilities.shape != (1, labels):
            raise UnsupportedModelError(
                self.checkpoint.model,
                f"its network gives {probabilities.shape[1]} numbers, and its config.json names {labels} labels",
                "name each in id2label of config.json",
            )


def device_of(name: str) -> str:
    """The one name of a device: ``auto`` and ``cuda`` become ``cuda:0``, say.

    Args:
        name: ``auto`` (CUDA, else MPS, else CPU), or what torch calls a device.

    Raises:
        OptionError: It is not there.
    """
    found = name
    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        probe = torch.empty(0, device=torch.device(found))
        probe.cpu()  # what "meta" computes nobody can read
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise OptionError(
            "device",
            name,
            f"torch {torch.__version__} cannot use it ({str(error).splitlines()[0]}); give 'cpu' or 'auto'",
        ) from error
    return str(probe.device)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)
