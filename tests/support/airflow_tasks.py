"""Airflow operators in tests: made in a DAG, run as on a worker, and the worker processes that they start."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from emotion_ops.testing import faces_table

HTTP = {"allow": ("http",), "allow_hosts": ("127.0.0.1",), "batch_size": 5, "threads": 4}
"""Options with which images are fetched from a server of the tests."""


def make(name: str = "EmotionEnrichOperator", **arguments: Any) -> Any:
    """An Airflow operator of this package, in a DAG."""
    from airflow.sdk import DAG

    import emotion_ops.airflow

    with DAG("d"):
        return getattr(emotion_ops.airflow, name)(task_id="enrich", **arguments)


def run_task(operator: Any, **api: Any) -> dict[str, Any]:
    """Run a task that succeeds, and return its manifest."""
    from airflow_api import Api

    server = Api(**api)
    done = server.run(operator)
    assert (done.state, done.error) == ("success", None)
    manifest: dict[str, Any] = server.xcoms["return_value"]
    return manifest


def write_partitions(folder: Path) -> Path:
    """Two partitions of seven rows in two row groups each."""
    for day in (1, 2):
        path = folder / f"day={day}" / "rows.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(faces_table(7, seed=day), path, row_group_size=4)
    return folder


def find_workers() -> list[psutil.Process]:
    """All worker processes below this one."""
    return [
        child for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[-2:] == ["emotion_ops", "job"]
    ]  # fmt: skip


def wait_until(check: Callable[[], Any], seconds: float = 120) -> Any:
    """The first value of a function that is true."""
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.05)
    return value
