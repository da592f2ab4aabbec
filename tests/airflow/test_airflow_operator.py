"""The Airflow operator: it does what ``enrich_dataset`` does, says what happened, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import errno
import inspect
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import airflow_home
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from airflow_api import Api
from held_images import Images, serving_images
from hub_server import HubServer

from emotion_ops import ClassifyEmotions, dataset_status, enrich_dataset
from emotion_ops.airflow.worker import STOPS_WITHIN, Worker
from emotion_ops.cli.job import _failed
from emotion_ops.errors import (
    DatasetError,
    DestinationBusyError,
    DestinationConflictError,
    ModelError,
    ModelNotFoundError,
)
from emotion_ops.lake.sources.parquet_files import is_broken
from emotion_ops.testing import faces_table

pytestmark = pytest.mark.airflow

HTTP = {"allow": ("http",), "allow_hosts": ("127.0.0.1",), "batch_size": 5, "threads": 4}


def make(operator: str = "EmotionEnrichOperator", **options: Any) -> Any:
    from airflow.sdk import DAG

    import emotion_ops.airflow

    with DAG("d"):
        return getattr(emotion_ops.airflow, operator)(task_id="enrich", **options)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two partitions of seven rows in two row groups each."""
    for day in (1, 2):
        path = tmp_path / "in" / f"day={day}" / "rows.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(faces_table(7, seed=day), path, row_group_size=4)
    return tmp_path / "in"


@pytest.fixture
def images() -> Iterator[Images]:
    with serving_images() as served:
        yield served


def workers() -> list[psutil.Process]:
    """Every worker process below this one."""
    return [
        child for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[-2:] == ["emotion_ops", "job"]
    ]  # fmt: skip


def until(true: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)
    return value


# --- options ------------------------------------------------------------------------------------------------------


def test_every_option_of_the_table_operator_and_of_enrich_dataset_is_there_with_its_default() -> None:
    from emotion_ops.airflow import enrich as module

    ours = inspect.signature(module.EmotionEnrichOperator.__init__).parameters
    theirs = {field.name: field.default for field in dataclasses.fields(ClassifyEmotions)}
    assert set(module.OPERATOR_OPTIONS) == set(theirs)
    for name, default in theirs.items():
        assert ours[name].default == default, name
    job = inspect.signature(enrich_dataset).parameters
    not_options = {"source", "destination", "operator", "runner", "on_progress", "dry_run"}
    assert set(module.JOB_OPTIONS) == set(job) - not_options
    for name in set(module.JOB_OPTIONS) - {"wait"}:
        assert ours[name].default == job[name].default, name


def test_every_limit_of_a_gate_is_there() -> None:
    from emotion_ops.airflow.enrich import GATE_OPTIONS
    from emotion_ops.lake.gate import Gate

    assert set(GATE_OPTIONS) == {field.name for field in dataclasses.fields(Gate)}


