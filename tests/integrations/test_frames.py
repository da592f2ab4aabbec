"""The same tests for every kind of frame: the same kind comes back, with the same numbers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from frames import FRAMES, make_frame, read_rows
from pictures import jpeg, photo
from table_operators import CompareBrightness

from emotion_ops import (
    EMOTIONS,
    ClassifyEmotions,
    ColumnExistsError,
    ColumnNotFoundError,
    ColumnTypeError,
    FrameTypeError,
    OptionError,
    append_columns,
    classify_emotions,
)
from emotion_ops.testing.operators import ImageStatistics

CELLS = [jpeg(0), None, b"broken", jpeg(1), jpeg(0)]
NAMES = ["emotion", *(f"emotion_{label}" for label in EMOTIONS), "emotion_error"]


def table() -> pa.Table:
    return pa.table({"id": [10, 20, 30, 40, 50], "photo": pa.array(CELLS, pa.binary())})


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("on_error", ["null", "drop"])
def test_every_kind_of_frame_gives_the_same_rows_and_comes_back_as_the_same_kind(
    kind: str, on_error: str, tiny_model: str
) -> None:
    out = classify_emotions(make_frame(kind, table()), image="photo", model=tiny_model, on_error=on_error)
    assert isinstance(out, FRAMES[kind].returned)
    expected = ClassifyEmotions("photo", model=tiny_model, on_error=on_error)(table()).to_pylist()
    rows = read_rows(out)
    assert len(rows) == len(expected) == (5 if on_error == "null" else 3)
    for row, right in zip(rows, expected, strict=True):
        assert list(row) == ["id", "photo", *NAMES]
        for name, value in row.items():
            assert value == (pytest.approx(right[name], abs=1e-6) if isinstance(value, float) else right[name]), name


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_takes_any_operator_with_several_inputs_and_results_of_any_type(kind: str) -> None:
    source = table().append_column("minimum", pa.array([0.0, 0.5, 0.5, None, 1.0]))
    operator = CompareBrightness("photo")
    out = append_columns(make_frame(kind, source), operator)
    assert isinstance(out, FRAMES[kind].returned)
    rows, expected = read_rows(out), operator(source).to_pylist()
    for row, right in zip(rows, expected, strict=True):
        assert list(row) == ["id", "photo", "minimum", "is_bright", "level", "words", "seen_at", "bright_error"]
        assert {name: row[name] for name in operator.output_schema(source.schema).names[3:]} == {
            name: right[name] for name in operator.output_schema(source.schema).names[3:]
        }
    assert [row["is_bright"] for row in rows] == [True, None, None, None, False]
    assert [str(row["bright_error"]).partition(":")[0] for row in rows] == [
        "None", "missing", "unsupported", "missing", "None"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_refuses_wrong_columns_with_the_same_errors(kind: str, tiny_model: str) -> None:
    with pytest.raises(ColumnNotFoundError, match=r"no column 'image' in the table \(it has 'id', 'photo'\)"):
        classify_emotions(make_frame(kind, table()), model=tiny_model)
    with pytest.raises(ColumnTypeError, match="column 'id' holds"):
        classify_emotions(make_frame(kind, table()), image="id", model=tiny_model)
    with_clash = table().append_column("emotion_fear", pa.array([0.1] * 5))
    with pytest.raises(ColumnExistsError, match="already has 'emotion_fear'"):
        classify_emotions(make_frame(kind, with_clash), image="photo", model=tiny_model)
    other = classify_emotions(make_frame(kind, with_clash), image="photo", model=tiny_model, prefix="second")
    assert "second_fear" in read_rows(other)[0]


@pytest.mark.parametrize("kind", FRAMES)
def test_empty_frames_get_their_columns_too(kind: str, tiny_model: str) -> None:
    out = classify_emotions(make_frame(kind, table().slice(0, 0)), image="photo", model=tiny_model)
    names = out.schema.names if isinstance(out, pa.Table | pa.RecordBatch | pa.RecordBatchReader) else list(out.columns)
    assert names == ["id", "photo", *NAMES]
    assert read_rows(out) == []


def test_polars_object_columns_are_read(tiny_model: str) -> None:
    images = [photo(4), None, np.asarray(photo(4))]
    frame = pl.DataFrame({"image": pl.Series(images, dtype=pl.Object), "minimum": [0.0, 0.0, 1.0]})
    out = classify_emotions(frame, model=tiny_model)
    assert out["emotion_error"].to_list() == [None, "missing: the cell is null", None]
    assert out["emotion_sad"][0] == out["emotion_sad"][2]
    assert append_columns(frame, CompareBrightness())["is_bright"].to_list() == [True, None, False]


PEAK = """
import os, re
from pathlib import Path
import polars as pl
from emotion_ops import append_columns
from emotion_ops.testing.operators import ImageStatistics

def kilobytes(line):
    return int(re.search(line + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

append_columns(pl.DataFrame({"image": [b"warm up"]}), ImageStatistics())
frame = pl.DataFrame({"image": [os.urandom(2**20) for _ in range(400)]})
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
before = kilobytes("VmRSS")
assert append_columns(frame, ImageStatistics(resources=2**24))["image_error"].null_count() == 0
print((kilobytes("VmHWM") - before) / 1024)
"""


def test_a_polars_frame_is_not_copied() -> None:
    """400 MiB of images, with 16 MiB for loading them."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100


def test_a_lazy_frame_is_refused_with_a_hint() -> None:
    with pytest.raises(FrameTypeError, match="collect"):
        append_columns(pl.LazyFrame({"image": [jpeg()]}), ImageStatistics())


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([[b"", b""]], columns=["image", "image"])
    with pytest.raises(OptionError, match="2 columns have this name"):
        append_columns(frame, ImageStatistics())


def test_a_reader_computes_as_it_is_read() -> None:
    read = 0

    def batches() -> Any:
        nonlocal read
        for _ in range(500):
            read += 1
            yield pa.record_batch({"image": [jpeg(0)]})

    reader = pa.RecordBatchReader.from_batches(pa.schema([("image", pa.binary())]), batches())
    out = append_columns(reader, ImageStatistics(batch_size=4, cache=0))
    assert read == 0
    assert out.read_next_batch().num_rows == 1
    assert read < 100
