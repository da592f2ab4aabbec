"""Checkpoints with weights from a seed, saved as anyone saves theirs."""

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
    """Save a Vision Transformer and its image processor by ``save_pretrained``.

    Args:
        folder: Where to; made where it is not there.
        labels: Its ``id2label``, in order.
        seed: Of the weights: equal seeds give equal weights.
        **config: What differs from the tiny network of 32 px, by the names of transformers' ``ViTConfig``.

    Returns:
        The folder, to be given as ``model``.
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
    with torch.no_grad():  # random weights say the same of every picture; these tell pictures apart
        network.classifier.weight.mul_(40)
        network.vit.embeddings.patch_embeddings.projection.weight.mul_(6)
    network.save_pretrained(folder)
    side = settings["image_size"]
    ViTImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.5, 0.4, 0.6], image_std=[0.5, 0.45, 0.55], resample=2
    ).save_pretrained(folder)
    return Path(folder)
