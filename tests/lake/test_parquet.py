"""Parquet is read by the position of columns, whatever their names, and errors say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions, DatasetError, enrich_dataset, verify_dataset
from emotion_ops.lake.parquet import open_parquet, read_batches, read_footer, read_key_values
from emotion_ops.lake.targets.folder import Folder

IMAGES = [jpeg(seed, 40, 40) for seed in range(3)]
JOINED = pa.Table.from_arrays(
    [pa.array([1, 2, 3]), pa.array(["x", "y", "z"]), pa.array([4, 5, 6]), pa.array(IMAGES, pa.binary())],
    ["k", "x", "k", "image"],
)
"""A join without suffixes has two columns of one name."""
NESTED = pa.table(
    {
        "a": pa.array([{"b": 1, "c": [{"d": "p"}]}, None, {"b": None, "c": []}]),
        "a.b": pa.array(IMAGES, pa.binary()),
        "a.c": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int8())),
        "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(pa.array(range(12)).to_numpy().reshape(3, 2, 2)),
        "image": pa.array(["1.jpg", None, "3.jpg"]).dictionary_encode(),
    }
)
"""Dotted names that are also paths into a struct."""


@pytest.fixture
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model)


def write(folder: Path, table: pa.Table, **options: Any) -> Folder:
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "a.parquet", **options)
    return Folder(str(folder))


def read(folder: Folder, columns: list[int | str] | None) -> pa.Table:
    return pa.Table.from_batches(list(read_batches(folder, "a.parquet", columns=columns)))


@pytest.mark.parametrize("table", [JOINED, NESTED], ids=["same-names", "dotted-names"])
def test_each_column_is_read_by_its_position(table: pa.Table, tmp_path: Path) -> None:
    folder = write(tmp_path, table, row_group_size=2)
    assert read(folder, None).equals(table)
    for position in range(table.num_columns):
        assert read(folder, [position]).equals(table.select([position]))
    order: list[int | str] = list(reversed(range(table.num_columns)))
    assert read(folder, order).equals(table.select(order))


def test_a_name_means_all_columns_of_exactly_this_name(tmp_path: Path) -> None:
    joined, nested = write(tmp_path / "joined", JOINED), write(tmp_path / "nested", NESTED)
    assert read(joined, ["image", "k"]).equals(JOINED.select([3, 0, 2]))
    assert read(nested, ["a.b"]).equals(NESTED.select([1]))
    assert read(nested, ["a"]).equals(NESTED.select([0]))
    [batch] = read_batches(nested, "a.parquet", columns=["a.b.c", "nothing"])
    assert (batch.num_columns, batch.num_rows) == (0, 3)


def test_structs_of_one_name_are_read_apart(tmp_path: Path) -> None:
    same = pa.Table.from_arrays(
        [pa.array([{"b": 1, "c": 2}]), pa.array([{"b": "x"}]), pa.array([3])],
        ["a", "a", "a"],
    )
    folder = write(tmp_path, same)
    assert [read(folder, [position]).column(0).to_pylist() for position in range(3)] == [
        [{"b": 1, "c": 2}],
        [{"b": "x"}],
        [3],
    ]


def test_consecutive_rows_are_read_across_row_groups(tmp_path: Path) -> None:
    table = pa.table({"id": range(10), "big": ["x" * 1000] * 10})
    folder = write(tmp_path, table, row_group_size=3)
    with open_parquet(folder, "a.parquet") as file:
        for first, count in ((0, 10), (0, 3), (2, 2), (4, 5), (9, 1), (3, 0)):
            assert file.rows([0], first, count).column("id").to_pylist() == list(range(first, first + count))
        assert file.rows(["id"], 7).column(0).to_pylist() == [7, 8, 9]


def test_a_footer_has_rows_row_groups_and_null_counts_by_position(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([None, 1, 2]), pa.array(["x", None, None])], ["k", "k"])
    footer = read_footer(write(tmp_path, table.replace_schema_metadata({"a": "b"}), row_group_size=2), "a.parquet")
    assert (footer.rows, [group.rows for group in footer.row_groups]) == (3, [2, 1])
    assert (footer.null_counts(0), footer.null_counts(1)) == ((1, 0), (1, 1))
    assert footer.key_values[b"a"] == b"b"


def test_a_missing_file_is_retryable_and_a_corrupt_one_is_not(tmp_path: Path) -> None:
    folder = write(tmp_path, JOINED, compression="none", write_page_checksum=True)
    content = (tmp_path / "a.parquet").read_bytes()
    for change, words, retryable in (
        (None, "cannot be opened .*check that it exists", True),
        (content[: len(content) // 2], "is not a complete Parquet file .*repair it or move it away", False),
        (content.replace(IMAGES[0][-40:], IMAGES[0][-40:][::-1], 1), "cannot be read .*repair the file", False),
    ):
        (tmp_path / "a.parquet").unlink()
        if change is not None:
            (tmp_path / "a.parquet").write_bytes(change)
        with pytest.raises(DatasetError, match=words) as error:
            read(folder, None)
        assert error.value.retryable == retryable
        (tmp_path / "a.parquet").write_bytes(content)
    (tmp_path / "text.parquet").write_text("text")
    assert read_key_values(folder, "text.parquet") == read_key_values(folder, "nothing.parquet") == {}


@pytest.mark.parametrize("columns", ["all", "-x", ["k", "image"]])
def test_columns_of_one_name_are_neither_exchanged_nor_nulled(
    columns: Any, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    write(tmp_path / "source", JOINED.replace_schema_metadata({"owner": "x"}), row_group_size=2)
    assert enrich_dataset(tmp_path / "source", tmp_path / "out", operator, columns=columns).good_rows == 3
    output = pq.ParquetFile(tmp_path / "out" / "a.parquet").read()
    passed = [0, 1, 2, 3] if columns == "all" else [0, 2, 3]
    assert output.select(range(len(passed))).equals(JOINED.select(passed))
    assert verify_dataset(tmp_path / "source", tmp_path / "out").proven


@pytest.mark.parametrize("columns", ["all", "-a", "-a.b", ["a.c", "image"]])
def test_dotted_names_are_names_of_columns(columns: Any, tiny_model: str, tmp_path: Path) -> None:
    write(tmp_path / "source", NESTED)
    operator = ClassifyEmotions("a.b", model=tiny_model)
    assert enrich_dataset(tmp_path / "source", tmp_path / "out", operator, columns=columns).good_rows == 3
    output = pq.ParquetFile(tmp_path / "out" / "a.parquet").read()
    passed = {"all": [0, 1, 2, 3, 4], "-a": [1, 2, 3, 4], "-a.b": [0, 2, 3, 4]}.get(str(columns), [2, 4])
    assert output.select(range(len(passed))).equals(NESTED.select(passed))


def test_failed_rows_of_a_file_with_equal_names_go_to_the_quarantine(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    broken = JOINED.set_column(3, "image", pa.array([IMAGES[0], b"broken", IMAGES[2]], pa.binary()))
    write(tmp_path / "source", broken)
    enrich_dataset(tmp_path / "source", tmp_path / "out", operator, quarantine=tmp_path / "quarantine")
    [row] = pq.ParquetFile(tmp_path / "quarantine" / "a.parquet").read().to_batches()
    assert row.schema.names[:5] == ["k", "x", "k", "image", "quarantine_source"]
    assert [column[0].as_py() for column in row.columns[:4]] == [2, "y", 5, b"broken"]
