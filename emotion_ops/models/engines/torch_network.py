"""A checkpoint → its network in PyTorch, from uint8 images to probabilities."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from transformers import AutoModelForImageClassification
from transformers.utils import logging

from emotion_ops.errors import UnsupportedModelError, first_line
from emotion_ops.models.checkpoint import Checkpoint
from emotion_ops.models.engines.class_token import use_class_token_only
from emotion_ops.models.pixel_spec import PixelSpec


class PixelsToProbabilities(torch.nn.Module):
    """A network with normalisation before it and softmax, in float32, after it.

    Args:
        network: pixel_values → logits.
        pixels: What its input looks like.
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
        """Probabilities, float32 (N, labels), of images, uint8 (N, height, width, 3)."""
        values = (batch.permute(0, 3, 1, 2).float() * self.scale + self.offset).to(self.dtype)
        return torch.softmax(self.network(pixel_values=values).logits.float(), dim=-1)


def load_network(checkpoint: Checkpoint) -> torch.nn.Module:
    """The network in evaluation mode, in float32. All its weights are from the checkpoint.

    Raises:
        UnsupportedModelError: transformers cannot load it as an image classifier, or weights are missing.
    """
    try:
        with quiet():  # its warnings are about what is checked below
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
    missing = sorted({*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])})
    if missing:
        raise UnsupportedModelError(
            checkpoint.model,
            f"{len(missing)} of its weights are not in the checkpoint and would be random ({missing[0]}, …)",
            "choose a checkpoint that was trained for image classification",
        )
    network.eval()
    use_class_token_only(network)
    return network  # type: ignore[no-any-return]  # transformers types its Auto classes as Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Switch off the log lines and progress bars of transformers for a while; its settings are global."""
    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # untyped in transformers
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
