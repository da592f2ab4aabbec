"""pandas: index, dtypes and objects stay, and every kind of image column is read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from faces_model import Marked
from frames import PANDAS_TEXT
from pictures import encode, jpeg, photo
from PIL import Image
from table_operators import CompareBrightness

from emotion_ops import EMOTIONS, ClassifyEmotions, ColumnTypeError, Faces, append_columns, classify_emotions
from emotion_ops.testing.operators import ImageStatistics

NAMES = ["emotion", *(f"emotion_{label}" for label in EMOTIONS), "emotion_error"]


def test_index_dtypes_and_objects_stay_and_the_frame_is_not_changed(tiny_model: str) -> None:
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
    assert [str(out[name].dtype) for name in NAMES] == [PANDAS_TEXT, *["float32"] * 7, PANDAS_TEXT]
    dropped = frame.pipe(classify_emotions, model=tiny_model, on_error="drop")
    assert list(dropped.index) == [("a", 1), ("a", 1)]


def test_an_object_column_may_mix_every_kind_of_image(tiny_model: str, tmp_path: Path) -> None:
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
def test_columns_of_paths_of_any_dtype_are_read(dtype: str, tiny_model: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    frame = pd.DataFrame({"image": pd.Series(["a.jpg", None, "a.jpg"], dtype=dtype)})
    out = classify_emotions(frame, model=tiny_model, access=tmp_path)
    assert out["emotion_error"].isna().tolist() == [True, False, True]
    assert out["image"].dtype == frame["image"].dtype


def test_columns_of_numbers_dates_and_truth_values_are_refused_but_not_those_without_any_value(tiny_model: str) -> None:
    for values in ([1, 2], [1.5, 2.5], [True, False], pd.to_datetime(["2026-01-01"] * 2)):
        with pytest.raises(ColumnTypeError):
            classify_emotions(pd.DataFrame({"image": values}), model=tiny_model)
    for dtype in (None, "float64", "Int64", "boolean", "category", "string"):
        missing = pd.DataFrame({"image": pd.Series([None, None], dtype=dtype)})
        out = classify_emotions(missing, model=tiny_model)
        assert out["emotion_error"].str.startswith("missing").all(), dtype


def test_a_column_is_found_by_its_name_as_text(tiny_model: str) -> None:
    out = classify_emotions(pd.DataFrame({0: [jpeg(0)], 1: [2]}), image="0", model=tiny_model)
    assert list(out.columns)[:3] == [0, 1, "emotion"]
    assert out["emotion_error"].isna().all()


def test_a_parquet_round_trip_keeps_the_lineage(tiny_model: str, tmp_path: Path) -> None:
    table = pa.table({"photo": [jpeg(0)]})
    pq.write_table(ClassifyEmotions("photo", model=tiny_model)(table), tmp_path / "out.parquet")
    field = pq.read_schema(tmp_path / "out.parquet").field("emotion")
    lineage = json.loads(field.metadata[b"emotion_ops"])
    assert lineage["model"] == tiny_model
    assert lineage["revision"].startswith("sha256:")
    assert lineage["package_version"]
    assert lineage["columns"] == NAMES


def test_files_that_pandas_writes_are_one_dataset_even_if_one_has_no_face(tiny_model: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": tiny_model, "faces": Faces("all", detector=Marked()), "labels": 0.3}
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


def test_pandas_can_read_the_lists_and_structs_that_it_wrote(tiny_model: str, tmp_path: Path) -> None:
    """It cannot read such columns that were backed by Arrow in the frame, so they are Python objects."""
    face = encode(Image.new("RGB", (40, 40), (77, 255, 1)), "PNG")
    options: dict[str, Any] = {"model": tiny_model, "faces": Faces("all", detector=Marked()), "labels": 0.3}
    frame = classify_emotions(pd.DataFrame({"image": [face, None]}), **options)
    frame.to_parquet(tmp_path / "a.parquet")
    again = pd.read_parquet(tmp_path / "a.parquet")
    assert again["emotion_face"].tolist() == frame["emotion_face"].tolist()
    assert again["emotion_faces"].iloc[0].tolist() == frame["emotion_faces"].iloc[0]
    assert again["emotion_labels"].iloc[0].tolist() == frame["emotion_labels"].iloc[0]


def test_a_pil_image_that_is_open_but_not_loaded_is_read(tiny_model: str) -> None:
    opened = Image.open(io.BytesIO(jpeg(2)))
    out = classify_emotions(pd.DataFrame({"image": pd.Series([opened], dtype=object)}), model=tiny_model)
    assert out["emotion_error"].isna().all()


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option is deprecated")
@pytest.mark.parametrize("infers_str", [True, False])
def test_a_missing_value_is_missing_and_never_the_text_none(infers_str: bool, tiny_model: str) -> None:
    with pd.option_context("future.infer_string", infers_str):
        frame = pd.DataFrame({"image": pd.Series([jpeg(0), b"broken"], dtype=object)})
        out = classify_emotions(frame, model=tiny_model)
        dropped = classify_emotions(frame, model=tiny_model, on_error="drop")
    assert out["emotion_error"].isna().tolist() == [True, False]
    assert out["emotion"].isna().tolist() == [False, True]
    assert len(dropped) == 1
    assert str(out["emotion"].dtype) == ("str" if infers_str else "object")


def test_results_have_the_dtypes_that_pandas_has_for_missing_values() -> None:
    frame = pd.DataFrame({"image": [jpeg(0), None], "minimum": [0.1, 0.2]})
    out = append_columns(frame, CompareBrightness())
    names = ["is_bright", "level", "words", "seen_at", "bright_error"]
    assert [str(out[name].dtype) for name in names] == [
        "boolean",
        "UInt8",
        "object",
        "datetime64[us, UTC]",
        PANDAS_TEXT,
    ]
    assert out["level"].isna().tolist() == out["seen_at"].isna().tolist() == [False, True]
    assert out["words"].iloc[1] is None


def test_the_lineage_of_the_last_operator_is_an_attribute_of_the_frame() -> None:
    frame = pd.DataFrame({"image": [jpeg(0)]}).pipe(append_columns, ImageStatistics())
    assert frame.attrs["emotion_ops"]["operator"] == "image_statistics"
    assert frame.attrs["emotion_ops"]["columns"] == ["brightness", "width", "height", "image_error"]


def test_objects_and_arrow_columns_may_be_inputs_of_one_operator() -> None:
    minimum = pd.Series([0.0, 1.0, None], dtype=pd.ArrowDtype(pa.float64()))
    frame = pd.DataFrame({"image": pd.Series([photo(4), jpeg(0), jpeg(0)], dtype=object), "minimum": minimum})
    out = append_columns(frame, CompareBrightness())
    assert out["is_bright"].tolist()[:2] == [True, False]
    assert out["bright_error"].iloc[2] == "missing: 'minimum' is null"
