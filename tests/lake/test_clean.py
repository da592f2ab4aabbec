"""Cleaning removes what killed runs left and no other run can use; data files are never changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from enriched import snapshot, write_source
from test_status import killed, leave, living

from emotion_ops import (
    ClassifyEmotions,
    DatasetError,
    DestinationConflictError,
    ErrorBudgetExceededError,
    Limits,
    clean_destination,
    enrich_dataset,
)
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.provenance import read_fingerprint
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.lake.targets.spool import _machine_digest, temporary_home
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.classify.labels import EMOTIONS

FILE = "day=1/rows.parquet"
APPENDED = list(OutputColumns(EMOTIONS).names)


def journal_again(out: Path) -> None:
    """What a run leaves that is killed after it published a file and before it removed the journal."""
    folder = Folder(str(out))
    fingerprint = read_fingerprint(folder, FILE)
    assert fingerprint is not None
    results = pq.read_table(out / FILE, partitioning=None).select(APPENDED)
    for group in range(3):
        Journal(folder, FILE, fingerprint.digest, "0" * 8).write(group, results.slice(3 * group, 3))


@pytest.fixture(scope="module")
def made(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset in which killed runs left everything that they can leave."""
    home = tmp_path_factory.mktemp("clean")
    write_source(home / "source")
    out = home / "out"
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(home / "source", out, ClassifyEmotions(model=tiny_model), max_errors=0)
    shutil.copytree(out, home / "stopped")
    enrich_dataset(home / "source", out, ClassifyEmotions(model=tiny_model))
    journal_again(out)
    other = ClassifyEmotions(model=tiny_model, limits=Limits(max_pixels=900))
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(home / "source" / "day=2", out / "more", other, max_errors=0)
    shutil.move(out / "more" / "_emotion_ops", home / "more")
    for journal in (home / "more" / "journal").iterdir():
        shutil.copytree(journal, out / "_emotion_ops" / "journal" / journal.name)
    shutil.rmtree(out / "more")
    leave(out, killed())
    leave(out, killed(), "-0-of-4")
    (out / "_emotion_ops" / "journal" / "empty" / "folder").mkdir(parents=True)
    return home


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy with spool files of a killed process, of this one, and of another machine, new and old."""
    shutil.copytree(made, tmp_path / "made")
    spool = tmp_path / "made" / "out" / "_emotion_ops" / "spool"
    machine = _machine_digest()
    for name in (f"{machine}-{2**22 - 1}-0-a", f"{machine}-{os.getpid()}-0-b", "elsewhere-1-0-c", "elsewhere-1-0-d"):
        (spool / f"{name}.tmp").write_bytes(b"12345")
    os.utime(spool / "elsewhere-1-0-d.tmp", (1, 1))
    return tmp_path / "made"


def test_leftovers_are_removed_and_data_reports_and_files_of_running_processes_stay(copy: Path) -> None:
    out = copy / "out"
    before = snapshot(out)
    report = clean_destination(out)
    after = snapshot(out)
    gone = set(before) - set(after)
    assert {name: before[name] for name in after} == after
    assert {name.split("/")[1] for name in gone} == {"journal", "leases", "spool"}
    assert {name for name in gone if "spool" in name} == {
        f"_emotion_ops/spool/{_machine_digest()}-{2**22 - 1}-0-a.tmp", "_emotion_ops/spool/elsewhere-1-0-d.tmp",
    }  # fmt: skip
    assert sorted(one.kind for one in report.removed) == ["journal", "lease", "lease", "spool", "spool"]
    assert report.bytes == sum(len(before[name][1]) for name in gone)
    assert [one.kind for one in report.remaining] == ["journal"]
    assert not (out / "_emotion_ops" / "journal" / "empty").exists()
    assert (out / FILE).exists()
    assert clean_destination(out).removed == ()


def test_a_dry_run_names_the_same_and_changes_nothing(copy: Path) -> None:
    before = snapshot(copy)
    would = clean_destination(copy / "out", dry_run=True)
    assert snapshot(copy) == before
    assert would.dry_run
    assert clean_destination(copy / "out").removed == would.removed


def test_the_journal_of_an_unfinished_file_stays_and_the_next_run_continues_from_it(
    made: Path, copy: Path, tiny_model: str
) -> None:
    assert clean_destination(copy / "stopped").removed == ()
    shutil.copytree(copy / "stopped", copy / "again")
    operator = ClassifyEmotions(model=tiny_model)
    assert enrich_dataset(made / "source", copy / "again", operator).rows_from_journal == 3
    removed = clean_destination(copy / "stopped", journals=True).removed
    assert [one.kind for one in removed] == ["journal"]
    assert not list(copy.glob("stopped/_emotion_ops/journal/**/*.arrow"))
    assert enrich_dataset(made / "source", copy / "stopped", operator).rows_from_journal == 0


def test_spool_files_that_killed_runs_left_in_the_temporary_folder_are_removed(
    made: Path, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    enrich_dataset(made / "source", "memory://clean-out", ClassifyEmotions(model=tiny_model))
    temporary_home().mkdir(exist_ok=True)
    left, used = (temporary_home() / f"{_machine_digest()}-{process}-0-a.tmp" for process in (2**22 - 1, os.getpid()))
    for path in (left, used):
        path.write_bytes(b"12345")
    would = clean_destination("memory://clean-out", dry_run=True)
    assert [(one.kind, one.path, one.bytes) for one in would.removed] == [("spool", str(left), 5)]
    assert left.exists()
    assert clean_destination("memory://clean-out").removed == would.removed
    assert not left.exists()
    assert used.exists()


@pytest.mark.parametrize("part", ["", "-0-of-4", "-one.parquet"])
def test_while_a_run_holds_any_lease_nothing_is_removed(copy: Path, part: str) -> None:
    leave(copy / "out", living(), part)
    before = snapshot(copy)
    for dry_run in (True, False):
        with pytest.raises(DestinationConflictError, match=f"process {os.getppid()} on .* is writing here"):
            clean_destination(copy / "out", dry_run=dry_run)
    assert snapshot(copy) == before


def test_a_destination_that_is_not_there_is_an_error_and_a_clean_one_is_not_written_to(
    copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        clean_destination(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert clean_destination(tmp_path / "empty").removed == ()
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.slow
def test_the_shell_says_what_would_go_and_what_went(copy: Path) -> None:
    def clean(*options: str) -> str:
        command = [sys.executable, "-m", "emotion_ops", "clean", "out", *options]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=60, check=True).stdout

    would = clean("--dry-run")
    assert "would be removed" in would
    assert "000001-0-of-4.json" in would
    report = json.loads(clean("--json"))
    assert (len(report["removed"]), len(report["remaining"]), report["dry_run"]) == (5, 1, False)
    assert "0 leftovers" in clean()
