"""The operator of the tests about faces, and what it appends; other modules have an operator of their own."""

from __future__ import annotations

import pyarrow as pa
import pytest
from faces_model import Marked
from marked_faces import TABLE

from emotion_ops import ClassifyEmotions, Faces


@pytest.fixture(scope="module")
def operator(tiny_model: str) -> ClassifyEmotions:
    """An operator that classifies every marked face."""
    return ClassifyEmotions(model=tiny_model, faces=Faces("all", detector=Marked()), batch_size=4)


@pytest.fixture(scope="module")
def enriched(operator: ClassifyEmotions) -> pa.Table:
    """``TABLE`` with its columns."""
    return operator(TABLE)
