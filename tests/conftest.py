"""What the tests share: networks with fixed-seed weights, saved as anyone saves theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the package does, before anyone imports torch
os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches for the network; those of the hub start a server of their own
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

DEFAULT_LABELS = ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy")


def save_vit(folder: Path, labels: tuple[str, ...] = DEFAULT_LABELS, seed: int = 0, **config: Any) -> Path:
    """Save a ViT with weights from a seed, and its image processor, by ``save_pretrained``."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    tiny = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
    }
    settings = {**tiny, **config}
    torch.manual_seed(seed)
    network = ViTForImageClassification(
        ViTConfig(**settings, id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)})
    )
    with torch.no_grad():  # random weights say the same of every picture; these tell pictures apart
        network.classifier.weight.mul_(40)
        network.vit.embeddings.patch_embeddings.projection.weight.mul_(6)
    network.save_pretrained(folder)
    side = settings["image_size"]
    ViTImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.5, 0.4, 0.6], image_std=[0.5, 0.45, 0.55], resample=2
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny ViT of 32 px with the seven labels of the default model."""
    return str(save_vit(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def vit_b16(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ViT-B/16 of 224 px: the default model's architecture and labels, with weights from a seed."""
    base = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "image_size": 224,
        "patch_size": 16,
    }
    return str(save_vit(tmp_path_factory.mktemp("models") / "vit-b16", **base))
