"""A checkpoint → its network in PyTorch, from uint8 pictures to probabilities."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from transformers import AutoModelForImageClassification
from transformers.utils import logging

from emotion_ops.errors import UnsupportedModelError
from emotion_ops.models.class_token import class_token_only
from emotion_ops.models.spec import PixelSpec, first_line
from emotion_ops.models.weights import Checkpoint


class PixelsToProbabilities(torch.nn.Module):
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


def load_network(checkpoint: Checkpoint) -> torch.nn.Module:
    """The network in evaluation mode, each of its weights out of the checkpoint."""
    try:
        with quiet():  # what the load report would say is checked below
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
    network.eval()
    class_token_only(network)
    return network  # type: ignore[no-any-return]  # transformers types its Auto classes as Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
