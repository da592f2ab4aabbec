"""Under a real scheduler: tasks that are killed, marked as failed and cleared; assets, consumers, a clean log."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import airflow_home
import boto3
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow_cluster import Cluster, running_airflow, until
from held_images import Images, serving_images
from s3_server import running_server

from emotion_ops import ClassifyEmotions, dataset_status, diff_datasets, enrich_dataset
from emotion_ops.testing import faces_table, save_tiny_model

pytestmark = pytest.mark.airflow

FILES, ROWS, GROUP = 6, 10, 5
HTTP = {"allow": ["http"], "allow_hosts": ["127.0.0.1"], "batch_size": GROUP}
HELD = f"""
from airflow.sdk import DAG, Param
from emotion_ops.airflow import EmotionEnrichOperator

with DAG("held", params={{"source": Param("", type="string"), "model": Param("demo", type="string")}}):
    EmotionEnrichOperator(
        task_id="enrich", source="{{{{ params.source }}}}", destination="{{{{ params.source }}}}-out",
        model="{{{{ params.model }}}}", **{HTTP!r}
    )
"""


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    with serving_images() as served:
        yield served


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An Airflow with the example DAG of mapped shards, which may fetch images here, and one that is held."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "dags").mkdir()
    text = (airflow_home.DAGS / "emotion_shards.py").read_text()
    changed = text.replace('columns=["-image"],', f'columns=["-image"], **{HTTP!r},')
    assert changed != text
    (folder / "dags" / "emotion_shards.py").write_text(changed)
    (folder / "dags" / "held.py").write_text(HELD)
    with running_airflow(folder / "home", folder / "dags", EMOTION_OPS_HOME=str(folder / "data")) as running:
        until(lambda: running.api("GET", "/dags")["total_entries"] == 3, 120)
        yield running


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


def worker_of(out: Path, key: str) -> psutil.Process:
    """The process that answers a file, once the file's first row group is in the journal."""

    def found() -> psutil.Process | None:
        if not (out / "_emotion_ops").is_dir():
            return None
        status = dataset_status(out)
        if not any(file.file == key and file.row_groups == 1 for file in status.files):
            return None
        living = [run for run in status.runs if run.living]
        return psutil.Process(living[0].process) if len(living) == 1 else None

    process: psutil.Process = until(found, 120)
    return process


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_it_starts_without_an_error_in_any_log_and_with_this_provider(cluster: Cluster) -> None:
    for component, log in cluster.logs().items():
        assert "Traceback" not in log, component
        assert "[error" not in log, component
    assert cluster.api("GET", "/importErrors")["total_entries"] == 0
    assert "emotion-ops" in cluster.cli("providers", "list")
    assert "report_url" in cluster.cli("config", "list", "--section", "emotion_ops", "--include-descriptions")


