"""Seeing it: a sheet of the first images with what is said of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faces_model import Marked
from PIL import Image
from test_face_columns import CELLS, TABLE

from emotion_ops import ColumnNotFoundError, preview


@pytest.mark.parametrize("faces", ["none", "largest", "all"])
def test_every_frame_gives_the_same_sheet_in_every_mode(tiny_model: str, faces: str) -> None:
    options = {"n": 5, "model": tiny_model, "faces": faces, "detector": Marked()}
    sheets = [
        np.asarray(preview(frame, **options))
        for frame in (TABLE, TABLE.to_batches()[0], pl.from_arrow(TABLE), pd.DataFrame({"image": CELLS}))
    ]
    assert all(np.array_equal(sheets[0], sheet) for sheet in sheets)
    boxes = (sheets[0] == (255, 209, 102)).all(axis=2).sum()
    assert (boxes > 0) == (faces != "none")


def test_rows_that_fail_are_shown_and_few_rows_make_a_small_sheet(tiny_model: str) -> None:
    whole, few = (preview(TABLE, n=n, model=tiny_model) for n in (100, 2))
    assert whole.width > few.width
    assert preview(TABLE.slice(0, 0), model=tiny_model).width > 0
    with pytest.raises(ColumnNotFoundError):
        preview(TABLE, "photo", model=tiny_model)


def test_the_command_writes_the_sheet(tiny_model: str, tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=3)
    command = [sys.executable, "-m", "emotion_ops", "preview", str(tmp_path / "a.parquet"), "--model", tiny_model]
    done = subprocess.run(
        [*command, "-n", "5", "-o", str(tmp_path / "s.png")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "s.png") as sheet:
        assert np.array_equal(np.asarray(sheet), np.asarray(preview(TABLE, n=5, model=tiny_model)))
    assert isinstance(TABLE, pa.Table)