@pytest.mark.parametrize("name", ["EmotionEnrichOperator", "EmotionPlanOperator", "EmotionCheckOperator"])
def test_every_argument_is_a_template_and_stands_on_the_operator_as_given(name: str) -> None:
    import emotion_ops.airflow

    kind = getattr(emotion_ops.airflow, name)
    arguments = {
        argument
        for base in kind.__mro__
        if base.__module__.startswith("emotion_ops")
        for argument, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert set(kind.template_fields) == arguments - {"progress_seconds"}
    given = {argument: object() for argument in arguments}
    operator = make(name, **given)
    assert all(getattr(operator, argument) is value for argument, value in given.items())


def test_texts_that_templates_give_become_what_their_options_hold(source: Path, tmp_path: Path) -> None:
    params = {"again": False, "rate": 0.25, "rows": 4, "shard": [0, 1]}
    operator = make(
        source=str(source), destination=str(tmp_path / "out"), overwrite="{{ params.again }}", params=params,
        max_error_rate="{{ params.rate }}", batch_size="{{ params.rows }}", limit="{{ none }}", threads="auto",
        report_page="{{ not params.again }}", retry_errors="unreadable", columns=["-image", "{{ 'id' }}"],
    )  # fmt: skip
    operator.render_template_fields({"params": params})
    request, environment = operator._request()
    assert request["operator"] == {"batch_size": 4}
    assert request["options"] == {
        "max_error_rate": 0.25, "retry_errors": "unreadable", "columns": ["-image", "id"], "wait": 120.0
    }  # fmt: skip
    assert environment == {}


def test_a_text_that_is_nothing_of_its_option_fails_without_a_retry(source: Path, tmp_path: Path) -> None:
    api = Api(retries=True)
    done = api.run(make(source=str(source), destination=str(tmp_path / "out"), overwrite="{{ 'perhaps' }}"))
    assert (done.state, str(done.error)) == ("failed", "overwrite='perhaps' cannot be used: give bool")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (0.3, 0.3), ("0.3", 0.3), ("{{ params.one }}", 0.3), ("{{ params.some }}", {"happy": 0.4, "sad": 0.2}),
        ('{"happy": 0.4}', {"happy": 0.4}), ("happy=0.4,sad=0.2", {"happy": 0.4, "sad": 0.2}),
        ({"happy": "{{ params.one }}"}, {"happy": 0.3}), ([("happy", 0.4)], {"happy": 0.4}),
        ("[('happy', 0.4)]", {"happy": 0.4}), ([("happy", 0.4), ("happy", 0.2)], [["happy", 0.4], ["happy", 0.2]]),
        ("{{ none }}", None), (None, None),
    ],
)  # fmt: skip
def test_thresholds_reach_the_worker_as_numbers_however_they_are_given(given: Any, meant: Any) -> None:
    params = {"one": 0.3, "some": {"happy": 0.4, "sad": 0.2}}
    operator = make(source="in", destination="out", labels_above=given, params=params)
    operator.render_template_fields({"params": params})
    assert operator._request()[0]["operator"] == ({} if meant is None else {"labels_above": meant})


@pytest.mark.parametrize(
    "given", ["happy", "happy=much", "happy=0.4,happy=0.2", "{'happy': }", "{}", {}, {"happy": "much"}, ["happy"]]
)
def test_thresholds_that_are_none_fail_without_a_retry(given: Any) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="labels_above="):
        make(source="in", destination="out", labels_above=given)._request()


@pytest.mark.parametrize("option", ["detector", "calibration"])
def test_what_the_worker_opens_on_its_own_disk_may_be_named_as_airflow_names_files(option: str) -> None:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.exceptions import AirflowFailException

    def passed(value: Any) -> Any:
        return make(source="in", destination="out", **{option: value})._request()[0]["operator"].get(option)

    for value in ("/a b/y.onnx", "file:///a%20b/y.onnx", ObjectStoragePath("file:///a b/y.onnx"), Path("/a b/y.onnx")):
        assert passed(value) == "/a b/y.onnx"
    assert passed("None") is None
    for elsewhere in ("s3://bucket/y.onnx", ObjectStoragePath("s3://bucket/y.onnx"), "file://host/y.onnx"):
        with pytest.raises(AirflowFailException, match=f"{option}='.*give its path there"):
            passed(elsewhere)


def test_a_callable_detector_is_refused_where_the_dag_is_written() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="give the path of a YuNet file"):
        make(source="in", destination="out", detector=len)


# --- what it does -------------------------------------------------------------------------------------------------


def test_a_task_writes_what_enrich_dataset_writes_and_tells_of_it(
    source: Path, tiny_model: str, tmp_path: Path
) -> None:
    from airflow.sdk import Asset

    asset = Asset(name="faces", uri=f"file://{tmp_path}/r")
    operator = make(
        source=str(source), destination=str(tmp_path / "{{ run_id }}"), model=tiny_model, columns=["id"], outlets=[asset]
    )  # fmt: skip
    api = Api()
    done = api.run(operator)
    assert (done.state, done.error) == ("success", None)
    report = enrich_dataset(source, tmp_path / "plain", ClassifyEmotions(model=tiny_model), columns=["id"])
    for day in (1, 2):
        ours, theirs = (pq.read_table(tmp_path / out / f"day={day}/rows.parquet") for out in ("r", "plain"))
        assert ours.equals(theirs)
    manifest = api.xcoms["return_value"]
    assert json.loads(json.dumps(manifest)) == manifest
    assert len(json.dumps(manifest)) < 4096
    expected = {
        "rows": 14, "good_rows": 14, "errors": {}, "files": 2, "skipped": 0, "failed": 0, "error_rate": 0.0,
        "destination": str(tmp_path / "r"), "operator": "classify_emotions", "lineage": dict(report.lineage),
    }  # fmt: skip
    assert {name: manifest[name] for name in expected} == expected
    assert len(manifest["fingerprint"]) == 64
    assert api.xcoms["_link_EmotionReportLink"] == f"file://{tmp_path}/r/_emotion_ops/report.html"
    (event,) = api.states[-1]["outlet_events"]
    assert event["extra"] == manifest

    again = Api()
    assert again.run(operator).state == "success"
    second = again.xcoms["return_value"]
    assert (second["files"], second["skipped"], second["rows_skipped"]) == (0, 2, 14)
    assert second["fingerprint"] == manifest["fingerprint"]


