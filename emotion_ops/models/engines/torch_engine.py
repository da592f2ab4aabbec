"""The network in PyTorch, on a CPU, a CUDA GPU or Apple's MPS."""

from __future__ import annotations

import os
import sys

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_ops.errors import ModelError, OptionError, UnsupportedModelError, first_line
from emotion_ops.models.checkpoint import Checkpoint
from emotion_ops.models.config import read_labels
from emotion_ops.models.engines.batch_halving import BatchHalvingEngine
from emotion_ops.models.engines.cuda_graphs import CONCURRENCY, CudaGraphPool
from emotion_ops.models.engines.torch_network import PixelsToProbabilities, load_network
from emotion_ops.models.pixel_spec import read_pixel_spec

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OUT_OF_MEMORY = (  # texts of errors that have no class of their own
    "MPS backend out of memory", "DefaultCPUAllocator: ", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory",
)  # fmt: skip
_BATCH_SIZES = {"cpu": 16, "cuda": 128, "mps": 64}

if sys.platform != "win32":  # OpenMP's threads do not exist in a forked child, which would wait for them without end
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class TorchEngine(BatchHalvingEngine):
    """Loads a checkpoint when it is made; ``predict`` may be called from any thread.

    Args:
        checkpoint: Where the weights are.
        device: A name that ``resolve_device`` gives.
        precision: ``fp32``, ``bf16`` or ``fp16``; softmax is always computed in float32.

    Attributes:
        network: uint8 (N, height, width, 3) → float32 (N, labels), as a module.

    Raises:
        UnsupportedModelError: The checkpoint is not an image classifier, it lacks weights, or its network cannot take
            what its image processor gives.
        ModelError: The device does not have enough memory.
    """

    name = "torch"

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.labels = read_labels(checkpoint)
        self.pixels = read_pixel_spec(checkpoint)
        self.precision = precision
        self.device = device
        self._device = torch.device(device)
        self.batch_size = _BATCH_SIZES.get(self._device.type, 16)
        if self._device.type == "cuda" and precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # else convolutions use 11 bits of each number in fp32
        self.network = self._to_device(
            PixelsToProbabilities(load_network(checkpoint), self.pixels, _DTYPES[precision]).eval()
        )
        self._graphs = CudaGraphPool(self.network, self._device) if self._device.type == "cuda" else None
        self.concurrency = CONCURRENCY if self._graphs else 1
        self._check_fit()

    def _to_device(self, network: PixelsToProbabilities) -> PixelsToProbabilities:
        try:
            return network.to(self._device)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            raise ModelError(
                self.checkpoint.model,
                f"its weights do not fit into the memory of {self.device} in {self.precision} ({first_line(error)})",
                "free memory there, or choose another device or a smaller model",
            ) from error

    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            if self._graphs is not None:
                return self._graphs.run(batch)
            with torch.inference_mode():
                output = self.network(torch.from_numpy(batch).to(self._device)).cpu()
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if self._graphs is not None:
                self._graphs.disable()
            if self._device.type != "cpu":
                torch.get_device_module(self._device).empty_cache()
            raise MemoryError(first_line(error)) from error
        probabilities: NDArray[np.float32] = output.numpy()
        return probabilities

    def _check_fit(self) -> None:
        """Run the network once, so that what does not fit is found before any image is decoded."""
        height, width, labels = self.pixels.height, self.pixels.width, len(self.labels)
        try:
            probabilities = self.predict(np.zeros((1, height, width, 3), np.uint8))
        except ModelError:  # not enough memory for one image
            raise
        except Exception as error:  # a foreign network may raise anything; then it cannot be used here
            raise UnsupportedModelError(
                self.checkpoint.model,
                f"its network cannot take the {height} × {width} pixels that its image processor gives, "
                f"in {self.precision} on {self.device} ({first_line(error)})",
                "set size or crop_size in preprocessor_config.json to the network's input size",
            ) from error
        if probabilities.shape != (1, labels):
            raise UnsupportedModelError(
                self.checkpoint.model,
                f"its network gives {probabilities.shape[1]} numbers, and its config.json names {labels} labels",
                "give each output a name in id2label of config.json",
            )


def resolve_device(name: str) -> str:
    """The full name of a device: for example ``auto`` and ``cuda`` become ``cuda:0``.

    Args:
        name: ``auto`` (CUDA, else MPS, else CPU), or a torch device name.

    Raises:
        OptionError: torch cannot use it.
    """
    device = name
    if name == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        probe = torch.empty(0, device=torch.device(device))
        probe.cpu()  # fails for "meta", whose results cannot be read
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        hint = f"torch {torch.__version__} cannot use it ({first_line(error)}); give 'cpu' or 'auto'"
        raise OptionError("device", name, hint) from error
    return str(probe.device)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)
