"""Batches, row groups and plans are bounded by bytes, however a source's rows are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emotion_ops.lake.batching import BATCH_BYTES
from emotion_ops.lake.runner import read_batches
from emotion_ops.lake.storage import Folder

BIG = b"x" * 400_000


def _batches(table: pa.Table, folder: Path, **how: Any) -> list[pa.RecordBatch]:
    pq.write_table(table, folder / "a.parquet", **how)
    batches = list(read_batches(Folder(str(folder)), "a.parquet", columns=None, row_group=None))
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


def test_values_stored_as_what_they_share_are_read_few_at_a_time(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([BIG] * 200, pa.binary())})
    batches = _batches(table, tmp_path, use_dictionary=False, column_encoding={"image": "DELTA_BYTE_ARRAY"})
    assert max(batch.num_rows for batch in batches) <= 64


def test_paths_out_of_a_dictionary_are_read_many_at_a_time(tmp_path: Path) -> None:
    table = pa.table({"image": [f"images/{row % 1000:04d}.jpg" for row in range(10_000)]})
    assert [batch.num_rows for batch in _batches(table, tmp_path)] == [4096, 4096, 1808]


def test_rows_without_an_image_do_not_make_the_others_look_small(tmp_path: Path) -> None:
    """Neither in another row group, nor in the same one."""
    table = pa.table({"image": pa.array([*[None] * 20_000, *[BIG + bytes([row]) for row in range(100)]], pa.binary())})
    for rows in (20_000, 30_000):
        batches = _batches(table, tmp_path, row_group_size=rows, use_dictionary=False)
        assert max(batch.nbytes for batch in batches) <= BATCH_BYTES