def test_a_plan_writes_nothing_and_says_what_the_job_would_take(source: Path, tiny_model: str, tmp_path: Path) -> None:
    api = Api()
    operator = make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model, plan_only=True)
    assert api.run(operator).state == "success"
    assert api.xcoms["return_value"]["estimate"]["rows"] == 14
    assert not (tmp_path / "out").exists()


def test_progress_and_warnings_stand_in_the_tasks_log_with_their_values(
    source: Path, tiny_model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (source / "notes.txt").write_text("no data")
    operator = make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model, progress_seconds=0)
    assert Api().run(operator).state == "success"
    log = capfd.readouterr().out
    first, *_, last = [line for line in log.splitlines() if " progress " in line]
    assert "rows_per_second" not in first  # one point in time has no rate, and 0 would be none
    assert all(part in last for part in ("rows=14", "of=14", "failed=0", "rows_per_second="))
    assert "notes.txt" in log
    assert "[warning" in log


# --- what fails ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model": "/no/such/folder"}, "no folder /no/such/folder"),
        ({"image": "photo"}, "no column 'photo'"),
        ({"conn_id": "lake"}, "there is no connection 'lake': add it"),
        ({"destination": "s3://lake@bucket/out"}, "there is no connection 'lake': add it"),
        ({"destination": "gs://lake@bucket/out"}, "connections are taken for s3:// alone"),
        ({"conn_id": "a", "root": "s3://b@bucket/images"}, "the connections a, b are all for S3"),
        ({"python": "/no/such/python"}, "python='/no/such/python' cannot be started"),
        ({"max_changes": 1}, "max_changes needs an output to compare with"),
        ({"device": "toaster"}, "toaster"),
        ({"compare_to": "/no/such/output", "max_changes": 1}, "there is no such Parquet file"),
    ],
)
def test_what_cannot_work_fails_before_any_work_and_says_what_to_do(
    change: dict[str, Any], text: str, source: Path, tiny_model: str, tmp_path: Path
) -> None:
    api = Api(retries=True)
    options = {"source": str(source), "destination": str(tmp_path / "out"), "model": tiny_model, **change}
    done = api.run(make(**options))
    assert text in str(done.error)
    assert api.states[-1]["state"] == ("up_for_retry" if "/no/such/output" in change.values() else "failed")
    assert not (tmp_path / "out" / "day=1").exists()
    assert not workers()


@pytest.mark.parametrize(
    ("fault", "text", "state"),
    [(None, "the hub has no such model", "failed"), ("broken", "cannot be downloaded", "up_for_retry")],
)
def test_a_model_that_the_hub_does_not_have_burns_no_retry_and_a_hub_that_does_not_answer_is_asked_again(
    fault: Any, text: str, state: str, source: Path, tmp_path: Path
) -> None:
    api = Api(retries=True)
    with HubServer() as hub:
        hub.fault = fault
        env = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
        done = api.run(make(source=str(source), destination=str(tmp_path / "out"), model="owner/misspelt", env=env))
    assert text in str(done.error)
    assert api.states[-1]["state"] == state


def test_a_broken_source_fails_at_once_and_burns_no_retry(source: Path, tiny_model: str, tmp_path: Path) -> None:
    broken = source / "day=2" / "rows.parquet"
    data = bytearray(broken.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 400] = b"\xff" * 400
    broken.write_bytes(bytes(data))
    api = Api(retries=True)
    done = api.run(make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model))
    assert str(broken) in str(done.error)
    assert api.states[-1]["state"] == "failed"


def test_a_source_cut_short_fails_at_once_and_burns_no_retry(source: Path, tiny_model: str, tmp_path: Path) -> None:
    broken = source / "day=2" / "rows.parquet"
    broken.write_bytes(broken.read_bytes()[:-20])
    api = Api(retries=True)
    done = api.run(make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model))
    assert f"{broken}: is no whole Parquet file" in str(done.error)
    assert api.states[-1]["state"] == "failed"


