"""Tables of drawn faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotion_ops.demo.dataset import demo_table

if TYPE_CHECKING:
    import pyarrow as pa


def faces_table(rows: int, *, seed: int = 0, size: int = 64) -> pa.Table:
    """Drawn faces in the layout of the Hugging Face ``Image`` feature, the same for the same arguments.

    Args:
        rows: How many, 0 or more; the emotions take turns.
        seed: Of the first face; the next ones follow.
        size: Width and height in pixels, 32 or more.

    Returns:
        Columns ``id`` (string), ``drawn`` (string, the emotion) and ``image`` (struct of ``bytes``, a JPEG file,
        and ``path``).
    """
    return demo_table(rows, seed=seed, size=size)
