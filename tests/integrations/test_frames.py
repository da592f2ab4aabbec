"""One body run through every kind of frame: the same kind comes back, with the same numbers."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from faces_model import Marked
from pictures import encode, jpeg, photo
from PIL import Image

from emotion_ops import (
    ClassifyEmotions,
    ColumnExistsError,
    ColumnNotFoundError,
    ColumnTypeError,
    OptionError,
    classify_emotions,
)

CELLS = [jpeg(0), None, b"broken", jpeg(1), jpeg(0)]
NAMES = [
    "emotion",
    *(f"emotion_{label}" for label in ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy")),
    "emotion_error",
]


class ArrowSpeaker:
    """A table of some other library that only speaks Arrow's C stream."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def arrow() -> pa.Table:
    return pa.table({"id": [10, 20, 30, 40, 50], "photo": pa.array(CELLS, pa.binary())})


KINDS: dict[str, tuple[Callable[[pa.Table], Any], type]] = {
    "pandas": (lambda table: table.to_pandas(), pd.DataFrame),
    "pandas on Arrow": (lambda table: table.to_pandas(types_mapper=pd.ArrowDtype), pd.DataFrame),
    "Polars": (pl.from_arrow, pl.DataFrame),
    "PyArrow table": (lambda table: table, pa.Table),
    "PyArrow record batch": (lambda table: table.to_batches()[0], pa.RecordBatch),
    "PyArrow reader": (lambda table: table.to_reader(), pa.RecordBatchReader),
    "Arrow's C stream": (ArrowSpeaker, pa.Table),
}


def rows_of(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, pd.DataFrame):
        return [{k: None if pd.isna(v) else v for k, v in row.items()} for row in frame.to_dict("records")]
    if isinstance(frame, pl.DataFrame):
        return frame.to_dicts()
    table = frame.read_all() if isinstance(frame, pa.RecordBatchReader) else frame
    return table.to_pylist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on_error", ["null", "drop"])
def test_every_kind_of_frame_gives_the_same_rows_and_comes_back_as_itself(
    kind: str, on_error: str, tiny_model: str
) -> None:
    make, returned = KINDS[kind]
    out = classify_emotions(make(arrow()), image="photo", model=tiny_model, on_error=on_error)
    assert isinstance(out, returned)
    expected = ClassifyEmotions("photo", model=tiny_model, on_error=on_error)(arrow()).to_pylist()
    rows = rows_of(out)
    assert len(rows) == len(expected) == (5 if on_error == "null" else 3)
    for row, right in zip(rows, expected, strict=True):
        assert list(row) == ["id", "photo", *NAMES]
        for name, value in row.items():
            assert (
                value == pytest.approx(right[name], abs=1e-6) if isinstance(value, float) else value == right[name]
            ), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_refuses_what_does_not_fit_with_the_same_errors(kind: str, tiny_model: str) -> None:
    make, _ = KINDS[kind]
    with pytest.raises(ColumnNotFoundError, match=r"no column 'image' in the table \(it has 'id', 'photo'\)"):
        classify_emotions(make(arrow()), model=tiny_model)
    with pytest.raises(ColumnTypeError, match="column 'id' holds"):
        classify_emotions(make(arrow()), image="id", model=tiny_model)
    taken = arrow().append_column("emotion_fear", pa.array([0.1] * 5))
    with pytest.raises(ColumnExistsError, match="already has 'emotion_fear'"):
        classify_emotions(make(taken), image="photo", model=tiny_model)
    again = classify_emotions(make(taken), image="photo", model=tiny_model, prefix="second")
    assert "second_fear" in rows_of(again)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_empty_frames_get_their_columns_too(kind: str, tiny_model: str) -> None:
    if kind == "PyArrow record batch":
        frame: Any = pa.RecordBatch.from_pylist([], arrow().schema)
    else:
        frame = KINDS[kind][0](arrow().slice(0, 0))
    out = classify_emotions(frame, image="photo", model=tiny_model)
    names = out.schema.names if isinstance(out, pa.Table | pa.RecordBatch | pa.RecordBatchReader) else list(out.columns)
    assert names == ["id", "photo", *NAMES]
    assert rows_of(out) == []


