"""One row for each face, for every kind of frame, with the columns that were there before."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from faces_model import Marked
from frames import FRAMES, PANDAS_TEXT, make_frame, read_rows
from PIL import Image

from emotion_ops import (
    EMOTIONS,
    ClassifyEmotions,
    ColumnExistsError,
    ColumnNotFoundError,
    ColumnTypeError,
    Faces,
    FrameTypeError,
    OptionError,
    classify_emotions,
    explode_faces,
)
from emotion_ops.operators.take_rows import compact, repeat

ROWS = [0, 0, 2, 4, 4, 4]
"""The row of each face in the images below."""


def image_with(faces: int) -> bytes:
    pixels = np.full((40, 200, 3), 180, np.uint8)
    for face in range(faces):
        pixels[5 : 25 + face, 60 * face : 60 * face + 20 + face] = (77, 255, face + 1)
        pixels[8:20, 60 * face + 4 : 60 * face + 16] = (0, 0, 90 * face)  # which give different results
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


CELLS = [image_with(2), image_with(0), image_with(1), b"no image", image_with(3)]
TABLE = pa.table({"id": range(5), "image": pa.array(CELLS, pa.binary())})
ABOVE = 0.00075


@pytest.fixture(scope="module")
def options(tiny_model: str) -> dict[str, Any]:
    return {"model": tiny_model, "faces": Faces("all", detector=Marked())}


@pytest.fixture(scope="module")
def found(options: dict[str, Any]) -> pa.Table:
    return ClassifyEmotions(**options)(TABLE)


@pytest.fixture(scope="module")
def labelled(options: dict[str, Any]) -> pa.Table:
    return ClassifyEmotions(**options, labels=ABOVE)(TABLE)


def expected(found: pa.Table) -> list[dict[str, Any]]:
    """The correct rows, made from Python objects."""
    rows = []
    for row in found.to_pylist():
        for face in row["emotion_faces"] or []:
            box = {name: face.pop(name) for name in ("x", "y", "width", "height", "probability")}
            label = {"emotion": face.pop("emotion")}
            numbers = {f"emotion_{name}": value for name, value in face.items()}
            count = {"emotion_face_count": row["emotion_face_count"]}
            rows.append({"id": row["id"], "image": row["image"], **label, **numbers, "emotion_face": box, **count})
    return rows


def plain(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, pd.DataFrame):
        return frame.to_dict("records")
    return read_rows(frame)


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_gives_the_same_faces_and_comes_back_as_the_same_kind(kind: str, found: pa.Table) -> None:
    make, returned = FRAMES[kind].make, FRAMES[kind].returned
    out = explode_faces(make(found))
    assert isinstance(out, returned)
    rows = plain(out)
    assert [row["id"] for row in rows] == ROWS
    assert rows == expected(found)
    assert [list(row) for row in rows] == [list(row) for row in expected(found)]
    if kind != "PyArrow record batch":  # of which a slice without faces has no batches
        empty = explode_faces(make(found.slice(1, 1)))
        assert plain(empty) == []
        assert names_of(empty) == list(rows[0])


def names_of(frame: Any) -> list[str]:
    return list(frame.columns if isinstance(frame, pd.DataFrame | pl.DataFrame) else frame.schema.names)


def read_by_pandas(found: pa.Table, folder: Path) -> Any:
    pq.write_table(found, folder / "a.parquet")
    return pd.read_parquet(folder / "a.parquet")


def written_by_pandas(found: pa.Table, folder: Path) -> Any:
    found.to_pandas().to_parquet(folder / "a.parquet")
    return pq.read_table(folder / "a.parquet")


def written_by_polars(found: pa.Table, folder: Path) -> Any:
    pl.DataFrame(found).write_parquet(folder / "a.parquet")
    return pq.read_table(folder / "a.parquet")


WAYS: dict[str, Callable[[pa.Table, Path], Any]] = {
    "read by pandas": read_by_pandas,
    "written by pandas": written_by_pandas,
    "written by Polars": written_by_polars,
    "from pandas": lambda found, _: pa.Table.from_pandas(found.to_pandas()),
    "from Polars": lambda found, _: pl.DataFrame(found).to_arrow(),
    "from Polars, with its newest types": lambda found, _: pl.DataFrame(found).to_arrow(compat_level=pl.CompatLevel.newest()),
    "a view of a list": lambda found, _: with_faces(found, pa.list_view),
    "a large view of a list": lambda found, _: with_faces(found, pa.large_list_view),
}  # fmt: skip


def with_faces(found: pa.Table, kind: Callable[[pa.DataType], pa.DataType]) -> pa.Table:
    faces = found.column("emotion_faces")
    return replaced(found, pa.array(faces.to_pylist(), kind(faces.type.value_type)))


def replaced(found: pa.Table, faces: Any) -> pa.Table:
    return found.set_column(found.schema.get_field_index("emotion_faces"), "emotion_faces", pa.chunked_array([faces]))


@pytest.mark.parametrize("way", WAYS)
def test_faces_are_the_same_after_another_library_or_a_file(way: str, found: pa.Table, tmp_path: Path) -> None:
    out = explode_faces(WAYS[way](found, tmp_path))
    assert plain(out) == expected(found)
    faceless = explode_faces(WAYS[way](found.slice(3, 1), tmp_path))  # pandas says nothing of types there
    assert names_of(faceless) == names_of(out)
    assert plain(faceless) == []


@pytest.mark.parametrize("kind", FRAMES)
def test_a_users_column_with_the_name_of_the_list_of_labels_stays(kind: str, options: dict[str, Any]) -> None:
    own = TABLE.append_column("emotion_labels", pa.array([["mine"], [], None, ["a", "b"], ["c"]]))
    out = explode_faces(classify_emotions(make_frame(kind, own), **options))
    wanted = [["mine"], ["mine"], None, ["c"], ["c"], ["c"]]
    assert [None if row["emotion_labels"] is None else list(row["emotion_labels"]) for row in plain(out)] == wanted
    with pytest.raises(ColumnExistsError, match="emotion_labels"):
        explode_faces(classify_emotions(make_frame(kind, own), **options), labels_above=0.3)


@pytest.mark.parametrize("kind", FRAMES)
def test_each_face_has_the_labels_that_reach_the_thresholds(kind: str, options: dict[str, Any]) -> None:
    frame = classify_emotions(make_frame(kind, TABLE), **options, labels=ABOVE)
    if kind == "Polars":  # which keeps no lineage
        with pytest.raises(OptionError, match="does not say which thresholds 'emotion_labels' has"):
            explode_faces(frame)
        out = explode_faces(frame, labels_above=ABOVE)
    else:
        out = explode_faces(frame)
    rows = plain(out)
    assert [row["id"] for row in rows] == ROWS
    assert len({tuple(row["emotion_labels"]) for row in rows}) > 1
    for row in rows:
        numbers = {name: row[f"emotion_{name}"] for name in EMOTIONS}
        reached = [name for name in numbers if numbers[name] >= np.float32(ABOVE)]
        assert list(row["emotion_labels"]) == sorted(reached, key=lambda name: -numbers[name])


def test_thresholds_may_be_given_and_else_are_those_of_the_frame(labelled: pa.Table, found: pa.Table) -> None:
    assert explode_faces(labelled, labels_above={"sad": 0.0}).column("emotion_labels").to_pylist() == [["sad"]] * 6
    assert explode_faces(found, labels_above=ABOVE).equals(explode_faces(labelled))
    with pytest.raises(OptionError, match="the model has no 'bored'"):
        explode_faces(found, labels_above={"bored": 0.5})


def test_pandas_does_not_use_the_thresholds_of_another_prefix(options: dict[str, Any]) -> None:
    frame = classify_emotions(TABLE.to_pandas(), **options, labels=ABOVE)
    frame = classify_emotions(frame, **options, labels=0.9, prefix="second")
    assert explode_faces(frame, "second")["second_labels"].tolist() == [["fear"]] * 6
    with pytest.raises(OptionError, match="does not say"):
        explode_faces(frame)


COLUMNS: dict[str, pa.Array] = {
    "string view": pa.array(["a", None, "c" * 30, "d", "e" * 40], pa.string_view()),
    "binary view": pa.array([b"a", b"", b"c" * 3000, None, b"e" * 4000], pa.binary_view()),
    "a view inside": pa.array([{"bytes": b"x" * 20, "path": "p"}] * 4 + [None], pa.struct([("bytes", pa.binary_view()), ("path", pa.string())])),
    "runs": pc.run_end_encode(pa.array([1, 1, 2, 2, 2])),
    "dictionary": pa.array(list("ababa")).dictionary_encode(),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(20, dtype=np.float32).reshape(5, 2, 2)),
    "large tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(5 * 4096, dtype=np.uint8).reshape(5, 64, 64)),
    "list view": pa.array([[1], [2], None, [4], [5, 5]], pa.list_view(pa.int32())),
    "map": pa.array([[("a", n)] for n in range(5)], pa.map_(pa.string(), pa.int32())),
    "nothing": pa.nulls(5),
    "uuid": pa.array([bytes([n] * 16) for n in range(5)], pa.uuid()),
    "images": pa.array([bytes([n]) * 5000 for n in range(5)], pa.binary()),
    "lists of images": pa.array([[bytes([n]) * 5000] * n for n in range(5)], pa.list_(pa.large_binary())),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("start", [0, 2])
def test_a_column_of_any_type_is_repeated_bit_for_bit(name: str, start: int, found: pa.Table) -> None:
    column = COLUMNS[name]
    table = found.append_column("extra", column).slice(start)
    rows = [row for row in ROWS if row >= start]
    wanted = [column[row] for row in rows]
    for out in (
        explode_faces(table),
        explode_faces(table.to_batches()[0]),
        pa.Table.from_batches(explode_faces(table.to_reader())),
    ):
        assert out.schema.field("extra") == table.schema.field("extra")
        got = out.column("extra")
        out.validate(full=True)
        assert [got[place] for place in range(len(got))] == wanted


def test_two_columns_of_one_name_are_both_repeated(found: pa.Table) -> None:
    table = found.append_column("id", pa.array(list("abcde")))
    out = explode_faces(table)
    assert out.schema.names[:3] == ["id", "image", "id"]
    assert out.column(0).to_pylist() == ROWS
    assert out.column(2).to_pylist() == list("aaceee")
    frame = table.to_pandas()
    assert explode_faces(frame).iloc[:, 2].tolist() == list("aaceee")


def test_columns_that_were_removed_are_not_needed(found: pa.Table) -> None:
    whole = explode_faces(found)
    for gone in (["emotion_error", "emotion_face"], ["emotion", "emotion_sad"]):
        assert explode_faces(found.drop_columns(gone)).equals(whole)
    few = found.select(["emotion_faces"])
    made = [name for name in whole.schema.names if name.startswith("emotion") and name != "emotion_face_count"]
    for frame in (few, few.to_pandas(), pl.DataFrame(few)):
        assert names_of(explode_faces(frame)) == made
        assert len(explode_faces(frame)) == 6


def test_the_lineage_and_metadata_stay(found: pa.Table) -> None:
    owned = found.replace_schema_metadata({"owner": "someone"})
    for out in (explode_faces(owned), explode_faces(owned.to_reader()), explode_faces(owned.to_batches()[0])):
        assert out.schema.field("emotion").metadata == found.schema.field("emotion").metadata
        assert out.schema.metadata == {b"owner": b"someone"}


def test_a_null_over_faces_has_no_faces(found: pa.Table) -> None:
    lists = found.column("emotion_faces").combine_chunks()
    mask = pa.array([True, False, False, True, False])
    hidden = pa.ListArray.from_arrays(lists.offsets, lists.values, type=lists.type, mask=mask)
    out = explode_faces(replaced(found, hidden))
    assert plain(out) == [row for row in expected(found) if row["id"] != 0]


def test_no_image_is_copied_however_many_faces_it_has(found: pa.Table) -> None:
    """Three images of 100 MiB with 24 faces each: copies would take 7 GB."""
    faces = found.column("emotion_faces")[0].as_py() * 12
    one = pa.Table.from_arrays(
        [pa.array([b"x" * 100 * 2**20]), pa.array([faces], found.schema.field("emotion_faces").type)],
        names=["image", "emotion_faces"],
    )
    before = pa.total_allocated_bytes()
    out = explode_faces(pa.concat_tables([one] * 3))
    assert pa.total_allocated_bytes() - before < 2**20
    assert (out.num_rows, out.column("image").nbytes) == (72, 72 * (100 * 2**20 + 4))
    with pytest.raises(ColumnTypeError, match="'image' holds binary, which is more than the 2 GiB"):
        explode_faces(one.to_batches()[0])
    sizes = [batch.num_rows for batch in explode_faces(one.to_reader())]
    assert sizes == [1] * 24


def test_pandas_on_arrow_copies_no_image(found: pa.Table) -> None:
    faces = found.column("emotion_faces")[0].as_py() * 12
    kind = found.schema.field("emotion_faces").type
    one = pa.Table.from_arrays(
        [pa.array([b"x" * 100 * 2**20]), pa.array([faces], kind)], names=["image", "emotion_faces"]
    )
    frame = one.to_pandas(types_mapper=pd.ArrowDtype)
    before = pa.total_allocated_bytes()
    assert len(explode_faces(frame)) == 24
    assert pa.total_allocated_bytes() - before < 2**20


def test_batches_of_a_reader_are_bounded_by_bytes_and_made_as_it_is_read(found: pa.Table) -> None:
    read_batches = 0

    def batches() -> Any:
        nonlocal read_batches
        for _ in range(100):
            read_batches += 1
            yield found.to_batches()[0]

    out = explode_faces(pa.RecordBatchReader.from_batches(found.schema, batches()))
    assert read_batches == 0
    assert out.read_next_batch().num_rows == 6
    assert read_batches == 1
    assert sum(batch.num_rows for batch in out) == 99 * 6
    table = explode_faces(found)
    sizes = [batch.num_rows for batch in compact(table, max_bytes=table.nbytes // 2 + 1)]
    assert sum(sizes) == 6
    assert 1 < len(sizes) < 6
    shared = pa.table({"image": pa.array([b"x" * 5000] * 9, pa.binary_view())})
    assert [batch.num_rows for batch in compact(shared, max_bytes=1000)] == [9]


def test_small_cells_do_not_get_a_chunk_for_each_face() -> None:
    rows = np.repeat(np.arange(5), 2)
    for name, array in COLUMNS.items():
        is_wide = name in ("images", "lists of images", "large tensor")
        assert repeat(array, rows).num_chunks == (6 if is_wide else 1), name


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_without_a_list_of_faces_is_refused_with_a_hint(kind: str, found: pa.Table) -> None:
    make = FRAMES[kind].make
    for wrong in (found.drop_columns(["emotion_faces"]), explode_faces(found)):
        with pytest.raises(ColumnNotFoundError, match=r"'emotion_faces' in .* faces='all' and this prefix") as raised:
            explode_faces(make(wrong.combine_chunks()))
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    with pytest.raises(ColumnNotFoundError, match="'e_faces'"):
        explode_faces(make(found), "e")
    for values in ([1] * 5, [[1]] * 5, [[{"x": 1.0}]] * 5):
        with pytest.raises(ColumnTypeError, match="which is not a list of faces: give a table") as raised:
            explode_faces(make(replaced(found, values)))
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_other_objects_and_columns_of_one_name_are_refused(found: pa.Table) -> None:
    for wrong in ({"emotion_faces": []}, pl.DataFrame(found).lazy(), pd.Series([1], name="emotion_faces")):
        with pytest.raises(FrameTypeError):
            explode_faces(wrong)
    with pytest.raises(OptionError, match="2 columns are called 'emotion_faces'"):
        explode_faces(found.append_column("emotion_faces", found.column("emotion_faces")))


def test_pandas_keeps_index_objects_and_attrs_and_the_frame_is_not_changed(options: dict[str, Any]) -> None:
    marker = object()
    frame = pd.DataFrame({"image": CELLS, "thing": [marker] * 5, 7: [1, 2, 3, 4, 5]}, index=list("vwxyz"))
    frame.attrs["owner"] = "someone"
    whole = classify_emotions(frame, **options)
    before = whole.copy(deep=True)
    out = whole.pipe(explode_faces)
    pd.testing.assert_frame_equal(whole, before)
    assert list(out.index) == list("vvxzzz")
    assert list(out.columns)[:4] == ["image", "thing", 7, "emotion"]
    assert out["thing"].iloc[5] is marker
    assert out.attrs == whole.attrs
    assert [str(out[name].dtype) for name in (7, "emotion", "emotion_sad", "emotion_face_count")] == [
        "int64",
        PANDAS_TEXT,
        "float32",
        "Int32",
    ]


def test_polars_objects_stay(options: dict[str, Any]) -> None:
    marker = object()
    frame = pl.DataFrame({"image": CELLS, "thing": pl.Series([marker] * 5, dtype=pl.Object)})
    out = explode_faces(classify_emotions(frame, **options))
    assert out["thing"].to_list() == [marker] * 6


def test_a_dataset_is_exploded_batch_by_batch_with_its_lineage(labelled: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "enriched").mkdir()
    for part in range(3):
        pq.write_table(labelled, tmp_path / "enriched" / f"{part}.parquet", row_group_size=2)
    dataset = ds.dataset(tmp_path / "enriched")
    columns = [name for name in dataset.schema.names if name != "image"]
    faces = explode_faces(dataset.scanner(columns=columns).to_reader())
    ds.write_dataset(faces, tmp_path / "faces", format="parquet")
    written = pq.read_table(tmp_path / "faces")
    assert written.column("id").to_pylist() == ROWS * 3
    assert written.slice(0, 6).equals(explode_faces(labelled).drop_columns(["image"]))
    assert written.schema.field("emotion").metadata == labelled.schema.field("emotion").metadata


@pytest.mark.parametrize("on_arrow", [False, True])
def test_a_pandas_frame_that_forbids_duplicate_labels_is_exploded_if_there_are_none(
    on_arrow: bool, options: dict[str, Any]
) -> None:
    table = TABLE.slice(2, 1)
    frame = table.to_pandas(types_mapper=pd.ArrowDtype if on_arrow else None).set_flags(allows_duplicate_labels=False)
    out = frame.pipe(classify_emotions, **options).pipe(explode_faces)
    assert out["id"].tolist() == [2]
    assert not out.flags.allows_duplicate_labels
