"""Airflow's execution API in memory: a task runs as on a worker, without a server and a database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import airflow_home  # noqa: F401  (before Airflow)
import httpx


@dataclass
class Api:
    """What the worker gets, and what it sent."""

    retries: bool = False
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    xcoms: dict[str, Any] = field(default_factory=dict)
    states: list[dict[str, Any]] = field(default_factory=list)
    marked_failed: bool = False
    on_heartbeat: Callable[[], None] = lambda: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.strip("/")
        body = json.loads(request.content) if request.content else None
        kind, last = path.partition("/")[0], path.rpartition("/")[2]
        if last == "run":
            return httpx.Response(200, json=self._context())
        if last == "heartbeat":
            self.on_heartbeat()
            if self.marked_failed:
                detail = {"reason": "not_running", "current_state": "failed"}
                return httpx.Response(409, json={"detail": detail})
            return httpx.Response(204)
        if last == "state":
            self.states.append(body)
            return httpx.Response(204)
        if last == "validate-inlets-and-outlets":
            return httpx.Response(200, json={"inactive_assets": []})
        if kind == "xcoms" and request.method == "POST":
            self.xcoms[last] = body
            return httpx.Response(201, json={"message": "ok"})
        if kind == "connections":
            if last in self.connections:
                empty = dict.fromkeys(("host", "schema", "login", "password", "port", "extra"))
                return httpx.Response(200, json={"conn_id": last, **empty, **self.connections[last]})
            return httpx.Response(404, json={"detail": {"reason": "not_found"}})
        return httpx.Response(200, json={"ok": True})

    def _context(self) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat()
        none = dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "end_date", "partition_key"))
        run = {"dag_id": "d", "run_id": "r", "start_date": now, "run_after": now, "run_type": "manual"}
        return {
            "dag_run": {**run, **none, "state": "running", "consumed_asset_events": []},
            "max_tries": 2 if self.retries else 0,
            "should_retry": self.retries,
        }

    def client(self) -> Any:
        """The client of the runner of a task."""
        from airflow.sdk.api.client import Client

        return Client(base_url=None, dry_run=True, token="", transport=httpx.MockTransport(self))

    def run(self, operator: Any, *, try_number: int = 1) -> Any:
        """Run one task in this process, as the runner on a worker does."""
        from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor

        ti = task_instance(operator.task_id, try_number=try_number)
        return InProcessTestSupervisor.start(what=ti, task=operator, client=self.client())


def task_instance(task_id: str, *, try_number: int = 1, dag_id: str = "d") -> Any:
    """A task instance as the executor gives it to a worker."""
    from airflow.sdk.api.datamodels._generated import TaskInstance

    return TaskInstance(
        id=uuid.uuid4(),
        task_id=task_id,
        dag_id=dag_id,
        run_id="r",
        try_number=try_number,
        dag_version_id=uuid.uuid4(),
        map_index=-1,
    )
