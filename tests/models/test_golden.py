"""Golden numbers of the demo model: its probabilities for seven stored faces when it was trained.

If these change, the weights, the decoding or the resize have changed, which requires a new FORMAT_VERSION.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from emotion_ops import EMOTIONS, ClassifyEmotions

DATA = Path(__file__).parents[1] / "data"
GOLDEN = json.loads((DATA / "golden.json").read_text())


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05), ("fp16", 0.01)])
def test_the_demo_models_golden_numbers_hold_in_each_precision(precision: str, tolerance: float) -> None:
    operator = ClassifyEmotions(on_error="raise", model="demo", precision=precision)
    ours = operator.predict([DATA / f"{emotion}.png" for emotion in GOLDEN])
    np.testing.assert_allclose(ours, list(GOLDEN.values()), atol=tolerance)
    assert [EMOTIONS[i] for i in ours.argmax(axis=1)] == [EMOTIONS[int(np.argmax(row))] for row in GOLDEN.values()]


def test_the_golden_faces_get_the_seven_labels() -> None:
    table = pa.table({"image": [(DATA / f"{emotion}.png").read_bytes() for emotion in EMOTIONS]})
    assert ClassifyEmotions(model="demo")(table).column("emotion").to_pylist() == list(EMOTIONS)