def test_another_run_in_the_way_is_retried(source: Path, tiny_model: str, tmp_path: Path) -> None:
    from emotion_ops.lake import lease
    from emotion_ops.lake.targets.folder import Folder

    api = Api(retries=True)
    with lease.hold(Folder(str(tmp_path / "out")), ""):
        done = api.run(make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model, wait=0))
    assert "is writing here" in str(done.error)
    assert api.states[-1]["state"] == "up_for_retry"


def test_more_failed_rows_than_allowed_fail_the_task_without_a_retry(tiny_model: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"no image", b"none either"]}), tmp_path / "in.parquet")
    api = Api(retries=True)
    options = {"source": str(tmp_path / "in.parquet"), "destination": str(tmp_path / "out"), "model": tiny_model}
    done = api.run(make(**options, max_error_rate="{{ 0.5 }}"))
    assert "2 of 2 rows failed, more than max_error_rate=0.5 allows" in str(done.error)
    assert api.states[-1]["state"] == "failed"
    assert not (tmp_path / "out" / "in.parquet").exists()


def test_a_worker_killed_for_memory_says_what_to_lower_and_is_retried(
    images: Images, tiny_model: str, tmp_path: Path
) -> None:
    images.write(tmp_path / "in.parquet", 0, 10, 5)
    images.hold(5)
    operator = make(
        source=str(tmp_path / "in.parquet"), destination=str(tmp_path / "out"), model=tiny_model, **HTTP
    )  # fmt: skip
    killer = threading.Thread(target=lambda: until(lambda: images.asked[5]) and workers()[0].kill())
    killer.start()
    api = Api(retries=True)
    done = api.run(operator)
    killer.join()
    for option in ("memory=", "batch_size=", "threads=", "precision="):
        assert option in str(done.error)
    assert api.states[-1]["state"] == "up_for_retry"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        caused(DatasetError("rows.parquet", "cannot be read", "mend the file"), pa.ArrowMemoryError("malloc of size 9")),
        caused(DatasetError("out", "cannot be written", "free some space"), OSError(errno.ENOMEM, "no memory")),
        caused(ModelError("m", "there is not enough memory on cuda", "a smaller one"), MemoryError("2 GiB")),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_told_as_such_wherever_it_ran_out(error: Exception) -> None:
    event = _failed(error)
    assert event["out_of_memory"]
    assert not event["permanent"]
    assert "mend the file" not in event["message"]


