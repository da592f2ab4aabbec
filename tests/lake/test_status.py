"""The status says which files are done, in progress, stale or failed, and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from enriched import snapshot, write_source

from emotion_ops import (
    ClassifyEmotions,
    DatasetError,
    ErrorBudgetExceededError,
    Limits,
    dataset_status,
    enrich_dataset,
)
from emotion_ops.lake.lease import Lease
from emotion_ops.lake.part import in_shard

FIRST, SECOND = "day=1/rows.parquet", "day=2/rows.parquet"


def living() -> Lease:
    return Lease.create("", os.getppid())


def killed() -> Lease:
    return Lease.create("", 2**22 - 1)


def leave(home: Path, lease: Lease, part: str = "") -> Path:
    path = home / "_emotion_ops" / "leases" / f"000001{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(replace(lease, part=part))))
    return path


@pytest.fixture(scope="module")
def made(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset, and one whose run stopped in its first file."""
    home = tmp_path_factory.mktemp("status")
    write_source(home / "source")
    enrich_dataset(home / "source", home / "done", ClassifyEmotions(model=tiny_model))
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(home / "source", home / "stopped", ClassifyEmotions(model=tiny_model), max_errors=0)
    return home


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def states(destination: Path, source: Path | None = None) -> dict[str, str]:
    return {file.file: file.state.value for file in dataset_status(destination, source).files}


def test_a_finished_file_has_its_rows_errors_and_lineage_and_nothing_is_changed(made: Path) -> None:
    before = snapshot(made)
    found = dataset_status(made / "done", made / "source")
    assert snapshot(made) == before
    assert (found.counts, found.rows, found.errors) == ({"done": 2}, 14, {"missing": 2, "unsupported": 2})
    assert [(file.file, file.rows, file.note) for file in found.files] == [(FIRST, 7, ""), (SECOND, 7, "")]
    assert set(found.files[0].lineage) == {
        "operator", "package_version", "model", "revision", "recipe", "finished_at",
    }  # fmt: skip
    assert (found.runs, found.leftovers) == ((), ())
    assert found.reports["_emotion_ops/report.json"]["rows"] == 14
    assert found.reports["_emotion_ops/report.json"]["outcome"] == "finished"
    assert json.loads(json.dumps(found.to_dict()))["counts"] == {"done": 2}


def test_the_file_in_which_a_run_stopped_is_stale_with_its_row_groups_and_the_next_one_waits(made: Path) -> None:
    found = dataset_status(made / "stopped", made / "source")
    assert {file.file: file.state.value for file in found.files} == {FIRST: "stale", SECOND: "waiting"}
    assert (found.files[0].row_groups, found.files[0].of_row_groups) == (1, 3)
    assert [(left.kind, left.resumable) for left in found.leftovers] == [("journal", True)]
    without_source = dataset_status(made / "stopped")
    assert [(file.file, file.state.value, file.of_row_groups) for file in without_source.files] == [
        (FIRST, "stale", None)
    ]


def test_with_a_living_lease_it_is_in_progress_and_with_that_of_a_killed_run_stale(copy: Path) -> None:
    leave(copy / "stopped", killed())
    found = dataset_status(copy / "stopped")
    assert states(copy / "stopped") == {FIRST: "stale"}
    assert [(run.living, run.process) for run in found.runs] == [(False, 2**22 - 1)]
    assert sorted(left.kind for left in found.leftovers) == ["journal", "lease"]
    leave(copy / "stopped", living())
    found = dataset_status(copy / "stopped")
    assert states(copy / "stopped") == {FIRST: "in_progress"}
    assert [(run.living, run.part, run.host) for run in found.runs] == [(True, "", socket.gethostname())]
    assert found.leftovers == ()


