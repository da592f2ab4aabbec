"""Spool files: those of killed runs are removed by the next run, also from the temporary folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions, DatasetError, enrich_dataset
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.lake.targets.spool import temporary_home

KILLED = """
import os, signal, sys
from emotion_ops.lake.targets.folder import Folder
with Folder(sys.argv[1]).spool() as path:
    path.write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder for this test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    memory = fsspec.filesystem("memory")
    if memory.exists("/spooled"):
        memory.rm("/spooled", recursive=True)


def leave_spool_file(uri: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, uri], check=False)
    assert done.returncode < 0


@pytest.mark.parametrize("kind", ["disk", "store"])
def test_the_next_run_removes_spool_files_of_killed_runs_and_no_others(
    kind: str, tiny_model: str, tmp_path: Path, temporary: Path
) -> None:
    uri = str(tmp_path / "out") if kind == "disk" else "memory://spooled/out"
    pq.write_table(pa.table({"image": [jpeg(0, 40, 40)]}), tmp_path / "a.parquet")
    leave_spool_file(uri)
    folder = Folder(uri)
    [left] = folder.spool_files()
    assert (left.bytes, left.in_use) == (1000, False)
    assert left.path.is_relative_to(tmp_path / "out" if kind == "disk" else temporary)
    with folder.spool() as mine:
        mine.write_bytes(b"mine")
        other = left.path.with_name(f"{'0' * 16}-1-1-other-machine.tmp")
        other.write_bytes(b"of another machine")
        enrich_dataset(tmp_path / "a.parquet", uri, ClassifyEmotions(model=tiny_model))
        assert {found.path for found in folder.spool_files()} == {mine, other}
        old = time.time() - 2 * 86_400
        os.utime(other, (old, old))
        folder.clear_spool()
        assert [found.path for found in folder.spool_files()] == [mine]
    assert folder.spool_files() == []


def test_the_number_of_a_killed_process_may_be_reused(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with folder.spool() as mine:
        machine, process, start, unique = mine.stem.split("-")
        reused = mine.with_name(f"{machine}-{process}-{int(start) - 1}-{unique}.tmp")
        reused.touch()
        mine.touch()
        assert [found.path for found in folder.spool_files() if not found.in_use] == [reused]


def test_spool_files_in_the_temporary_folder_are_private(temporary: Path) -> None:
    folder = Folder("memory://spooled/out")
    with folder.spool() as path:
        assert path.parent == temporary_home()
        assert path.parent.stat().st_mode & 0o777 == 0o700
    temporary_home().rmdir()
    temporary_home().symlink_to(temporary)  # as another user could have made it
    with pytest.raises(DatasetError, match="is not a folder of this user"), folder.spool():
        pass


def test_a_full_temporary_folder_is_named_instead_of_the_store(temporary: Path) -> None:
    full = pytest.raises(DatasetError, match=rf"{temporary}.*: the temporary folder is full .*TMPDIR")
    with full as error, Folder("memory://spooled/out").spool():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.retryable
