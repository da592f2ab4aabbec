"""Failed rows in a table of their own, complete whichever run made the outputs, and a source like any other."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions, DatasetError, enrich_dataset

ADDED = ["quarantine_source", "quarantine_row", "quarantine_code", "quarantine_message"]
FAILED = {2: "missing", 5: "unsupported", 9: "undecodable"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    cells: list[bytes | None] = [jpeg(row, 40, 40) for row in range(11)]
    cells[2], cells[5], cells[9] = None, b"broken", jpeg(9, 40, 40)[:300]
    schema = pa.schema([("id", pa.int64()), ("image", pa.binary())], metadata={"owner": "x"})
    table = pa.table({"id": range(100, 111), "image": cells}, schema=schema)
    (tmp_path / "source" / "day=1").mkdir(parents=True)
    pq.write_table(table, tmp_path / "source" / "day=1" / "rows.parquet", row_group_size=4)
    pq.write_table(table.slice(3, 2), tmp_path / "source" / "good.parquet")
    return tmp_path / "source"


@pytest.fixture
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model)


@pytest.mark.parametrize("on_error", ["null", "drop"])
def test_the_quarantine_holds_each_failed_row_with_its_key_code_and_message(
    source: Path, tiny_model: str, tmp_path: Path, on_error: str
) -> None:
    held = tmp_path / "held"
    operator = ClassifyEmotions(model=tiny_model, on_error=on_error)  # type: ignore[arg-type]
    enrich_dataset(source, tmp_path / "out", operator, columns="none", quarantine=held)
    assert [path.relative_to(held).as_posix() for path in held.rglob("*.parquet")] == ["day=1/rows.parquet"]
    table = pq.ParquetFile(held / "day=1" / "rows.parquet").read()
    assert table.column_names == ["id", "image", *ADDED]
    assert dict(zip(table["quarantine_row"].to_pylist(), table["quarantine_code"].to_pylist(), strict=True)) == FAILED
    assert table["id"].to_pylist() == [100 + row for row in FAILED]
    assert table["image"].to_pylist()[:2] == [None, b"broken"]
    assert set(table["quarantine_source"].to_pylist()) == {f"{source}/day=1/rows.parquet"}
    assert "b'broken'" in table["quarantine_message"].to_pylist()[1]
    assert table.schema.metadata[b"owner"] == b"x"


def test_a_quarantine_is_replayed_like_any_source_and_what_fails_again_keeps_its_key(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    enrich_dataset(source, tmp_path / "out", operator, quarantine=held)
    mended = pq.ParquetFile(held / "day=1" / "rows.parquet").read()
    images = [jpeg(2, 40, 40), *mended["image"].to_pylist()[1:]]
    mended = mended.set_column(1, "image", pa.array(images, pa.binary()))
    pq.write_table(mended, held / "day=1" / "rows.parquet")
    report = enrich_dataset(held, tmp_path / "replayed", operator, quarantine=tmp_path / "held-again")
    assert (report.rows, report.images) == (3, 1)
    again = pq.ParquetFile(tmp_path / "held-again" / "day=1" / "rows.parquet").read()
    assert again.column_names == ["id", "image", *ADDED]
    assert again["quarantine_row"].to_pylist() == [5, 9]
    assert set(again["quarantine_source"].to_pylist()) == {f"{source}/day=1/rows.parquet"}


def test_outputs_that_stood_before_get_their_quarantine_too_and_a_mended_file_loses_its_own(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    enrich_dataset(source, tmp_path / "out", operator)
    assert enrich_dataset(source, tmp_path / "out", operator, quarantine=held).skipped == 2
    assert pq.read_table(held / "day=1" / "rows.parquet").num_rows == len(FAILED)
    pq.write_table(pa.table({"id": [1], "image": [jpeg(1, 40, 40)]}), source / "day=1" / "rows.parquet")
    enrich_dataset(source, tmp_path / "out", operator, quarantine=held)
    assert not list(held.rglob("*.parquet"))


def test_a_quarantine_among_the_sources_or_the_outputs_is_refused(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for place in (source / "held", tmp_path / "out", tmp_path / "out" / "held"):
        with pytest.raises(DatasetError, match=r"lies in the (source|destination)"):
            enrich_dataset(source, tmp_path / "out", operator, quarantine=place)
    assert not (tmp_path / "out").exists()
