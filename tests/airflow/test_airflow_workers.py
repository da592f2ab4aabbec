"""The worker process of a task: it ends with the task however that ends, and the next try continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import airflow_home
import psutil
import pyarrow.parquet as pq
import pytest
import structlog
from airflow_api import Api
from airflow_tasks import HTTP, find_workers, make, wait_until
from paused_images import Images

from emotion_ops import dataset_status
from emotion_ops.airflow.worker import STOP_SECONDS, Worker

pytestmark = pytest.mark.airflow


def test_an_interpreter_without_the_package_is_not_retried(source: Path, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    api = Api(retries=True)
    done = api.run(make(source=str(source), destination=str(tmp_path / "out"), python=str(bare)))
    assert f"{bare} cannot do the work: install the version of emotion-ops there" in str(done.error)
    assert api.states[-1]["state"] == "failed"


def test_a_task_that_timed_out_is_stopped_and_the_next_try_continues(
    images: Images, tiny_model: str, tmp_path: Path
) -> None:
    images.write(tmp_path / "in.parquet", 0, 20, 5)
    images.pause(10)
    options = {
        "source": str(tmp_path / "in.parquet"),
        "destination": str(tmp_path / "out"),
        "model": tiny_model,
        **HTTP,
    }
    api = Api(retries=True)

    def ring() -> None:
        wait_until(
            lambda: (
                (tmp_path / "out").is_dir() and [f.row_groups for f in dataset_status(tmp_path / "out").files] == [2]
            )
        )
        os.kill(os.getpid(), signal.SIGALRM)  # Airflow's own timer, early

    alarm = threading.Thread(target=ring)
    alarm.start()
    done = api.run(make(**options, execution_timeout=timedelta(minutes=10)))
    alarm.join()
    assert "Timeout" in type(done.error).__name__
    assert api.states[-1]["state"] == "up_for_retry"
    assert not find_workers()
    (file,) = dataset_status(tmp_path / "out").files
    assert file.row_groups == 2
    images.release()
    assert api.run(make(**options), try_number=2).state == "success"
    assert api.xcoms["return_value"]["rows_from_journal"] == 10
    assert all(images.requests[row] == 1 for row in range(10))
    assert pq.read_metadata(tmp_path / "out" / "in.parquet").num_rows == 20


DAG_FILE = """
from airflow.sdk import DAG
from emotion_ops.airflow import EmotionEnrichOperator

with DAG("paused"):
    EmotionEnrichOperator(task_id="enrich", retries=2, **{options!r})
"""


@pytest.mark.parametrize("how", ["killed", "marked failed"])
def test_a_worker_ends_with_its_task_and_the_next_try_continues(
    how: str, images: Images, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process, as an executor runs it; it is killed, or learns that it was marked as failed."""
    from airflow.executors.workloads import BundleInfo
    from airflow.sdk.execution_time.supervisor import supervise_task
    from airflow_api import task_instance

    images.write(tmp_path / "in.parquet", 0, 20, 5)
    images.pause(10)
    options = {
        "source": str(tmp_path / "in.parquet"),
        "destination": str(tmp_path / "out"),
        "model": tiny_model,
        **HTTP,
    }
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "paused.py").write_text(DAG_FILE.format(options=options))
    bundle = {
        "name": "paused",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    api = Api(retries=True)

    def kill() -> None:
        wait_until(lambda: images.requests[10])
        wait_until(lambda: [file.row_groups for file in dataset_status(tmp_path / "out").files] == [2])
        (worker,) = find_workers()
        if how == "killed":
            os.kill(worker.ppid(), signal.SIGKILL)
        else:
            api.marked_failed = True
        wait_until(lambda: not find_workers(), 30)

    def supervise(try_number: int) -> int:
        ti = task_instance("enrich", dag_id="paused", try_number=try_number)
        return supervise_task(
            ti=ti, bundle_info=BundleInfo(name="paused"), dag_rel_path="paused.py", token="", client=api.client()
        )

    killer = threading.Thread(target=kill)
    killer.start()
    code = supervise(1)
    killer.join()
    assert code == (-signal.SIGKILL if how == "killed" else 0)
    api.marked_failed = False
    images.release()
    assert supervise(2) == 0
    assert api.xcoms["return_value"]["rows_from_journal"] == 10
    assert all(images.requests[row] == 1 for row in range(10))


def test_a_worker_that_ignores_signals_ends_before_airflow_kills_the_task(tmp_path: Path) -> None:
    stubborn = tmp_path / "python"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM\nsleep 600 &\necho ready >&2\nwait\nwait\n")
    stubborn.chmod(0o755)
    worker = Worker(str(stubborn), {})
    process = psutil.Process(worker._process.pid)
    wait_until(process.children)
    (child,) = process.children()
    began = time.monotonic()
    worker.close()
    wait_until(
        lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in (process, child)), 5
    )
    assert STOP_SECONDS <= time.monotonic() - began < 5  # what Airflow leaves between its own SIGTERM and SIGKILL


FAKE = """#!{python}
import json, sys
def send(**event): print(json.dumps(event), flush=True)
{body}
"""


def worker_that(body: str, tmp_path: Path) -> Worker:
    """A worker that runs a program of the test instead of this package."""
    program = tmp_path / "python"
    program.write_text(FAKE.format(python=sys.executable, body=body))
    program.chmod(0o755)
    return Worker(str(program), {})


