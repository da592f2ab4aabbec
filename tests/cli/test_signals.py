"""After Ctrl-C or SIGTERM at any moment, a job ends in order and says how to continue, and the same command continues."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kills import leftovers
from pictures import jpeg

from emotion_ops import ClassifyEmotions, enrich_dataset

pytestmark = pytest.mark.kills

ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "emotion_ops.cli.enrich",
        "emotion_ops.models.engines.openvino_engine",
        "transformers.models.vit.modeling_vit",
        __name__,
    ]
)
SECONDS = 20
"""A stopped process ends within this time; a download that hangs takes 30 to give up."""


def command(arguments: list[str], log: Path, moment: str = "", number: int = 0, twice: bool = False) -> None:
    """The command line, in a child process: it gets a signal when it enters the named function."""
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.argv = ["emotion-ops", *arguments]
    from emotion_ops.cli.main import run

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}" == moment:
            sys.setprofile(again if twice else None)
            os.kill(os.getpid(), number)

    def again(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == "_stopped":
            sys.setprofile(None)
            os.kill(os.getpid(), number)

    sys.setprofile(profile if moment else None)
    run()


def start(*arguments: object) -> BaseProcess:
    process = CONTEXT.Process(target=command, args=arguments)
    process.start()
    return process


def wait_for_end(process: BaseProcess) -> int | None:
    """The exit code of a process that ends without being killed."""
    process.join(SECONDS)
    code = process.exitcode
    if code is None:
        process.kill()
    return code


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    images = pa.array([jpeg(seed, 40, 40) for seed in range(8)], pa.binary())
    for name in ("a", "b"):
        pq.write_table(pa.table({"id": range(8), "image": images}), folder / f"{name}.parquet", row_group_size=2)
    return folder


def assert_continues(source: Path, destination: Path, model: str) -> None:
    """There is no partial file; a rerun ends with all rows, and leaves nothing else."""
    assert not list(destination.rglob("*.tmp"))
    assert all(pq.read_table(path).num_rows == 8 for path in destination.rglob("*.parquet"))
    enrich_dataset(source, destination, ClassifyEmotions(model=model))
    files = sorted(path.name for path in source.glob("*.parquet"))
    assert sorted(path.name for path in destination.rglob("*.parquet")) == files
    assert all(pq.read_table(path).num_rows == 8 for path in destination.rglob("*.parquet"))
    assert [key for key in leftovers(destination) if not key.endswith(".parquet")] == []


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("operator.pinned", signal.SIGINT),
        ("openvino_engine.__init__", signal.SIGINT),
        ("openvino_engine.__init__", signal.SIGTERM),
        ("plan._check_schemas", signal.SIGINT),
        ("journal.write", signal.SIGTERM),
        ("compose.output_row_groups", signal.SIGINT),
        ("commit._verify", signal.SIGTERM),
        ("folder._fsync", signal.SIGINT),
        ("journal.remove", signal.SIGINT),
        ("reporting.finish", signal.SIGTERM),
    ],
)
def test_a_signal_at_any_moment_ends_the_job_with_its_code_and_the_same_command_continues(
    moment: str, number: signal.Signals, source: Path, tiny_model: str, tmp_path: Path
) -> None:
    arguments = ["enrich", str(source), str(tmp_path / "out"), "--model", tiny_model, "--batch-size", "2"]
    code, word = ENDS[number]
    assert wait_for_end(start(arguments, tmp_path / "log", moment, number)) == code
    output = (tmp_path / "log").read_text()
    assert f"{word}: finished row groups and files stay; run the same command again to continue" in output
    assert "Traceback" not in output
    assert "Exception ignored" not in output
    assert_continues(source, tmp_path / "out", tiny_model)


def test_a_second_signal_ends_the_job_without_a_traceback(source: Path, tiny_model: str, tmp_path: Path) -> None:
    arguments = ["enrich", str(source), str(tmp_path / "out"), "--model", tiny_model]
    assert wait_for_end(start(arguments, tmp_path / "log", "journal.write", signal.SIGINT, True)) == 130
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert_continues(source, tmp_path / "out", tiny_model)


def test_planning_many_files_can_be_interrupted(source: Path, tiny_model: str, tmp_path: Path) -> None:
    data = (source / "a.parquet").read_bytes()
    (tmp_path / "many").mkdir()
    for number in range(200):
        (tmp_path / "many" / f"{number}.parquet").write_bytes(data)
    arguments = ["enrich", str(tmp_path / "many"), str(tmp_path / "out"), "--model", tiny_model]
    assert wait_for_end(start(arguments, tmp_path / "log", "part.in_shard", signal.SIGINT)) == 130
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not (tmp_path / "out").exists()


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("number", ENDS)
def test_a_download_that_hangs_does_not_delay_the_end(
    number: signal.Signals, silent_server: socket.socket, tiny_model: str, tmp_path: Path
) -> None:
    urls = [f"http://127.0.0.1:{silent_server.getsockname()[1]}/{row}.jpg" for row in range(8)]
    (tmp_path / "source").mkdir()
    pq.write_table(pa.table({"image": urls}), tmp_path / "source" / "a.parquet")
    access = ["--allow", "http", "--allow-hosts", "127.0.0.1"]
    arguments = ["enrich", str(tmp_path / "source"), str(tmp_path / "out"), "--model", tiny_model, *access]
    job = start(arguments, tmp_path / "log")
    connection, _ = silent_server.accept()
    with connection:
        connection.recv(1)  # it has sent its request, and waits
        assert job.pid is not None
        os.kill(job.pid, number)
        code, word = ENDS[number]
        assert wait_for_end(job) == code, (tmp_path / "log").read_text()
    assert word in (tmp_path / "log").read_text()
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert not list((tmp_path / "out").rglob("leases/*"))


def test_a_running_job_ends_within_seconds_and_continues_from_its_journal(tiny_model: str, tmp_path: Path) -> None:
    """The real command, from start to end."""
    images = [jpeg(seed, 300, 300) for seed in range(6)] * 200
    pq.write_table(pa.table({"image": pa.array(images, pa.binary())}), tmp_path / "many.parquet", row_group_size=100)
    run = [sys.executable, "-m", "emotion_ops", "enrich", "many.parquet", "out", "--model", tiny_model]
    job = subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/_emotion_ops/journal/*/*/*.arrow")) and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    _, output = job.communicate(timeout=SECONDS)
    assert job.returncode == 130, output
    assert "interrupted: finished row groups and files stay" in output
    assert "Traceback" not in output
    assert [key for key in leftovers(tmp_path / "out") if not key.endswith(".arrow")] == []
    again = subprocess.run([*run, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    report = json.loads(again.stdout)
    assert report["rows"] == 1200
    assert report["rows_from_journal"] >= 100
