"""Copies of failed rows: complete whichever run wrote the outputs, and a source like any other."""

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
def test_the_quarantine_has_each_failed_row_with_its_source_code_and_message(
    source: Path, tiny_model: str, tmp_path: Path, on_error: str
) -> None:
    quarantine = tmp_path / "quarantined"
    operator = ClassifyEmotions(model=tiny_model, on_error=on_error)  # type: ignore[arg-type]
    enrich_dataset(source, tmp_path / "out", operator, columns="none", quarantine=quarantine)
    assert [path.relative_to(quarantine).as_posix() for path in quarantine.rglob("*.parquet")] == ["day=1/rows.parquet"]
    table = pq.ParquetFile(quarantine / "day=1" / "rows.parquet").read()
    assert table.column_names == ["id", "image", *ADDED]
    assert dict(zip(table["quarantine_row"].to_pylist(), table["quarantine_code"].to_pylist(), strict=True)) == FAILED
    assert table["id"].to_pylist() == [100 + row for row in FAILED]
    assert table["image"].to_pylist()[:2] == [None, b"broken"]
    assert set(table["quarantine_source"].to_pylist()) == {f"{source}/day=1/rows.parquet"}
    assert "b'broken'" in table["quarantine_message"].to_pylist()[1]
    assert table.schema.metadata[b"owner"] == b"x"


def test_a_quarantine_can_be_enriched_and_rows_that_fail_again_keep_their_first_source(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    quarantine = tmp_path / "quarantined"
    enrich_dataset(source, tmp_path / "out", operator, quarantine=quarantine)
    corrected = pq.ParquetFile(quarantine / "day=1" / "rows.parquet").read()
    images = [jpeg(2, 40, 40), *corrected["image"].to_pylist()[1:]]
    corrected = corrected.set_column(1, "image", pa.array(images, pa.binary()))
    pq.write_table(corrected, quarantine / "day=1" / "rows.parquet")
    report = enrich_dataset(quarantine, tmp_path / "replayed", operator, quarantine=tmp_path / "quarantined-again")
    assert (report.rows, report.good_rows) == (3, 1)
    again = pq.ParquetFile(tmp_path / "quarantined-again" / "day=1" / "rows.parquet").read()
    assert again.column_names == ["id", "image", *ADDED]
    assert again["quarantine_row"].to_pylist() == [5, 9]
    assert set(again["quarantine_source"].to_pylist()) == {f"{source}/day=1/rows.parquet"}


def test_existing_outputs_get_a_quarantine_too_and_that_of_a_corrected_file_is_removed(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    quarantine = tmp_path / "quarantined"
    enrich_dataset(source, tmp_path / "out", operator)
    assert enrich_dataset(source, tmp_path / "out", operator, quarantine=quarantine).skipped == 2
    assert pq.read_table(quarantine / "day=1" / "rows.parquet").num_rows == len(FAILED)
    pq.write_table(pa.table({"id": [1], "image": [jpeg(1, 40, 40)]}), source / "day=1" / "rows.parquet")
    enrich_dataset(source, tmp_path / "out", operator, quarantine=quarantine)
    assert not list(quarantine.rglob("*.parquet"))


def test_a_quarantine_inside_the_source_or_the_destination_is_refused(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for place in (source / "quarantined", tmp_path / "out", tmp_path / "out" / "quarantined"):
        with pytest.raises(DatasetError, match=r"is in the (source|destination)"):
            enrich_dataset(source, tmp_path / "out", operator, quarantine=place)
    assert not (tmp_path / "out").exists()
