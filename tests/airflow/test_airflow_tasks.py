"""What an Airflow task does, what it returns and logs, and which failures are retried."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow_api import Api
from airflow_tasks import HTTP, find_workers, make, run_task, wait_until
from hub_server import HubServer
from paused_images import Images

from emotion_ops import ClassifyEmotions, enrich_dataset
from emotion_ops.lake.lease import hold_lease
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.testing.operators import ImageStatistics

pytestmark = pytest.mark.airflow


def test_a_task_writes_what_enrich_dataset_writes_and_returns_a_manifest(
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
    assert api.xcoms["_link_EnrichReportLink"] == f"file://{tmp_path}/r/_emotion_ops/report.html"
    (event,) = api.states[-1]["outlet_events"]
    assert event["extra"] == manifest

    again = Api()
    assert again.run(operator).state == "success"
    second = again.xcoms["return_value"]
    assert (second["files"], second["skipped"], second["rows_skipped"]) == (0, 2, 14)
    assert second["fingerprint"] == manifest["fingerprint"]


def test_a_task_of_any_operator_writes_what_enrich_dataset_writes(source: Path, tmp_path: Path) -> None:
    options = {"image": "image", "max_side": "{{ 9999 }}"}
    operator = make(
        "EnrichOperator", source=str(source), destination=str(tmp_path / "out"), operator="image_statistics",
        options=options, columns=["id"],
    )  # fmt: skip
    manifest = run_task(operator)
    enrich_dataset(source, tmp_path / "plain", ImageStatistics(), columns=["id"])
    ours, theirs = (pq.read_table(tmp_path / place) for place in ("out", "plain"))
    assert ours.equals(theirs)
    assert (manifest["operator"], manifest["rows"], manifest["inputs"]) == ("image_statistics", 14, ["image"])
    assert manifest["columns"]["brightness"] == "float"


def test_a_plan_writes_nothing_and_says_what_the_job_would_take(source: Path, tiny_model: str, tmp_path: Path) -> None:
    api = Api()
    operator = make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model, plan_only=True)
    assert api.run(operator).state == "success"
    assert api.xcoms["return_value"]["estimate"]["rows"] == 14
    assert not (tmp_path / "out").exists()


def test_progress_and_warnings_are_logged_with_their_values(
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


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model": "/no/such/folder"}, "no folder /no/such/folder"),
        ({"image": "photo"}, "no column 'photo'"),
        ({"conn_id": "lake"}, "there is no connection 'lake': add it"),
        ({"destination": "s3://lake@bucket/out"}, "there is no connection 'lake': add it"),
        ({"destination": "gs://lake@bucket/out"}, "connections can be used for s3:// only"),
        ({"conn_id": "a", "root": "s3://b@bucket/images"}, "the connections a, b are all for S3"),
        ({"python": "/no/such/python"}, "python='/no/such/python' cannot be started"),
        ({"max_changes": 1}, "max_changes needs an output to compare with"),
        ({"device": "toaster"}, "toaster"),
        ({"compare_to": "/no/such/output", "max_changes": 1}, "there is no such Parquet file"),
    ],
)
def test_options_that_cannot_be_used_fail_before_any_work_with_a_hint(
    change: dict[str, Any], text: str, source: Path, tiny_model: str, tmp_path: Path
) -> None:
    api = Api(retries=True)
    options = {"source": str(source), "destination": str(tmp_path / "out"), "model": tiny_model, **change}
    done = api.run(make(**options))
    assert text in str(done.error)
    assert api.states[-1]["state"] == ("up_for_retry" if "/no/such/output" in change.values() else "failed")
    assert not (tmp_path / "out" / "day=1").exists()
    assert not find_workers()


@pytest.mark.parametrize(
    ("fault", "text", "state"),
    [(None, "the hub has no such model", "failed"), ("broken", "cannot be downloaded", "up_for_retry")],
)
def test_an_unknown_model_is_not_retried_and_a_hub_that_does_not_answer_is(
    fault: Any, text: str, state: str, source: Path, tmp_path: Path
) -> None:
    api = Api(retries=True)
    with HubServer() as hub:
        hub.fault = fault
        env = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
        done = api.run(make(source=str(source), destination=str(tmp_path / "out"), model="owner/misspelt", env=env))
    assert text in str(done.error)
    assert api.states[-1]["state"] == state


def test_a_corrupt_source_is_not_retried(source: Path, tiny_model: str, tmp_path: Path) -> None:
    broken = source / "day=2" / "rows.parquet"
    data = bytearray(broken.read_bytes())
    data[4:60] = b"\xff" * 56  # the header of a page
    broken.write_bytes(bytes(data))
    api = Api(retries=True)
    done = api.run(make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model))
    assert str(broken) in str(done.error)
    assert api.states[-1]["state"] == "failed"


def test_an_incomplete_source_is_not_retried(source: Path, tiny_model: str, tmp_path: Path) -> None:
    broken = source / "day=2" / "rows.parquet"
    broken.write_bytes(broken.read_bytes()[:-20])
    api = Api(retries=True)
    done = api.run(make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model))
    assert f"{broken}: is not a complete Parquet file" in str(done.error)
    assert api.states[-1]["state"] == "failed"


def test_a_destination_that_another_run_writes_is_retried(source: Path, tiny_model: str, tmp_path: Path) -> None:
    api = Api(retries=True)
    with hold_lease(Folder(str(tmp_path / "out")), ""):
        done = api.run(make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model, wait=0))
    assert "is writing here" in str(done.error)
    assert api.states[-1]["state"] == "up_for_retry"


def test_more_failed_rows_than_allowed_are_not_retried(tiny_model: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"no image", b"none either"]}), tmp_path / "in.parquet")
    api = Api(retries=True)
    options = {"source": str(tmp_path / "in.parquet"), "destination": str(tmp_path / "out"), "model": tiny_model}
    done = api.run(make(**options, max_error_rate="{{ 0.5 }}"))
    assert "2 of 2 rows failed, more than max_error_rate=0.5 allows" in str(done.error)
    assert api.states[-1]["state"] == "failed"
    assert not (tmp_path / "out" / "in.parquet").exists()


def test_a_worker_that_is_killed_for_memory_is_retried_with_a_hint(
    images: Images, tiny_model: str, tmp_path: Path
) -> None:
    images.write(tmp_path / "in.parquet", 0, 10, 5)
    images.pause(5)
    operator = make(
        source=str(tmp_path / "in.parquet"), destination=str(tmp_path / "out"), model=tiny_model, **HTTP
    )  # fmt: skip
    killer = threading.Thread(target=lambda: wait_until(lambda: images.requests[5]) and find_workers()[0].kill())
    killer.start()
    api = Api(retries=True)
    done = api.run(operator)
    killer.join()
    for option in ("memory=", "batch_size=", "threads=", "precision="):
        assert option in str(done.error)
    assert api.states[-1]["state"] == "up_for_retry"
