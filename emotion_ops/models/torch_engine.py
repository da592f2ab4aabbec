"""The network in PyTorch, on a CPU, a CUDA GPU or Apple's MPS."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForImageClassification
from transformers.utils import logging

from emotion_ops.errors import OptionError, UnsupportedModelError
from emotion_ops.models.spec import PixelSpec, first_line, labels_of, pixels_of
from emotion_ops.models.weights import Checkpoint

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_BATCH_SIZES = {"cpu": 16, "cuda": 128, "mps": 64}

if sys.platform != "win32":  # OpenMP's threads stay behind in the parent: a child that waited for them would never end
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class TorchEngine:
    """Loads a checkpoint at once and keeps it; ``predict`` may be called from any thread.

    Args:
        checkpoint: Where the weights are.
        device: As ``device_of`` names it.
        precision: ``fp32``, ``bf16`` or ``fp16``; softmax is computed in float32 always.

    Raises:
        UnsupportedModelError: The checkpoint is no image classifier, its weights do not fill the network, or the
            network does not take what the image processor gives.
    """

    name = "torch"

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str) -> None:
        self.checkpoint = checkpoint
        self.labels = labels_of(checkpoint)
        self.pixels = pixels_of(checkpoint)
        self.precision = precision
        self.device = device
        self._device = torch.device(device)
        self.batch_size = _BATCH_SIZES.get(self._device.type, 16)
        self._network = Whole(load_network(checkpoint), self.pixels, _DTYPES[precision]).to(self._device).eval()
        self._check_fit()

    @torch.inference_mode()
    def predict(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures; see ``Engine.predict``."""
        probabilities: NDArray[np.float32] = self._network(torch.from_numpy(batch).to(self._device)).cpu().numpy()
        return probabilities

    def _check_fit(self) -> None:
        """Run the network once: what does not fit is told now, and not after the first images were decoded."""
        height, width, labels = self.pixels.height, self.pixels.width, len(self.labels)
        try:
            probabilities = self.predict(np.zeros((1, height, width, 3), np.uint8))
        except (MemoryError, torch.OutOfMemoryError):
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


class Whole(torch.nn.Module):
    """A network with normalisation before it and softmax, in float32, behind it.

    Args:
        network: Takes pixel_values, gives logits.
        pixels: What it wants to see.
        dtype: What it computes in.
    """

    def __init__(self, network: torch.nn.Module, pixels: PixelSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self.dtype = dtype
        self.scale: torch.Tensor
        self.offset: torch.Tensor
        self.register_buffer("scale", torch.tensor(pixels.scale).view(3, 1, 1))
        self.register_buffer("offset", torch.tensor(pixels.offset).view(3, 1, 1))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Probabilities, float32 (N, labels), of pictures, uint8 (N, height, width, 3)."""
        values = (batch.permute(0, 3, 1, 2).float() * self.scale + self.offset).to(self.dtype)
        return torch.softmax(self.network(pixel_values=values).logits.float(), dim=-1)


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the log lines and progress bars of transformers, whose settings are the process's own."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_network(checkpoint: Checkpoint) -> torch.nn.Module:
    """The network in evaluation mode, each of its weights out of the checkpoint."""
    try:
        with _quiet():  # what the load report would say is checked below
            network, report = AutoModelForImageClassification.from_pretrained(
                checkpoint.folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise UnsupportedModelError(
            checkpoint.model,
            f"transformers cannot load it as an image classifier ({first_line(error)})",
            "choose a checkpoint of an image-classification architecture",
        ) from error
    unfilled = sorted({*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])})
    if unfilled:
        raise UnsupportedModelError(
            checkpoint.model,
            f"{len(unfilled)} of its weights are not in the checkpoint and would be random ({unfilled[0]}, …)",
            "choose a checkpoint that was trained for image classification",
        )
    return network.eval()  # type: ignore[no-any-return]  # transformers types its Auto classes as Any
