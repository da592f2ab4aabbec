"""A gate compares an output with a previous one, and publishes it only within limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions, Gate, OptionError, diff_datasets, enrich_dataset
from emotion_ops.errors import DatasetError, DestinationBusyError, DestinationConflictError, GateClosedError
from emotion_ops.lake.lease import hold_lease
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.testing import save_tiny_model


def write_days(folder: Path, days: int) -> Path:
    for day in range(days):
        path = folder / f"day={day}" / "rows.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"image": [jpeg(10 * day + row, 40, 40) for row in range(3)]}), path)
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("day=*/*.parquet")}


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("models") / "other", seed=5))


def test_an_output_stays_in_the_staging_folder_until_it_passes(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source, out, staging = write_days(tmp_path / "in", 2), tmp_path / "out", tmp_path / "staging"
    strict = Gate(compare_to=str(out), staging=str(staging), max_change_rate=0.0)
    first = enrich_dataset(source, out, ClassifyEmotions(model=tiny_model), gate=strict)
    assert (first.files, first.comparison) == (2, None)  # there was no previous output
    before = contents(out)
    assert len(before) == 2
    operator = ClassifyEmotions(model=other_model)
    with pytest.raises(GateClosedError, match=r"more than 0.*it stays in .*staging"):
        enrich_dataset(source, out, operator, gate=strict, overwrite=True)
    assert contents(out) == before
    closed = json.loads((staging / "_emotion_ops" / "report.json").read_text())
    assert closed["comparison"]["changes"] > 0
    tolerant = Gate(compare_to=str(out), staging=str(staging), max_change_rate=1.0)
    passed = enrich_dataset(source, out, operator, gate=tolerant, overwrite=True)
    assert passed.comparison is not None
    assert passed.comparison.changes > 0
    assert (passed.files, passed.skipped) == (0, 2)  # the staging folder had the files already
    assert passed.destination == str(out)
    assert json.loads((out / "_emotion_ops" / "report.json").read_text())["comparison"]["changes"] > 0
    assert diff_datasets(out, staging, max_changes=0, max_drift=0.0).exceeded == ()
    report = enrich_dataset(source, out, operator)
    assert (report.files, report.skipped) == (0, 2)  # what was published is what enrich_dataset writes


def test_without_staging_a_closed_gate_fails_after_publication(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source, new = write_days(tmp_path / "in", 1), tmp_path / "new"
    enrich_dataset(source, tmp_path / "old", ClassifyEmotions(model=tiny_model))
    gate = Gate(compare_to=str(tmp_path / "old"), max_drift=0.0001)
    with pytest.raises(GateClosedError, match=f"it is published in {new}"):
        enrich_dataset(source, new, ClassifyEmotions(model=other_model), gate=gate)
    assert pq.read_table(new).num_rows == 3
    single = enrich_dataset(
        source / "day=0" / "rows.parquet",
        tmp_path / "one.parquet",
        ClassifyEmotions(model=tiny_model),
        gate=Gate(compare_to=str(tmp_path / "old" / "day=0" / "rows.parquet"), max_changes=0),
    )
    assert single.comparison is not None
    assert single.comparison.rows == 3
    [report] = (tmp_path / "_emotion_ops").glob("report*.json")
    assert json.loads(report.read_text())["comparison"]["changes"] == 0


def test_a_gate_that_was_killed_while_it_published_files_continues(tiny_model: str, tmp_path: Path) -> None:
    """Half of the first output exists when the run ends; it is not a previous output for the next run."""
    source, out = write_days(tmp_path / "in", 3), tmp_path / "out"
    gate = Gate(compare_to=str(out), staging=str(tmp_path / "staging"), min_coverage=1.0)
    operator = ClassifyEmotions(model=tiny_model)
    (out / "day=1" / "rows.parquet").mkdir(parents=True)  # so that the second file cannot be published
    with pytest.raises(DatasetError, match="day=1/rows"):
        enrich_dataset(source, out, operator, gate=gate)
    assert [path.parent.name for path in out.glob("*/*.parquet") if path.is_file()] == ["day=0"]
    (out / "day=1" / "rows.parquet").rmdir()
    report = enrich_dataset(source, out, operator, gate=gate)
    assert (report.skipped, report.comparison) == (3, None)
    assert pq.read_table(out).num_rows == 9
    assert enrich_dataset(source, out, operator, gate=gate).comparison is not None


def test_an_output_that_passed_is_compared_again_if_it_or_a_limit_changed(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source, out = write_days(tmp_path / "in", 2), tmp_path / "out"
    enrich_dataset(source, out, ClassifyEmotions(model=tiny_model))
    places = {"compare_to": str(out), "staging": str(tmp_path / "staging")}
    operator = ClassifyEmotions(model=other_model)
    with hold_lease(Folder(str(out)), ""), pytest.raises(DestinationBusyError):
        enrich_dataset(source, out, operator, gate=Gate(**places, max_change_rate=1.0), overwrite=True)
    with pytest.raises(GateClosedError):
        enrich_dataset(source, out, operator, gate=Gate(**places, max_drift=0.0), overwrite=True)


def test_files_that_another_run_published_are_not_replaced(tiny_model: str, tmp_path: Path) -> None:
    source, out = write_days(tmp_path / "in", 2), tmp_path / "out"
    gate = Gate(staging=str(tmp_path / "staging"))
    other = ClassifyEmotions(model=tiny_model, prefix="other")

    def publish(_: Any) -> None:
        if not (out / "day=1").exists():
            enrich_dataset(source, out, other)

    operator = ClassifyEmotions(model=tiny_model)
    with pytest.raises(DestinationConflictError, match="changed since this run planned to replace it") as error:
        enrich_dataset(source, out, operator, gate=gate, on_progress=publish)
    assert error.value.retryable
    assert "other_happy" in pq.read_schema(out / "day=0" / "rows.parquet").names
    with pytest.raises(DestinationConflictError, match="exists already and was made otherwise"):
        enrich_dataset(source, out, operator, gate=gate)


def test_staging_destination_and_previous_output_are_separate_places(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source, out, old = write_days(tmp_path / "in", 1), tmp_path / "lake" / "out", tmp_path / "lake" / "old"
    for place in (out, old):
        enrich_dataset(source, place, ClassifyEmotions(model=tiny_model))
    before = contents(tmp_path / "lake")
    operator = ClassifyEmotions(model=other_model)
    for staging, compare_to in (
        (out, None), (old, old), (out, out), (out / "staging", None), (out / "_staging", None), (old / "new", old),
        (tmp_path / "lake", None), (tmp_path / "lake", old), (old / "day=0", f"{old}/*/rows.parquet"),
        (tmp_path / "staging.parquet", None),
    ):  # fmt: skip
        limits: dict[str, Any] = {} if compare_to is None else {"compare_to": str(compare_to), "max_changes": 9}
        with pytest.raises(OptionError, match="staging"):
            enrich_dataset(source, out, operator, gate=Gate(staging=str(staging), **limits), overwrite=True)
    with pytest.raises(OptionError, match="destination"):
        enrich_dataset(source, tmp_path / "x.parquet", operator, gate=Gate(staging=str(tmp_path / "c")))
    for compare_to in (out, out / "day=0", tmp_path / "lake"):
        with pytest.raises(OptionError, match="compared with itself"):
            enrich_dataset(source, out, operator, gate=Gate(compare_to=str(compare_to), max_changes=9))
    assert contents(tmp_path / "lake") == before
    assert not (tmp_path / "x.parquet").exists()


def test_files_that_no_gate_wrote_are_not_replaced_in_a_staging_folder(tiny_model: str, tmp_path: Path) -> None:
    source, staging, foreign = write_days(tmp_path / "in", 1), tmp_path / "staging", tmp_path / "foreign"
    out, operator = tmp_path / "out", ClassifyEmotions(model=tiny_model)
    for folder in (staging, foreign):
        write_days(folder, 1)
        before = contents(folder)
        with pytest.raises(DestinationConflictError, match="has other files already"):
            enrich_dataset(source, out, operator, gate=Gate(staging=str(folder)))
        assert contents(folder) == before
    (staging / "day=0" / "rows.parquet").unlink()
    enrich_dataset(source, out, operator, gate=Gate(staging=str(staging)))
    with pytest.raises(DestinationConflictError, match="staging folder of another destination"):
        enrich_dataset(source, tmp_path / "elsewhere", operator, gate=Gate(staging=str(staging)))
    write_days(staging, 1)
    with pytest.raises(DestinationConflictError, match="was not written by this package"):
        enrich_dataset(source, out, operator, gate=Gate(staging=str(staging)))
    assert pq.read_table(out).num_rows == 3


@pytest.mark.parametrize(
    ("option", "value"), [("limit", 0), ("limit", 1), ("retry_errors", True), ("prune", True), ("shard", (0, 2))]
)
def test_a_part_of_an_output_cannot_pass_a_gate(option: str, value: Any, tiny_model: str, tmp_path: Path) -> None:
    source, gate = write_days(tmp_path / "in", 2), Gate(staging=str(tmp_path / "staging"))
    with pytest.raises(OptionError, match=option):
        enrich_dataset(source, tmp_path / "out", ClassifyEmotions(model=tiny_model), gate=gate, **{option: value})
    assert not (tmp_path / "staging").exists()


def test_a_dry_run_with_a_gate_plans_and_writes_nothing(tiny_model: str, tmp_path: Path) -> None:
    source, gate = write_days(tmp_path / "in", 2), Gate(staging=str(tmp_path / "staging"))
    operator = ClassifyEmotions(model=tiny_model)
    report = enrich_dataset(source, tmp_path / "out", operator, gate=gate, dry_run=True, sample_rows=0)
    assert [file.action for file in report.planned] == ["new", "new"]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "staging").exists()


def test_a_gate_that_is_always_open_or_always_closed_is_refused() -> None:
    with pytest.raises(OptionError, match="needs an output to compare with"):
        Gate(max_changes=1)
    with pytest.raises(OptionError, match="give a limit too"):
        Gate(compare_to="previous")
    for limits in ({"max_changes": -1}, {"max_change_rate": 1.5}, {"max_drift": float("nan")}, {"min_coverage": True}):
        with pytest.raises(OptionError, match=f"Gate.{next(iter(limits))}"):
            Gate(compare_to="previous", **limits)