def test_a_lease_of_one_shard_or_one_file_is_about_its_files_only(copy: Path) -> None:
    mine = next(i for i in range(2) if in_shard(FIRST, (i, 2)))
    for part, state in ((f"{mine}-of-2", "in_progress"), (f"{1 - mine}-of-2", "stale"), ("other.parquet", "stale")):
        left = leave(copy / "stopped", living(), f"-{part}")
        assert states(copy / "stopped") == {FIRST: state}
        left.unlink()


def test_changed_and_missing_sources_files_of_others_and_damaged_files_have_their_states(copy: Path) -> None:
    stamp = (copy / "source" / FIRST).stat().st_mtime_ns + 1_000_000_000
    os.utime(copy / "source" / FIRST, ns=(stamp, stamp))
    (copy / "source" / SECOND).unlink()
    pq.write_table(pa.table({"mine": [1]}), copy / "done" / "theirs.parquet")
    (copy / "done" / "damaged.parquet").write_bytes(b"PAR1")
    assert states(copy / "done", copy / "source") == {
        FIRST: "changed", SECOND: "without_source", "theirs.parquet": "not_enriched", "damaged.parquet": "unreadable",
    }  # fmt: skip
    [changed] = [file for file in dataset_status(copy / "done", copy / "source").files if file.file == FIRST]
    assert f"now '{stamp}'" in changed.note
    assert states(copy / "done")[FIRST] == "done"


def test_the_journal_of_an_existing_output_is_noted_with_it(copy: Path, tiny_model: str) -> None:
    other = ClassifyEmotions(model=tiny_model, limits=Limits(max_pixels=900))
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(copy / "source", copy / "done", other, overwrite=True, max_errors=0)
    found = dataset_status(copy / "done")
    assert states(copy / "done") == {FIRST: "done", SECOND: "done"}
    assert "a killed run began to replace it, with other options or another source, 1 row groups" in found.files[0].note
    assert [(left.kind, left.resumable) for left in found.leftovers] == [("journal", True)]
    leave(copy / "done", living())
    assert "is being replaced, 1 row groups finished" in dataset_status(copy / "done").files[0].note


def test_a_killed_retry_is_noted_and_the_next_run_can_continue_from_its_journal(copy: Path, tiny_model: str) -> None:
    mended = ClassifyEmotions(model=tiny_model)
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(copy / "source", copy / "done", mended, retry_errors=True, max_errors=0)
    found = dataset_status(copy / "done")
    assert "a killed run began to retry its failed rows, 1 row groups" in found.files[0].note
    assert [(left.kind, left.resumable) for left in found.leftovers] == [("journal", True)]


def test_rows_that_were_dropped_are_counted_and_a_single_output_file_has_its_status(
    made: Path, tiny_model: str, tmp_path: Path
) -> None:
    one = made / "source" / FIRST
    enrich_dataset(one, tmp_path / "one.parquet", ClassifyEmotions(model=tiny_model, on_error="drop"))
    enrich_dataset(one, tmp_path / "two.parquet", ClassifyEmotions(model=tiny_model))
    found = dataset_status(tmp_path / "one.parquet", one)
    assert [(file.file, file.state.value, file.rows, file.dropped) for file in found.files] == [
        ("one.parquet", "done", 5, 2)
    ]
    assert states(tmp_path / "three.parquet", one) == {"three.parquet": "waiting"}


def test_a_destination_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        dataset_status(tmp_path / "nowhere")


@pytest.mark.slow
def test_the_shell_shows_it_and_lists_first_what_is_not_done(copy: Path) -> None:
    (copy / "done" / SECOND).unlink()
    leave(copy / "done", killed())
    command = [sys.executable, "-m", "emotion_ops", "status", "done", "--source", "source"]
    shown = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=60, check=True).stdout
    for words in ("1 done, 1 waiting", "7, failed: missing 1, unsupported 1", "killed run", "lease 1: ", "last run"):
        assert words in shown
    assert shown.index(SECOND) < shown.index(FIRST)
    plain = subprocess.run(
        [*command, "--json"], cwd=copy, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert json.loads(plain)["counts"] == {"done": 1, "waiting": 1}
