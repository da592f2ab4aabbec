"""What the package gives to the tests of its users."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import torch

from emotion_ops import EMOTIONS, ClassifyEmotions
from emotion_ops.testing import faces_table, save_tiny_model


def test_a_tiny_model_is_the_same_for_the_same_seed_and_leaves_torchs_own_seed_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (save_tiny_model(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert torch.rand(1) == expected
    weights = [(folder / "model.safetensors").read_bytes() for folder in (one, same, other)]
    assert weights[0] == weights[1] != weights[2]


def test_its_answers_have_the_default_models_columns_and_differ_from_picture_to_picture(tmp_path: Path) -> None:
    faces = faces_table(14)
    assert faces.equals(faces_table(14))
    assert faces.column("drawn").to_pylist() == [*EMOTIONS, *EMOTIONS]
    out: pa.Table = ClassifyEmotions(model=str(save_tiny_model(tmp_path)))(faces)
    assert out.column_names == [
        *faces.column_names,
        "emotion",
        *(f"emotion_{label}" for label in EMOTIONS),
        "emotion_error",
    ]
    assert out.column("emotion_error").null_count == 14
    assert len(set(out.column("emotion_sad").to_pylist())) == 14
