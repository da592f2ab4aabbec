"""Failed rows of outputs that stand, answered again; all else stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions, ErrorBudgetExceededError, OptionError, enrich_dataset
from emotion_ops.lake.plan import FINGERPRINT_KEY

ROWS = 12
GONE, BROKEN = (1, 7, 11), 4


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Paths of images, in row groups of 5; three of the images are not there yet, and one is broken."""
    (tmp_path / "images").mkdir()
    (tmp_path / "source").mkdir()
    for row in range(ROWS):
        if row not in GONE:
            (tmp_path / "images" / f"{row}.jpg").write_bytes(b"broken" if row == BROKEN else jpeg(row, 40, 40))
    table = pa.table({"id": range(ROWS), "image": [f"{row}.jpg" for row in range(ROWS)]})
    pq.write_table(table, tmp_path / "source" / "rows.parquet", row_group_size=5)
    pq.write_table(table.slice(2, 2), tmp_path / "source" / "good.parquet")
    return tmp_path / "source"


@pytest.fixture
def operator(tiny_model: str, tmp_path: Path) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model, root=tmp_path / "images")


def mend(tmp_path: Path) -> None:
    for row in GONE:
        (tmp_path / "images" / f"{row}.jpg").write_bytes(jpeg(row, 40, 40))


def assert_same(ours: pa.Table, right: pa.Table) -> None:
    for name in right.column_names:
        if pa.types.is_floating(right.schema.field(name).type):
            np.testing.assert_allclose(ours.column(name).to_numpy(), right.column(name).to_numpy(), atol=1e-6)
        else:
            assert ours.column(name).equals(right.column(name)), name


def test_only_the_failed_rows_are_computed_again_and_the_file_is_as_if_they_had_never_failed(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert enrich_dataset(source, out, operator).errors == {"not_found": 3, "unsupported": 1}
    before = pq.read_table(out / "rows.parquet")
    untouched = (out / "good.parquet").stat().st_mtime_ns
    mend(tmp_path)
    (tmp_path / "images" / "0.jpg").unlink()  # a row that was good is not asked again
    report = enrich_dataset(source, out, operator, retry_errors=True)
    assert (report.files, report.skipped, report.rows, report.rows_retried) == (1, 1, ROWS, 4)
    assert report.errors == {"unsupported": 1}
    assert [file.action for file in report.planned] == ["skip", "retry"]
    after = pq.read_table(out / "rows.parquet")
    kept = [row for row in range(ROWS) if row not in GONE]
    assert after.take(kept).equals(before.take(kept))
    (tmp_path / "images" / "0.jpg").write_bytes(jpeg(0, 40, 40))
    enrich_dataset(source, tmp_path / "undisturbed", operator)
    assert_same(after, pq.read_table(tmp_path / "undisturbed" / "rows.parquet"))
    footers = [pq.read_metadata(folder / "rows.parquet").metadata for folder in (out, tmp_path / "undisturbed")]
    assert footers[0][FINGERPRINT_KEY] == footers[1][FINGERPRINT_KEY]
    assert (out / "good.parquet").stat().st_mtime_ns == untouched
    assert not list(out.rglob("*.arrow"))


def test_a_retry_may_name_the_codes_and_leaves_files_without_such_rows_alone(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    enrich_dataset(source, out, operator)
    mend(tmp_path)
    (tmp_path / "images" / f"{BROKEN}.jpg").write_bytes(jpeg(BROKEN, 40, 40))
    stamp = (out / "rows.parquet").stat().st_mtime_ns
    nothing = enrich_dataset(source, out, operator, retry_errors="forbidden")
    assert (nothing.files, nothing.skipped) == (0, 2)
    assert (out / "rows.parquet").stat().st_mtime_ns == stamp
    report = enrich_dataset(source, out, operator, retry_errors=["unsupported", "missing"])
    assert (report.rows_retried, report.errors) == (1, {"not_found": 3})
    assert enrich_dataset(source, out, operator, retry_errors=True).errors == {}


def test_a_retry_that_stops_in_the_middle_leaves_the_output_as_it_was_and_is_gone_on_with(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    enrich_dataset(source, out, operator)
    before = pq.read_table(out / "rows.parquet")
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(source, out, operator, retry_errors=True, max_errors=1)
    assert pq.read_table(out / "rows.parquet").equals(before)
    assert len(list(out.rglob("*.arrow"))) > 0
    mend(tmp_path)
    again = enrich_dataset(source, out, operator, retry_errors=True)
    assert again.rows_from_journal > 0
    assert enrich_dataset(source, out, operator, retry_errors=True).errors.get("not_found", 0) == 0


def test_what_a_run_left_that_died_as_it_finished_is_no_answer_to_a_retry(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    """Killed after the output was published and before its journal was removed."""
    out = tmp_path / "out"
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(source / "rows.parquet", out, operator, max_errors=3)
    journal = out / "_emotion_ops" / "journal"
    shutil.copytree(journal, tmp_path / "kept")
    enrich_dataset(source, out, operator)
    shutil.copytree(tmp_path / "kept", journal, dirs_exist_ok=True)
    mend(tmp_path)
    report = enrich_dataset(source, out, operator, retry_errors=True)
    assert (report.rows_from_journal, report.rows_retried, report.errors) == (0, 4, {"unsupported": 1})
    assert not list(out.rglob("*.arrow"))


def test_rows_that_were_dropped_or_codes_that_do_not_exist_cannot_be_retried(
    source: Path, operator: ClassifyEmotions, tiny_model: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="give True, or codes out of missing, not_found"):
        enrich_dataset(source, tmp_path / "out", operator, retry_errors=["lost"])
    dropping = ClassifyEmotions(model=tiny_model, root=tmp_path / "images", on_error="drop")
    with pytest.raises(OptionError, match="left the failed rows out"):
        enrich_dataset(source, tmp_path / "out", dropping, retry_errors=True)
    assert not (tmp_path / "out").exists()


def test_past_the_budget_a_rerun_publishes_nothing_either(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    """All of the file's row groups may be in the journal when the budget is found to be exceeded."""
    for _ in range(3):
        with pytest.raises(ErrorBudgetExceededError, match=r"out: 4 of 12 rows failed"):
            enrich_dataset(source / "rows.parquet", tmp_path / "out", operator, max_errors=3)
        assert not list((tmp_path / "out").glob("*.parquet"))