def test_pandas_keeps_its_index_dtypes_object_columns_and_the_frame_itself(tiny_model: str) -> None:
    marker = object()
    index = pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", 2)], names=["x", "y"])
    frame = pd.DataFrame(
        {
            "image": pd.Series([jpeg(0), jpeg(1), None], index=index, dtype=object),
            "thing": pd.Series([marker, {"a": 1}, [1]], index=index, dtype=object),
            "small": pd.Series([1, 2, 3], index=index, dtype="int8"),
            "kind": pd.Series(["u", "v", "u"], index=index, dtype="category"),
            "when": pd.Series(pd.to_datetime(["2026-01-01"] * 3, utc=True), index=index),
            7: pd.Series([True, False, None], index=index, dtype="boolean"),
        }
    )
    frame.attrs["owner"] = "someone"
    before = frame.copy(deep=True)
    out = frame.pipe(classify_emotions, model=tiny_model)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(out[list(frame.columns)], before)
    assert out["thing"].iloc[0] is marker
    assert out.attrs["owner"] == "someone"
    assert out.attrs["emotion_ops"]["model"] == tiny_model
    assert out.attrs["emotion_ops"]["revision"].startswith("sha256:")
    assert [str(out[name].dtype) for name in NAMES] == ["str", *["float32"] * 7, "str"]
    dropped = frame.pipe(classify_emotions, model=tiny_model, on_error="drop")
    assert list(dropped.index) == [("a", 1), ("a", 1)]


def test_pandas_object_columns_may_mix_every_kind_of_image(tiny_model: str, tmp_path: Path) -> None:
    picture = photo(4)
    encoded = encode(picture)
    (tmp_path / "p.png").write_bytes(encoded)
    cells = [
        encoded, bytearray(encoded), str(tmp_path / "p.png"), tmp_path / "p.png", picture, np.asarray(picture),
        memoryview(encoded + encoded)[: len(encoded)], memoryview(bytes(b for c in encoded for b in (c, 0)))[::2],
        {"bytes": encoded, "path": None}, {"bytes": None, "path": str(tmp_path / "p.png")},
        None, float("nan"), pd.NA, pd.NaT, 5,
    ]  # fmt: skip
    out = classify_emotions(pd.DataFrame({"image": pd.Series(cells, dtype=object)}), model=tiny_model)
    assert out["emotion_sad"].iloc[:10].nunique() == 1
    codes = [str(error).partition(":")[0] for error in out["emotion_error"].iloc[10:]]
    assert codes == ["missing"] * 4 + ["unsupported"]


