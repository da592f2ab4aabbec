"""A plain forward pass by transformers: the reference that this package's numbers are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emotion_ops.models.checkpoint import Checkpoint
from emotion_ops.models.engines import openmp

if TYPE_CHECKING:
    from PIL import Image


def reference_probabilities(checkpoint: Checkpoint, images: Sequence[Image.Image]) -> NDArray[np.float32]:
    """Probabilities by transformers' own processor and network, one image at a time, in fp32 on the CPU.

    Args:
        checkpoint: The weights.
        images: Images as Pillow opened them, of any mode; turned upright and converted to RGB as the
            image-classification pipeline does.

    Returns:
        float32 (N, labels).
    """
    openmp.use_passive_waiting()
    import torch
    from PIL import ImageOps
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    processor = AutoImageProcessor.from_pretrained(checkpoint.folder, backend="pil")  # type: ignore[no-untyped-call]  # untyped in transformers
    network = AutoModelForImageClassification.from_pretrained(
        checkpoint.folder, use_safetensors=True, dtype=torch.float32
    ).eval()
    rows = []
    with torch.inference_mode():
        for image in images:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            logits = network(**processor(images=upright, return_tensors="pt")).logits
            rows.append(torch.softmax(logits[0], dim=-1).numpy())
    return np.stack(rows)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide the numbers and the speed, and the devices that torch can use."""
    openmp.use_passive_waiting()
    import torch
    import transformers

    devices = [f"cpu, {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append(f"cuda:{index}, {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {"torch": torch.__version__, "transformers": transformers.__version__, "devices": "; ".join(devices)}
