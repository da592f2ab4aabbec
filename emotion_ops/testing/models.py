"""Checkpoints with random weights from a seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotion_ops.operators.classify.labels import EMOTIONS

_TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}


def save_tiny_model(
    folder: str | os.PathLike[str], labels: Sequence[str] = EMOTIONS, *, seed: int = 0, **config: Any
) -> Path:
    """Save a tiny Vision Transformer and its image processor with ``save_pretrained``.

    Args:
        folder: The checkpoint's folder; it is created if it does not exist.
        labels: The labels in the order of ``id2label``.
        seed: Of the weights. Equal seeds give equal weights; the global seed of torch does not change.
        **config: Options of transformers' ``ViTConfig`` that differ from those of the tiny network of 32 px.

    Returns:
        The folder, for the option ``model``.
    """
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    settings: dict[str, Any] = {**_TINY, **config}
    names: dict[str, Any] = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = ViTForImageClassification(ViTConfig(**settings, **names))
    with torch.no_grad():  # larger weights, so that the probabilities differ from image to image
        network.classifier.weight.mul_(40)
        network.vit.embeddings.patch_embeddings.projection.weight.mul_(6)
    network.save_pretrained(folder)
    side = settings["image_size"]
    ViTImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.5, 0.4, 0.6], image_std=[0.5, 0.45, 0.55], resample=2
    ).save_pretrained(folder)
    return Path(folder)