@pytest.mark.parametrize("dtype", ["object", "str", "string", "category"])
def test_pandas_columns_of_paths_of_any_dtype_are_read(dtype: str, tiny_model: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    frame = pd.DataFrame({"image": pd.Series(["a.jpg", None, "a.jpg"], dtype=dtype)})
    out = classify_emotions(frame, model=tiny_model, root=tmp_path)
    assert out["emotion_error"].isna().tolist() == [True, False, True]
    assert out["image"].dtype == frame["image"].dtype


def test_pandas_columns_of_numbers_dates_and_truths_are_refused_and_all_missing_ones_are_not(tiny_model: str) -> None:
    for values in ([1, 2], [1.5, 2.5], [True, False], pd.to_datetime(["2026-01-01"] * 2)):
        with pytest.raises(ColumnTypeError):
            classify_emotions(pd.DataFrame({"image": values}), model=tiny_model)
    for dtype in (None, "float64", "Int64", "boolean", "category", "string"):
        missing = pd.DataFrame({"image": pd.Series([None, None], dtype=dtype)})
        out = classify_emotions(missing, model=tiny_model)
        assert out["emotion_error"].str.startswith("missing").all(), dtype


def test_a_pandas_column_is_found_by_what_its_name_looks_like(tiny_model: str) -> None:
    out = classify_emotions(pd.DataFrame({0: [jpeg(0)], 1: [2]}), image="0", model=tiny_model)
    assert list(out.columns)[:3] == [0, 1, "emotion"]
    assert out["emotion_error"].isna().all()


def test_polars_objects_are_taken_as_what_they_are(tiny_model: str) -> None:
    pictures = [photo(4), None, np.asarray(photo(4))]
    frame = pl.DataFrame({"image": pl.Series(pictures, dtype=pl.Object), "id": [1, 2, 3]})
    out = classify_emotions(frame, model=tiny_model)
    assert out["emotion_error"].to_list() == [None, "missing: the cell is null", None]
    assert out["emotion_sad"][0] == out["emotion_sad"][2]


def test_pandas_with_two_columns_of_one_name_is_refused(tiny_model: str) -> None:
    frame = pd.DataFrame([[b"", b""]], columns=["image", "image"])
    with pytest.raises(OptionError, match="2 columns have this name"):
        classify_emotions(frame, model=tiny_model)


def test_a_lazy_frame_is_refused_with_its_cure(tiny_model: str) -> None:
    from emotion_ops import FrameTypeError

    with pytest.raises(FrameTypeError, match="collect"):
        classify_emotions(pl.LazyFrame({"image": [jpeg()]}), model=tiny_model)


def test_a_reader_works_as_it_is_read(tiny_model: str) -> None:
    pulled = 0

    def batches() -> Any:
        nonlocal pulled
        for _ in range(500):
            pulled += 1
            yield pa.record_batch({"image": [jpeg(0)]})

    schema = pa.schema([("image", pa.binary())])
    out = classify_emotions(pa.RecordBatchReader.from_batches(schema, batches()), model=tiny_model)
    assert pulled == 0
    assert out.read_next_batch().num_rows == 1
    assert pulled < 100


def test_a_parquet_round_trip_keeps_the_lineage(tiny_model: str, tmp_path: Path) -> None:
    import json

    pq.write_table(ClassifyEmotions("photo", model=tiny_model)(arrow()), tmp_path / "out.parquet")
    field = pq.read_schema(tmp_path / "out.parquet").field("emotion")
    lineage = json.loads(field.metadata[b"emotion_ops"])
    assert lineage["model"] == tiny_model
    assert lineage["revision"].startswith("sha256:")
    assert lineage["version"]


def test_parts_that_pandas_writes_are_one_dataset_also_where_a_part_has_no_face(
    tiny_model: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"model": tiny_model, "faces": "all", "detector": Marked(), "labels_above": 0.3}
    schema = ClassifyEmotions(**options).output_schema(pa.schema([("image", pa.binary())]))
    face = encode(Image.new("RGB", (40, 40), (77, 255, 1)), "PNG")
    for part, cells in enumerate(([jpeg(0), None], [face, None])):
        frame = classify_emotions(pd.DataFrame({"image": cells}), **options)
        frame.to_parquet(tmp_path / f"{part}.parquet", schema=schema)
        written = pq.read_schema(tmp_path / f"{part}.parquet")
        assert written.equals(schema)
        assert written.field("emotion").metadata == schema.field("emotion").metadata
    assert ds.dataset(tmp_path).to_table().column("emotion_face_count").to_pylist() == [0, None, 1, None]
    read = pd.read_parquet(tmp_path)
    assert [faces is not None and len(faces) for faces in read["emotion_faces"]] == [0, False, 1, False]


def test_what_pandas_writes_of_lists_and_structs_it_reads_again(tiny_model: str, tmp_path: Path) -> None:
    """It fails to read such columns where they are Arrow's own in the frame, so they are Python's objects."""
    face = encode(Image.new("RGB", (40, 40), (77, 255, 1)), "PNG")
    options: dict[str, Any] = {"model": tiny_model, "faces": "all", "detector": Marked(), "labels_above": 0.3}
    frame = classify_emotions(pd.DataFrame({"image": [face, None]}), **options)
    frame.to_parquet(tmp_path / "a.parquet")
    again = pd.read_parquet(tmp_path / "a.parquet")
    assert again["emotion_face"].tolist() == frame["emotion_face"].tolist()
    assert again["emotion_faces"].iloc[0].tolist() == frame["emotion_faces"].iloc[0]
    assert again["emotion_labels"].iloc[0].tolist() == frame["emotion_labels"].iloc[0]


def test_a_pil_image_that_was_opened_but_not_read_is_read(tiny_model: str) -> None:
    opened = Image.open(io.BytesIO(jpeg(2)))
    out = classify_emotions(pd.DataFrame({"image": pd.Series([opened], dtype=object)}), model=tiny_model)
    assert out["emotion_error"].isna().all()
