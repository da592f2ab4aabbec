"""How many images a second a processor could at most run through a network: by its fastest matrix products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comparison.device import gigaflop_of, matrix_rate
from emotion_ops.models.engines.torch_engine import TorchEngine
from emotion_ops.models.checkpoint import resolve_checkpoint

_SIDE = 2048  # as large as the products of a ViT-B on a batch of 16 are wide


def measure(model: Path) -> dict[str, Any]:
    """The network's work and the processor's speed, on all its cores.

    Returns:
        ``gigaflop_an_image`` of the network as it is run here, and by precision ``teraflops`` of a matrix product in
        torch at best, and ``images`` a second, were the network nothing but such products.
    """
    gigaflop = gigaflop_of(TorchEngine(resolve_checkpoint(str(model)), "cpu", "fp32"))
    rates = {precision: matrix_rate("cpu", _SIDE, 5, precision) for precision in ("fp32", "bf16", "int8")}
    images = {precision: 1000 * rate / gigaflop for precision, rate in rates.items()}
    return {"gigaflop_an_image": gigaflop, "teraflops": rates, "images": images}


def as_text(found: dict[str, Any]) -> str:
    """One line."""
    at_most = ", ".join(
        f"{found['images'][precision]:.1f} images/s in {precision} ({1000 * rate:.0f} GFLOP/s)"
        for precision, rate in found["teraflops"].items()
    )
    return f"{found['gigaflop_an_image']:.1f} GFLOP an image; matrix products alone would run at most {at_most}"