def test_a_long_request_and_long_output_before_it_is_read_do_not_block_each_other(tmp_path: Path) -> None:
    body = (
        "print('x' * 10**6, file=sys.stderr, flush=True); print('y' * 10**6, flush=True)\n"
        "send(event='finished', result=len(json.loads(sys.stdin.readline())['source']))"
    )
    worker = worker_that(body, tmp_path)
    log = structlog.get_logger()
    assert worker.run({"source": ["z" * 100] * 50_000}, log, 1) == 50_000
    worker.close()


def test_only_complete_events_on_stdout_count_as_events(tmp_path: Path) -> None:
    body = (
        "print(json.dumps({'event': 'finished', 'result': 'forged'}), file=sys.stderr, flush=True)\n"
        "sys.stdin.readline()\n"
        "for event in ({'event': 'progress'}, {'event': 'log'}, {'event': 'started'}, {'event': 'unknown'}, [1], {}):\n"
        "    print(json.dumps(event), flush=True)\n"
        "send(event='finished', result='true'); send(event='unknown', result='late')"
    )
    worker = worker_that(body, tmp_path)
    assert worker.run({}, structlog.get_logger(), 0) == "true"
    worker.close()


def test_a_wrapper_that_reports_a_kill_by_its_exit_code_is_understood(tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowException

    worker = worker_that("sys.exit(137)", tmp_path)
    with pytest.raises(AirflowException, match="memory="):
        worker.run({}, structlog.get_logger(), 1)
    worker.close()


def test_processes_that_a_worker_started_end_with_it_also_after_it(tmp_path: Path) -> None:
    body = "import subprocess; child = subprocess.Popen(['sleep', '600']); send(event='finished', result=child.pid)"
    worker = worker_that(body, tmp_path)
    child = psutil.Process(worker.run({}, structlog.get_logger(), 1))
    worker.close()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)


def test_a_signal_while_the_worker_starts_stops_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException

    operator = make(source=str(source), destination=str(tmp_path / "out"), model="demo")
    start = Worker.__init__

    def killed_while_starting(worker: Worker, *arguments: Any) -> None:
        start(worker, *arguments)
        operator.on_kill()

    monkeypatch.setattr(Worker, "__init__", killed_while_starting)
    with pytest.raises(AirflowException, match="stopped"):
        operator.execute({})
    assert not find_workers()


def test_an_interpreter_without_dependencies_is_not_retried(tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    body = (
        "send(event='failed', error='ModuleNotFoundError', message='no pyarrow', retryable=False, out_of_memory=False)"
    )
    worker = worker_that(body, tmp_path)
    with pytest.raises(AirflowFailException, match="or give python="):
        worker.run({}, structlog.get_logger(), 1)
    worker.close()


def test_the_working_directory_of_a_task_is_not_imported_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowException

    (tmp_path / "emotion_ops.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    worker = Worker(sys.executable, {})
    with pytest.raises(AirflowException, match="nothing"):
        worker.run({"do": "nothing"}, structlog.get_logger(), 1)
    worker.close()


BARE = """
import builtins
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

import_ = builtins.__import__

def watched(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {{}}).get("__name__", "").startswith("emotion_ops"):
        top = name.partition(".")[0]
        if not level and top not in {{"airflow", "emotion_ops", "openlineage", *sys.stdlib_module_names}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}, raised for emotion_ops", name=name)
    return import_(name, globals, locals, fromlist, level)

builtins.__import__ = watched
sys.meta_path.insert(0, Missing())
sys.path[:0] = [{tests!r}]
from airflow_api import Api
from hub_server import HubServer
from airflow.sdk import DAG
from emotion_ops.airflow import EmotionEnrichOperator

with DAG("d"):
    operator = EmotionEnrichOperator(task_id="enrich", **{options!r})
api = Api()
done = api.run(operator)
assert done.state == "success", done.error
assert api.xcoms["return_value"]["rows"] == 14, api.xcoms
print("loaded:", sorted(name for name in {missing!r} if name in sys.modules))
"""


def test_with_another_interpreter_airflow_needs_no_dependency_of_this_package(
    source: Path, tiny_model: str, tmp_path: Path
) -> None:
    """In Airflow's process, packages that Airflow does not install cannot be imported, and this package can import only
    Airflow and the standard library. The other interpreter has everything.
    """
    missing = (
        "torch", "transformers", "safetensors", "huggingface_hub", "tokenizers", "pandas", "pyarrow", "numpy", "PIL",
        "narwhals", "polars", "boto3", "botocore", "s3fs",
    )  # fmt: skip
    options = {
        "source": str(source), "destination": str(tmp_path / "out"), "model": tiny_model, "python": sys.executable
    }  # fmt: skip
    program = BARE.format(missing=missing, tests=str(airflow_home.ROOT / "tests" / "support"), options=options)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_parsing_dags_loads_nothing_of_the_work() -> None:
    heavy = (
        "torch",
        "transformers",
        "pandas",
        "pyarrow",
        "numpy",
        "PIL",
        "typer",
        "emotion_ops.lake",
        "emotion_ops.operators",
    )
    program = (
        f"import sys; sys.path[:0] = [{str(airflow_home.ROOT / 'tests' / 'support')!r}]; import airflow_home\n"
        "from emotion_ops.airflow import *; import emotion_ops.airflow.emotions, emotion_ops.airflow.shards\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
