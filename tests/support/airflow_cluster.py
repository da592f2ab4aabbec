"""A real Airflow on this machine: API server, DAG processor and scheduler, each in its own session."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent


@dataclass
class Cluster:
    """A running Airflow."""

    base: str
    home: Path
    environment: dict[str, str]

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the public REST API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.base}/api/v2{path}", method=method, data=data, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=90) as response:
            return json.load(response)

    def cli(self, *arguments: str) -> str:
        """Run an Airflow command."""
        done = subprocess.run(
            [str(BIN / "airflow"), *arguments], env=self.environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def trigger(self, dag: str, run: str, **conf: Any) -> None:
        """Start a run as the UI does, without a date."""
        self.api("POST", f"/dags/{dag}/dagRuns", {"dag_run_id": run, "logical_date": None, "conf": conf})

    def wait(self, dag: str, run: str, seconds: float = 120) -> str:
        """Wait for the end of a run, and return its state."""

        def ended() -> str | None:
            state: str = self.api("GET", f"/dags/{dag}/dagRuns/{run}")["state"]
            return state if state in ("success", "failed") else None

        state: str = until(ended, seconds)
        return state

    def xcom(self, dag: str, run: str, task: str, map_index: int = -1) -> Any:
        """What a task returned."""
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value?map_index={map_index}"
        value = self.api("GET", path)["value"]
        return json.loads(value) if isinstance(value, str) else value

    def tasks(self, dag: str, run: str, task: str) -> list[dict[str, Any]]:
        """The instances of a task, one for each shard."""
        found = self.api("GET", f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return [one for one in found if one["task_id"] == task]

    def logs(self) -> dict[str, str]:
        """The log of each component."""
        return {path.stem: path.read_text() for path in self.home.glob("*.log")}


def until(check: Callable[[], Any], seconds: float) -> Any:
    """The first value of a function that is true."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if value := check():
                return value
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_airflow(home: Path, dags: Path, *, python: str = sys.executable, **more: str) -> Iterator[Cluster]:
    """Start it with an empty SQLite database; at the end, stop it and all that it started."""
    port = _free_port()
    base = f"http://127.0.0.1:{port}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS_"))}
    environment = {
        **inherited,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(home),
        # writers wait for each other: on a busy machine the default of 5 seconds is too short
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",  # so many processes are started at once; the default of 32 fills 4 GB
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": base,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": "of-the-tests-" * 3,
        "AIRFLOW__API_AUTH__JWT_SECRET": "of-the-tests-" * 6,
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(_free_port()),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **more,
    }
    home.mkdir(parents=True, exist_ok=True)
    airflow = [python, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], env=environment, check=True, capture_output=True)
    processes = []
    try:
        for component in ("api-server", "dag-processor", "scheduler"):
            with (home / f"{component}.log").open("w") as log:
                processes.append(
                    subprocess.Popen(
                        [*airflow, component], env=environment, cwd=home, stdout=log, stderr=log, start_new_session=True
                    )
                )
        cluster = Cluster(base, home, environment)
        until(lambda: _is_healthy(cluster), 120)
        yield cluster
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _is_healthy(cluster: Cluster) -> bool:
    health = cluster.api("GET", "/monitor/health")
    parts = (health["scheduler"]["status"], health["dag_processor"]["status"])
    return parts == ("healthy", "healthy") and bool(cluster.api("GET", "/dags")["total_entries"])