@pytest.mark.parametrize("retryable", [False, True])
def test_whether_an_error_may_pass_is_said_where_it_is_raised_and_by_no_word_of_a_user(retryable: bool) -> None:
    told = {} if not retryable else {"retryable": True}
    for error in (
        DatasetError("/data/changed", "lies in the destination /data/changed-meanwhile", "give another", **told),
        DestinationConflictError("p", "stands already: the weights changed", "overwrite", **told),
        ModelNotFoundError("changed/meanwhile", "has no revision 'x'", "give a commit", **told),
    ):
        assert _failed(pickle.loads(pickle.dumps(error)))["permanent"] is not retryable
    assert _failed(ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"))["permanent"]
    assert not _failed(DestinationBusyError("p", "is written", "wait"))["permanent"]


def test_a_model_that_is_not_there_burns_no_retry_and_a_hub_that_does_not_answer_does() -> None:
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    from emotion_ops.models.hub import _explained

    for error in (HFValidationError("no id"), OfflineModeIsEnabled("offline")):
        assert _failed(_explained("owner/name", None, error))["permanent"]
    for error in (ConnectionError("refused"), TimeoutError("timed out"), OSError(errno.ENOSPC, "full")):
        assert not _failed(_explained("owner/name", None, error))["permanent"]


def test_a_file_is_broken_by_what_arrow_says_of_it_and_not_by_its_name() -> None:
    assert is_broken(OSError("Couldn't deserialize thrift: don't know what type: 3"))
    assert is_broken(pa.ArrowInvalid("Parquet magic bytes not found in footer"))
    assert not is_broken(OSError("When reading 'Corrupt/thrift.parquet': AWS Error NETWORK_CONNECTION: timed out"))
    assert not is_broken(OSError(errno.EIO, "Corrupt"))


def test_a_source_that_changes_while_it_is_read_is_retried(tiny_model: str, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(faces_table(4), path, row_group_size=2)

    def change(_: Any) -> None:
        pq.write_table(faces_table(4, seed=9), path, row_group_size=2)

    with pytest.raises(DatasetError, match="changed while it was read") as told:
        enrich_dataset(path, tmp_path / "out", ClassifyEmotions(model=tiny_model), on_progress=change)
    assert not _failed(told.value)["permanent"]


def test_an_interpreter_without_the_package_is_told_without_a_retry(source: Path, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    api = Api(retries=True)
    done = api.run(make(source=str(source), destination=str(tmp_path / "out"), python=str(bare)))
    assert f"{bare} cannot do the work: install emotion-ops there" in str(done.error)
    assert api.states[-1]["state"] == "failed"


# --- how it ends --------------------------------------------------------------------------------------------------


def test_a_task_that_took_too_long_is_stopped_and_the_next_try_goes_on(
    images: Images, tiny_model: str, tmp_path: Path
) -> None:
    images.write(tmp_path / "in.parquet", 0, 20, 5)
    images.hold(10)
    options = {
        "source": str(tmp_path / "in.parquet"),
        "destination": str(tmp_path / "out"),
        "model": tiny_model,
        **HTTP,
    }
    api = Api(retries=True)

    def ring() -> None:
        until(
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
    assert not workers()
    (file,) = dataset_status(tmp_path / "out").files
    assert file.row_groups == 2
    images.release()
    assert api.run(make(**options), try_number=2).state == "success"
    assert api.xcoms["return_value"]["rows_from_journal"] == 10
    assert all(images.asked[row] == 1 for row in range(10))
    assert pq.read_metadata(tmp_path / "out" / "in.parquet").num_rows == 20


DAG_FILE = """
from airflow.sdk import DAG
from emotion_ops.airflow import EmotionEnrichOperator

with DAG("held"):
    EmotionEnrichOperator(task_id="enrich", retries=2, **{options!r})
"""


@pytest.mark.parametrize("how", ["killed", "marked failed"])
def test_a_task_that_dies_takes_its_worker_along_and_the_next_try_goes_on(
    how: str, images: Images, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that an executor would run is forked for real; it is killed, or told that it was marked as failed."""
    from airflow.executors.workloads import BundleInfo
    from airflow.sdk.execution_time.supervisor import supervise_task
    from airflow_api import task_instance

    images.write(tmp_path / "in.parquet", 0, 20, 5)
    images.hold(10)
    options = {
        "source": str(tmp_path / "in.parquet"),
        "destination": str(tmp_path / "out"),
        "model": tiny_model,
        **HTTP,
    }
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "held.py").write_text(DAG_FILE.format(options=options))
    bundle = {
        "name": "held",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    api = Api(retries=True)

    def kill() -> None:
        until(lambda: images.asked[10])
        until(lambda: [file.row_groups for file in dataset_status(tmp_path / "out").files] == [2])
        (worker,) = workers()
        if how == "killed":
            os.kill(worker.ppid(), signal.SIGKILL)
        else:
            api.marked_failed = True
        until(lambda: not workers(), 30)

    def supervise(try_number: int) -> int:
        ti = task_instance("enrich", dag_id="held", try_number=try_number)
        return supervise_task(
            ti=ti, bundle_info=BundleInfo(name="held"), dag_rel_path="held.py", token="", client=api.client()
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
    assert all(images.asked[row] == 1 for row in range(10))


def test_a_worker_that_does_not_listen_is_gone_before_airflow_kills_the_task(tmp_path: Path) -> None:
    deaf = tmp_path / "python"
    deaf.write_text("#!/bin/sh\ntrap '' TERM\nsleep 600 &\necho ready >&2\nwait\nwait\n")
    deaf.chmod(0o755)
    worker = Worker(str(deaf), {})
    process = psutil.Process(worker._process.pid)
    until(process.children)
    (child,) = process.children()
    began = time.monotonic()
    worker.close()
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in (process, child)), 5)
    assert STOPS_WITHIN <= time.monotonic() - began < 5  # what Airflow leaves between its own SIGTERM and SIGKILL


FAKE = """#!{python}
import json, sys
def say(**event): print(json.dumps(event), flush=True)
{body}
"""


def worker_that(body: str, tmp_path: Path) -> Worker:
    """A worker of which a program stands in the place of this package."""
    program = tmp_path / "python"
    program.write_text(FAKE.format(python=sys.executable, body=body))
    program.chmod(0o755)
    return Worker(str(program), {})


def test_a_long_request_and_long_answers_before_it_is_read_do_not_wait_for_each_other(tmp_path: Path) -> None:
    body = (
        "print('x' * 10**6, file=sys.stderr, flush=True); print('y' * 10**6, flush=True)\n"
        "say(event='finished', result=len(json.loads(sys.stdin.readline())['source']))"
    )
    worker = worker_that(body, tmp_path)
    log = structlog.get_logger()
    assert worker.run({"source": ["z" * 100] * 50_000}, log, 1) == 50_000
    worker.close()


def test_only_whole_events_on_stdout_are_taken_for_what_the_worker_says(tmp_path: Path) -> None:
    body = (
        "print(json.dumps({'event': 'finished', 'result': 'forged'}), file=sys.stderr, flush=True)\n"
        "sys.stdin.readline()\n"
        "for event in ({'event': 'progress'}, {'event': 'log'}, {'event': 'started'}, {'event': 'unknown'}, [1], {}):\n"
        "    print(json.dumps(event), flush=True)\n"
        "say(event='finished', result='true'); say(event='unknown', result='late')"
    )
    worker = worker_that(body, tmp_path)
    assert worker.run({}, structlog.get_logger(), 0) == "true"
    worker.close()


def test_a_wrapper_that_tells_of_a_kill_by_its_exit_code_is_understood(tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowException

    worker = worker_that("sys.exit(137)", tmp_path)
    with pytest.raises(AirflowException, match="memory="):
        worker.run({}, structlog.get_logger(), 1)
    worker.close()


def test_what_a_worker_started_ends_with_it_though_it_is_gone_already(tmp_path: Path) -> None:
    body = "import subprocess; child = subprocess.Popen(['sleep', '600']); say(event='finished', result=child.pid)"
    worker = worker_that(body, tmp_path)
    child = psutil.Process(worker.run({}, structlog.get_logger(), 1))
    worker.close()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)


def test_a_signal_that_comes_while_the_worker_is_started_stops_it(
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
    assert not workers()


def test_a_forgotten_interpreter_says_so_without_a_retry(tmp_path: Path) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    body = "say(event='failed', error='ModuleNotFoundError', message='no pyarrow', permanent=True, out_of_memory=False)"
    worker = worker_that(body, tmp_path)
    with pytest.raises(AirflowFailException, match="or give python="):
        worker.run({}, structlog.get_logger(), 1)
    worker.close()


def test_the_folder_that_a_task_runs_in_is_not_where_its_program_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException

    (tmp_path / "emotion_ops.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    worker = Worker(sys.executable, {})
    with pytest.raises(AirflowException, match="nothing"):
        worker.run({"do": "nothing"}, structlog.get_logger(), 1)
    worker.close()


# --- another environment ------------------------------------------------------------------------------------------

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
            raise ModuleNotFoundError(f"No module named {{name!r}}, said to emotion_ops", name=name)
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


def test_with_another_interpreter_airflow_needs_this_package_without_its_dependencies(
    source: Path, tiny_model: str, tmp_path: Path
) -> None:
    """What Airflow itself does not bring can't be imported there, and by this package nothing but Airflow, whose own
    packages (rich, fsspec) may be other ones some day; the other interpreter has it all.
    """
    missing = (
        "torch", "transformers", "safetensors", "huggingface_hub", "tokenizers", "pandas", "pyarrow", "numpy", "PIL",
        "narwhals", "polars", "boto3", "botocore", "s3fs",
    )  # fmt: skip
    options = {
        "source": str(source), "destination": str(tmp_path / "out"), "model": tiny_model, "python": sys.executable
    }  # fmt: skip
    program = BARE.format(missing=missing, tests=str(airflow_home.ROOT / "tests"), options=options)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_reading_the_dags_loads_nothing_of_the_work() -> None:
    heavy = ("torch", "transformers", "pandas", "pyarrow", "numpy", "PIL", "typer", "emotion_ops.lake")
    program = (
        f"import sys; sys.path[:0] = [{str(airflow_home.ROOT / 'tests')!r}]; import airflow_home\n"
        "from emotion_ops.airflow import *\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
