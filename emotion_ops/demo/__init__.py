"""A tiny model and 21 sample faces, to try the package without a download.

Importing this package loads nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

MODEL_DIR = Path(__file__).parent / "model"
"""Folder of the demo model, in the layout that `from_pretrained` reads."""

FACES_FILE = Path(__file__).parent / "faces.parquet"
"""The sample faces as a Parquet file."""


def sample_faces() -> pa.Table:
    """Read the 21 sample faces: drawings of 224 × 224 pixels, three of each emotion, each of another person.

    Returns:
        Columns ``id`` (string), ``drawn`` (string, the emotion that the drawing shows; the labels in turn) and
        ``image`` (struct of ``bytes``, a JPEG file, and ``path``, the layout of the Hugging Face ``Image`` feature).
    """
    import pyarrow.parquet as pq

    return pq.read_table(FACES_FILE)