def test_with_examples_on_airflow_finds_the_dags_of_this_package(tmp_path: Path) -> None:
    program = (
        "from airflow.dag_processing.bundles.manager import DagBundlesManager\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bundle = DagBundlesManager().get_bundle('emotion-ops-example-dags')\n"
        "bag = DagBag(bundle.path)\n"
        "print(sorted(bag.dags), bag.import_errors)"
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "True"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    names = ["emotion_isolated", "emotion_kubernetes", "emotion_nightly", "emotion_shards", "emotion_shards_consumer"]
    assert done.stdout.splitlines()[-1] == f"{names} {{}}"


def test_a_killed_task_of_a_mapped_dag_is_retried_to_the_output_of_an_undisturbed_run_and_consumed_once(
    cluster: Cluster, images: Images, model: str, tmp_path: Path
) -> None:
    for number in range(FILES):
        images.write(tmp_path / "faces" / f"day={number}" / "rows.parquet", number * ROWS, ROWS, GROUP)
    out = Path(cluster.environment["EMOTION_OPS_HOME"]) / "emotions"
    images.hold(GROUP, ROWS)  # the second row group of day=0
    cluster.trigger("emotion_shards", "killed", source=str(tmp_path / "faces"), model=model)
    worker = worker_of(out, "day=0/rows.parquet")
    os.kill(worker.ppid(), signal.SIGKILL)
    until(lambda: is_gone(worker), 30)
    before = dict(images.asked)
    images.release()
    assert cluster.wait("emotion_shards", "killed") == "success"

    tries = sorted(one["try_number"] for one in cluster.tasks("emotion_shards", "killed", "enrich"))
    assert tries[-1] == 2
    assert set(tries[:-1]) == {1}
    again = {number: images.asked[number] - times for number, times in before.items()}
    answered = set(range(FILES * ROWS)) - set(range(GROUP, ROWS))
    assert all(again.get(number, 0) == 0 for number in range(GROUP))  # what the journal held was not asked for again
    assert sum(images.asked[number] > 1 for number in answered) <= GROUP * 4  # and of the rest only what was in flight

    undisturbed = tmp_path / "undisturbed"
    operator = ClassifyEmotions(model=model, **HTTP)
    enrich_dataset(tmp_path / "faces", undisturbed, operator, columns=["-image"])
    for number in range(FILES):
        ours, theirs = (pq.read_table(place / f"day={number}" / "rows.parquet") for place in (out, undisturbed))
        for column in ("id", "emotion", "emotion_error"):
            assert ours[column].equals(theirs[column])
    assert diff_datasets(out, undisturbed, max_changes=0, max_drift=1e-6, min_coverage=1.0).exceeded == ()

    manifest = cluster.xcom("emotion_shards", "killed", "check")
    assert (manifest["rows"] + manifest["rows_skipped"], manifest["errors"]) == (FILES * ROWS, {})
    (consumer,) = until(lambda: cluster.api("GET", "/dags/emotion_shards_consumer/dagRuns")["dag_runs"], 120)
    assert cluster.wait("emotion_shards_consumer", consumer["dag_run_id"]) == "success"
    assert cluster.xcom("emotion_shards_consumer", consumer["dag_run_id"], "read") == manifest
    events = cluster.api("GET", "/assets/events")["asset_events"]
    assert [(event["source_task_id"], event["extra"]["fingerprint"]) for event in events] == [
        ("check", manifest["fingerprint"])
    ]
    assert cluster.api("GET", "/dags/emotion_shards_consumer/dagRuns")["total_entries"] == 1


def test_a_task_marked_as_failed_stops_without_an_orphan_and_goes_on_when_cleared(
    cluster: Cluster, images: Images, model: str, tmp_path: Path
) -> None:
    first = 1000
    images.write(tmp_path / "in" / "rows.parquet", first, 2 * GROUP, GROUP)
    images.hold(first + GROUP)
    cluster.trigger("held", "marked", source=str(tmp_path / "in"), model=model)
    worker = worker_of(tmp_path / "in-out", "rows.parquet")
    task = psutil.Process(worker.ppid())
    path = "/dags/held/dagRuns/marked/taskInstances/enrich"
    cluster.api("PATCH", path, {"new_state": "failed"})
    until(lambda: is_gone(worker) and is_gone(task), 30)
    gone = time.time()
    log = cluster.home / "logs/dag_id=held/run_id=marked/task_id=enrich/attempt=1.log"
    told = [json.loads(line) for line in log.read_text().splitlines()]
    (asked,) = [line["timestamp"] for line in told if line["event"].startswith("Server indicated the task shouldn't")]
    assert gone - datetime.fromisoformat(asked).timestamp() < 5  # from when Airflow's supervisor heard of it
    assert cluster.api("GET", path)["state"] == "failed"
    (file,) = dataset_status(tmp_path / "in-out").files
    assert (file.state, file.row_groups) == ("stale", 1)

    images.release()
    body = {"dag_run_id": "marked", "task_ids": ["enrich"], "only_failed": True, "dry_run": False}
    cluster.api("POST", "/dags/held/clearTaskInstances", body)
    until(lambda: cluster.api("GET", path)["state"] == "success", 120)
    manifest: dict[str, Any] = cluster.xcom("held", "marked", "enrich")
    assert (manifest["rows"], manifest["rows_from_journal"]) == (2 * GROUP, GROUP)
    assert all(images.asked[first + row] == 1 for row in range(GROUP))

    cluster.trigger("held", "next", source=str(tmp_path / "in"), model=model)
    assert cluster.wait("held", "next") == "success"
    assert cluster.xcom("held", "next", "enrich")["skipped"] == 1
    shutil.rmtree(tmp_path / "in-out")


def test_an_airflow_connection_leads_to_a_store_and_its_secret_to_no_log(
    cluster: Cluster, model: str, tmp_path: Path
) -> None:
    """The credentials are Airflow's alone: neither the scheduler's environment nor the DAG has them."""
    secret = "a-secret-of-the-store"
    pq.write_table(faces_table(4), tmp_path / "rows.parquet")
    with running_server() as port:
        endpoint = f"http://127.0.0.1:{port}"
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": secret, "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=endpoint, **keys)
        client.create_bucket(Bucket="lake")
        client.upload_file(str(tmp_path / "rows.parquet"), "lake", "in/day=1/rows.parquet")
        extra = json.dumps({"endpoint_url": endpoint, "region_name": "us-east-1"})
        connection = {"connection_id": "store", "conn_type": "aws", "login": "key", "password": secret, "extra": extra}
        cluster.api("POST", "/connections", connection)
        cluster.trigger("held", "stored", source="s3://store@lake/in", model=model)
        assert cluster.wait("held", "stored") == "success"
        manifest = cluster.xcom("held", "stored", "enrich")
        assert (manifest["rows"], manifest["files"], manifest["destination"]) == (4, 1, "s3://lake/in-out")
        body = client.get_object(Bucket="lake", Key="in-out/day=1/rows.parquet")["Body"].read()
    assert pq.read_table(pa.BufferReader(body))["emotion_error"].null_count == 4
    told = [path.read_text() for path in (cluster.home / "logs").rglob("*.log")]
    assert any("rows" in log and "progress" in log for log in told)
    assert not any(secret in log for log in [*told, *cluster.logs().values()])
