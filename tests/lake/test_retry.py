"""Failed rows of existing outputs are computed again; everything else stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import Access, ClassifyEmotions, ErrorBudgetExceededError, OptionError, enrich_dataset
from emotion_ops.lake.provenance import FINGERPRINT_KEY

ROWS = 12
GONE, BROKEN = (1, 7, 11), 4


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Paths of images, in row groups of 5; three of the images do not exist yet, and one is broken."""
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
    return ClassifyEmotions(model=tiny_model, access=Access(root=tmp_path / "images"))


def correct_images(tmp_path: Path) -> None:
    for row in GONE:
        (tmp_path / "images" / f"{row}.jpg").write_bytes(jpeg(row, 40, 40))


def assert_same(ours: pa.Table, right: pa.Table) -> None:
    for name in right.column_names:
        if pa.types.is_floating(right.schema.field(name).type):
            np.testing.assert_allclose(ours.column(name).to_numpy(), right.column(name).to_numpy(), atol=1e-6)
        else:
            assert ours.column(name).equals(right.column(name)), name


def test_only_failed_rows_are_computed_again_and_the_output_is_as_if_they_had_not_failed(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert enrich_dataset(source, out, operator).errors == {"not_found": 3, "unsupported": 1}
    before = pq.read_table(out / "rows.parquet")
    untouched = (out / "good.parquet").stat().st_mtime_ns
    correct_images(tmp_path)
    (tmp_path / "images" / "0.jpg").unlink()  # a good row is not computed again
    report = enrich_dataset(source, out, operator, retry_errors=True)
    assert (report.files, report.skipped, report.rows, report.rows_retried) == (1, 1, ROWS, 4)
    assert report.errors == {"unsupported": 1}
    assert [file.action for file in report.planned] == ["skip", "retry"]
    after = pq.read_table(out / "rows.parquet")
    unchanged = [row for row in range(ROWS) if row not in GONE]
    assert after.take(unchanged).equals(before.take(unchanged))
    (tmp_path / "images" / "0.jpg").write_bytes(jpeg(0, 40, 40))
    enrich_dataset(source, tmp_path / "undisturbed", operator)
    assert_same(after, pq.read_table(tmp_path / "undisturbed" / "rows.parquet"))
    footers = [pq.read_metadata(folder / "rows.parquet").metadata for folder in (out, tmp_path / "undisturbed")]
    assert footers[0][FINGERPRINT_KEY] == footers[1][FINGERPRINT_KEY]
    assert (out / "good.parquet").stat().st_mtime_ns == untouched
    assert not list(out.rglob("*.arrow"))


def test_a_retry_can_name_codes_and_does_not_touch_files_without_such_rows(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    enrich_dataset(source, out, operator)
    correct_images(tmp_path)
    (tmp_path / "images" / f"{BROKEN}.jpg").write_bytes(jpeg(BROKEN, 40, 40))
    modified = (out / "rows.parquet").stat().st_mtime_ns
    nothing = enrich_dataset(source, out, operator, retry_errors="forbidden")
    assert (nothing.files, nothing.skipped) == (0, 2)
    assert (out / "rows.parquet").stat().st_mtime_ns == modified
    report = enrich_dataset(source, out, operator, retry_errors=["unsupported", "missing"])
    assert (report.rows_retried, report.errors) == (1, {"not_found": 3})
    assert enrich_dataset(source, out, operator, retry_errors=True).errors == {}


def test_a_retry_that_stops_early_leaves_the_output_as_it_was_and_the_next_run_continues(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    enrich_dataset(source, out, operator)
    before = pq.read_table(out / "rows.parquet")
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(source, out, operator, retry_errors=True, max_errors=1)
    assert pq.read_table(out / "rows.parquet").equals(before)
    assert len(list(out.rglob("*.arrow"))) > 0
    correct_images(tmp_path)
    again = enrich_dataset(source, out, operator, retry_errors=True)
    assert again.rows_from_journal > 0
    assert enrich_dataset(source, out, operator, retry_errors=True).errors.get("not_found", 0) == 0


def test_the_journal_of_a_run_that_was_killed_at_its_end_is_not_used_by_a_retry(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    """Killed after the output was published and before its journal was removed."""
    out = tmp_path / "out"
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(source / "rows.parquet", out, operator, max_errors=3)
    journal = out / "_emotion_ops" / "journal"
    shutil.copytree(journal, tmp_path / "copy")
    enrich_dataset(source, out, operator)
    shutil.copytree(tmp_path / "copy", journal, dirs_exist_ok=True)
    correct_images(tmp_path)
    report = enrich_dataset(source, out, operator, retry_errors=True)
    assert (report.rows_from_journal, report.rows_retried, report.errors) == (0, 4, {"unsupported": 1})
    assert not list(out.rglob("*.arrow"))


def test_dropped_rows_and_unknown_codes_cannot_be_retried(
    source: Path, operator: ClassifyEmotions, tiny_model: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="give True, or codes out of forbidden, missing"):
        enrich_dataset(source, tmp_path / "out", operator, retry_errors=["lost"])
    dropping = ClassifyEmotions(model=tiny_model, access=Access(root=tmp_path / "images"), on_error="drop")
    with pytest.raises(OptionError, match="left the failed rows out"):
        enrich_dataset(source, tmp_path / "out", dropping, retry_errors=True)
    assert not (tmp_path / "out").exists()


def test_over_the_error_budget_a_rerun_publishes_nothing_either(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    """All row groups of the file may be in the journal when the budget is exceeded."""
    for _ in range(3):
        with pytest.raises(ErrorBudgetExceededError, match=r"out: 4 of 12 rows failed"):
            enrich_dataset(source / "rows.parquet", tmp_path / "out", operator, max_errors=3)
        assert not list((tmp_path / "out").glob("*.parquet"))
