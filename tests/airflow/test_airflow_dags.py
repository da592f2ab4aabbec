"""The example DAGs: they load, are documented, and run."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow_home
import pyarrow.parquet as pq
import pytest
from airflow_tasks import make, run_task
from sharded import write_days

pytestmark = pytest.mark.airflow

HOME = airflow_home.HOME / "data"
DAG_IDS = {"emotion_nightly", "emotion_shards", "emotion_shards_consumer", "emotion_isolated", "emotion_kubernetes"}


@pytest.fixture(scope="module")
def dagbag() -> Any:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    os.environ["EMOTION_OPS_PYTHON"] = sys.executable
    initdb()
    write_days(HOME / "faces", 3)
    return DagBag(str(airflow_home.DAGS))


def test_the_example_dags_load_and_are_found_in_the_package(dagbag: Any) -> None:
    import emotion_ops

    assert dagbag.import_errors == {}
    assert set(dagbag.dags) == DAG_IDS
    packaged = Path(emotion_ops.__path__[0]) / "example_dags"
    assert {path.name for path in packaged.glob("*.py")} == {path.name for path in airflow_home.DAGS.glob("*.py")}


def test_each_example_dag_has_a_page_and_imports_only_airflow_and_this_package(dagbag: Any) -> None:
    for path in airflow_home.DAGS.glob("*.py"):
        tree = ast.parse(path.read_text())
        page = ast.get_docstring(tree)
        assert page is not None
        assert "### What it does" in page
        assert "### Adapt it" in page
        roots = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names] if isinstance(node, ast.Import)
                else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            )
        }  # fmt: skip
        assert roots <= {"__future__", "os", "datetime", "typing", "importlib", "airflow", "emotion_ops", "kubernetes"}
    assert all(dag.doc_md for dag in dagbag.dags.values())


@pytest.mark.parametrize(("dag_id", "folder"), [("emotion_nightly", "nightly"), ("emotion_isolated", "isolated")])
def test_an_example_dag_runs_without_a_date(dag_id: str, folder: str, dagbag: Any) -> None:
    assert dagbag.get_dag(dag_id).test(logical_date=None).state == "success"
    assert pq.read_table(HOME / folder).num_rows == 9


def test_shards_are_mapped_and_one_event_is_emitted_for_the_whole(dagbag: Any) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    run = dagbag.get_dag("emotion_shards").test(logical_date=None)
    assert run.state == "success"
    assert pq.read_table(HOME / "emotions").num_rows == 9
    with create_session() as session:
        (event,) = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run.run_id)).all()
        assert event.source_task_id == "check"
        extra = event.extra
    assert (extra["rows"], extra["files"], extra["skipped"], extra["shard"]) == (9, 3, 0, None)
    assert extra["shards"] == len(extra["reports"])


def test_a_consumer_that_was_paused_reads_the_last_of_several_events(dagbag: Any) -> None:
    read = dagbag.get_dag("emotion_shards_consumer").get_task("read").python_callable
    events = [
        SimpleNamespace(timestamp=day, extra={"rows": day, "rows_skipped": 0, "destination": "out"})
        for day in (1, 3, 2)
    ]  # fmt: skip
    assert read({read.__globals__["EMOTIONS"]: events})["rows"] == 3


def test_a_consumer_that_is_triggered_by_hand_has_no_event(dagbag: Any) -> None:
    read = dagbag.get_dag("emotion_shards_consumer").get_task("read").python_callable
    assert read({}) == read(None) == {}


def test_the_pods_of_kubernetes_are_rendered_with_a_command_that_runs(
    dagbag: Any, tiny_model: str, tmp_path: Path
) -> None:
    """There is no cluster: the arguments of each pod are rendered, and run as the entry point of the image runs them."""
    source, out = write_days(tmp_path / "in", 3), tmp_path / "out"
    mapped = dagbag.get_dag("emotion_kubernetes").get_task("enrich")
    arguments = mapped.expand_input.value["arguments"]
    shards = [[text for text in one if "/" in text and text[0].isdigit()] for one in arguments]
    assert shards == [["0/4"], ["1/4"], ["2/4"], ["3/4"]]
    for number, one in enumerate(arguments):
        assert mapped.partial_kwargs["cmds"] == ["emotion-ops"]
        pod = mapped.unmap({"arguments": one})
        params = {"source": str(source), "destination": str(out), "model": tiny_model, "revision": "main"}
        pod.render_template_fields({"params": params})
        built = pod.build_pod_request_obj(dry_run=True)
        (container,) = [one for one in built.spec.containers if one.name == "base"]
        assert container.resources.limits["nvidia.com/gpu"] == "1"
        assert built.spec.restart_policy == "Never"
        given = container.args
        assert "{{" not in " ".join(given)
        place = given.index("--revision")
        given = [*given[:place], *given[place + 2 :]]  # a local folder has no revision
        given[given.index("--device") + 1] = "cpu"
        given[given.index("--manifest") + 1] = str(tmp_path / f"{number}.json")
        subprocess.run([sys.executable, "-m", "emotion_ops", *given], check=True, capture_output=True)
    manifests = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(4)]
    whole = run_task(make("CheckShardsOperator", source=str(source), destination=str(out), manifests=manifests))
    assert (whole["rows"], whole["files"], whole["shards"]) == (9, 3, 4)
