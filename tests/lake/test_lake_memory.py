"""Batches, row groups and plans are bounded by bytes, however a source's rows are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emotion_ops import ClassifyEmotions, enrich_dataset
from emotion_ops.lake.fingerprint import Recipe
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.parquet import BATCH_BYTES, read_batches
from emotion_ops.lake.plan import plan_dataset
from emotion_ops.lake.targets.folder import Folder

BIG = b"x" * 400_000


def _batches(table: pa.Table, folder: Path, **how: Any) -> list[pa.RecordBatch]:
    pq.write_table(table, folder / "a.parquet", **how)
    batches = list(read_batches(Folder(str(folder)), "a.parquet"))
    assert pa.Table.from_batches(batches).equals(table)
    return batches


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None, *[BIG] * 200], pa.binary()),
        pa.array([None, *[BIG] * 200], pa.large_binary()),
        pa.array([None, *[{"bytes": BIG, "path": "p"}] * 200], pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        pa.array([[], *[[BIG, BIG]] * 100], pa.list_(pa.binary())),
        pa.array([BIG] * 200, pa.binary(len(BIG))),
    ],
    ids=["binary", "large", "struct", "list", "fixed"],
)
def test_one_image_stored_once_for_many_rows_is_read_in_batches_bounded_by_bytes(
    column: pa.Array, tmp_path: Path
) -> None:
    table = pa.table({"image": column})
    batches = _batches(table, tmp_path)
    assert (tmp_path / "a.parquet").stat().st_size < 2 * len(BIG)
    assert max(batch.nbytes for batch in batches) <= BATCH_BYTES


def test_values_with_shared_prefixes_are_read_few_at_a_time(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([BIG] * 200, pa.binary())})
    batches = _batches(table, tmp_path, use_dictionary=False, column_encoding={"image": "DELTA_BYTE_ARRAY"})
    assert max(batch.num_rows for batch in batches) <= 64


def test_paths_in_a_dictionary_are_read_many_at_a_time(tmp_path: Path) -> None:
    table = pa.table({"image": [f"images/{row % 1000:04d}.jpg" for row in range(10_000)]})
    assert [batch.num_rows for batch in _batches(table, tmp_path)] == [4096, 4096, 1808]


def test_null_rows_do_not_make_the_other_rows_look_small(tmp_path: Path) -> None:
    """Neither in another row group, nor in the same one."""
    table = pa.table({"image": pa.array([*[None] * 20_000, *[BIG + bytes([row]) for row in range(100)]], pa.binary())})
    for rows in (20_000, 30_000):
        batches = _batches(table, tmp_path, row_group_size=rows, use_dictionary=False)
        assert max(batch.nbytes for batch in batches) <= BATCH_BYTES


@pytest.mark.slow
def test_a_dictionary_larger_than_a_row_group_is_written_once(tiny_model: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = pa.array([rng.bytes(100_000) for _ in range(700)], pa.binary())
    thumbs = pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 700, 6000), pa.int32()), values)
    table = pa.table({"image": pa.nulls(6000, pa.binary()), "thumb": thumbs})
    pq.write_table(table, tmp_path / "a.parquet")
    report = enrich_dataset(tmp_path / "a.parquet", tmp_path / "out", ClassifyEmotions(model=tiny_model))
    written = pq.ParquetFile(tmp_path / "out" / "a.parquet")
    assert (report.rows, written.num_row_groups) == (6000, 1)
    assert report.bytes_written < 1.1 * (tmp_path / "a.parquet").stat().st_size
    assert written.read(columns=["thumb"]).column(0).combine_chunks().equals(thumbs)


@pytest.mark.slow
def test_row_groups_with_different_dictionaries_are_joined_only_within_the_bound(
    tiny_model: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    tables = [
        pa.table({"image": pa.nulls(20, pa.binary()), "thumb": pa.array(cells).dictionary_encode()})
        for cells in ([rng.bytes(2_000_000) for _ in range(10)] * 2 for _ in range(5))
    ]
    with pq.ParquetWriter(tmp_path / "a.parquet", tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    enrich_dataset(tmp_path / "a.parquet", tmp_path / "out", ClassifyEmotions(model=tiny_model))
    written = pq.ParquetFile(tmp_path / "out" / "a.parquet")
    assert [written.metadata.row_group(group).num_rows for group in range(written.num_row_groups)] == [60, 40]
    cells = pa.concat_tables(tables).column("thumb")
    assert written.read(columns=["thumb"]).column(0).cast(pa.binary()).equals(cells.cast(pa.binary()))


def test_an_output_is_written_with_the_results_of_one_row_group_in_memory(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is read row group by row group, while the output is written; some row groups are empty."""
    rows = [7, 0, 5, 1, 0]
    schema = pa.schema([("id", pa.int64()), ("image", pa.binary())])
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for group, count in enumerate(rows):
            ids = range(100 * group, 100 * group + count)
            writer.write_table(pa.table({"id": list(ids), "image": pa.nulls(count, pa.binary())}, schema=schema))
    read = []
    read_entry = Journal.read

    def counted(self: Journal, row_group: int) -> pa.Table:
        results = read_entry(self, row_group)
        read.append(results.num_rows)
        return results

    monkeypatch.setattr(Journal, "read", counted)
    operator = ClassifyEmotions(model=tiny_model)
    report = enrich_dataset(tmp_path / "a.parquet", tmp_path / "out", operator, quarantine=tmp_path / "bad")
    assert read == rows * 2  # once for the quarantine, once for the output
    assert report.errors == {"missing": 13}
    ids = [100 * group + row for group, count in enumerate(rows) for row in range(count)]
    for folder in ("out", "bad"):
        assert pq.read_table(tmp_path / folder / "a.parquet").column("id").to_pylist() == ids
    assert pq.read_table(tmp_path / "bad" / "a.parquet").column("quarantine_row").to_pylist() == list(range(13))


def test_plans_of_files_with_equal_schemas_share_one_schema_object(tiny_model: str, tmp_path: Path) -> None:
    table = pa.table({"image": pa.nulls(1, pa.binary())})
    (tmp_path / "source").mkdir()
    for name, note in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        pq.write_table(table.replace_schema_metadata({b"note": note}), tmp_path / "source" / f"{name}.parquet")
    operator = ClassifyEmotions(model=tiny_model).pinned()
    recipe, out = Recipe.create(operator, "all"), str(tmp_path / "out")
    a, b, c = plan_dataset([str(tmp_path / "source")], out, operator, recipe).files
    assert a.schema is b.schema
    assert (a.schema.metadata, c.schema.metadata) == ({b"note": b"1"}, {b"note": b"2"})
