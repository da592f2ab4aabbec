"""The Airflow package among Airflow's other packages: provider, DAGs, shards, gate, lineage, connections."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow_home
import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow_api import Api
from s3_server import running_server

from emotion_ops import ClassifyEmotions, diff_datasets, enrich_dataset
from emotion_ops.errors import (
    DatasetError,
    DestinationBusyError,
    DestinationConflictError,
    GateClosedError,
    OptionError,
)
from emotion_ops.lake import lease
from emotion_ops.lake.gate import Gate, enrich_with_gate
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.testing import faces_table, save_tiny_model

pytestmark = pytest.mark.airflow

HOME = airflow_home.HOME / "data"
DAG_IDS = {"emotion_nightly", "emotion_shards", "emotion_shards_consumer", "emotion_isolated", "emotion_kubernetes"}


def make(operator: str = "EmotionEnrichOperator", **options: Any) -> Any:
    from airflow.sdk import DAG

    import emotion_ops.airflow

    with DAG("d"):
        return getattr(emotion_ops.airflow, operator)(task_id="task", **options)


def run(operator: Any, **api: Any) -> dict[str, Any]:
    """The manifest of a task that succeeds."""
    told = Api(**api)
    done = told.run(operator)
    assert (done.state, done.error) == ("success", None)
    manifest: dict[str, Any] = told.xcoms["return_value"]
    return manifest


def write_days(folder: Path, days: int) -> Path:
    for day in range(days):
        path = folder / f"day={day}" / "rows.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(faces_table(3, seed=day), path)
    return folder


# --- provider -----------------------------------------------------------------------------------------------------


def test_the_provider_info_fits_airflows_schema_and_is_read_without_airflow() -> None:
    import airflow
    import jsonschema

    program = (
        "import json, sys; from emotion_ops.airflow.provider import get_provider_info\n"
        "assert not any(name.partition('.')[0] == 'airflow' for name in sys.modules)\n"
        "print(json.dumps(get_provider_info()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    info = json.loads(done.stdout)
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(info, schema)
    for names in (info["extra-links"], [f"{m}.x" for m in info["operators"][0]["python-modules"]]):
        for name in names:
            module, _, attribute = name.rpartition(".")
            loaded = __import__(module, fromlist=["_"])
            assert attribute == "x" or hasattr(loaded, attribute)


def test_the_package_announces_itself_as_a_provider() -> None:
    found = [point for point in entry_points(group="apache_airflow_provider") if point.module.startswith("emotion_ops")]
    assert [point.value for point in found] == ["emotion_ops.airflow.provider:get_provider_info"]


def test_every_setting_of_the_section_is_read_somewhere() -> None:
    from emotion_ops.airflow.provider import get_provider_info

    code = "".join(path.read_text() for path in (airflow_home.ROOT / "emotion_ops" / "airflow").glob("*.py"))
    for name in get_provider_info()["config"]["emotion_ops"]["options"]:
        assert f'"emotion_ops", "{name}"' in code


def test_the_setting_of_the_report_makes_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from emotion_ops.airflow.links import address_of

    assert address_of("/data/out/_emotion_ops/report.html") == "file:///data/out/_emotion_ops/report.html"
    assert address_of("s3://bucket/out/report.html") == "s3://bucket/out/report.html"
    monkeypatch.setenv("AIRFLOW__EMOTION_OPS__REPORT_URL", "https://files.example.com/{path}")
    assert address_of("s3://bucket/out/report.html") == "https://files.example.com/bucket/out/report.html"
    assert address_of("/data/report.html") == "https://files.example.com/data/report.html"


@pytest.mark.parametrize(
    ("root", "page", "path"),
    [
        ("/data", "/data/out/report.html", "out/report.html"),
        ("/data/", "/data/out/report.html", "out/report.html"),
        ("/data", "/database/report.html", "database/report.html"),
        ("s3://bucket/lake", "s3://bucket/lake/out/report.html", "out/report.html"),
        ("s3://other", "s3://bucket/out/report.html", "bucket/out/report.html"),
    ],
)
def test_the_folder_that_is_served_is_left_off_the_address_of_a_report(
    root: str, page: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion_ops.airflow.links import address_of

    monkeypatch.setenv("AIRFLOW__EMOTION_OPS__REPORT_URL", "http://localhost:8000/{path}")
    monkeypatch.setenv("AIRFLOW__EMOTION_OPS__REPORT_ROOT", root)
    assert address_of(page) == f"http://localhost:8000/{path}"


def test_the_setting_of_the_interpreter_holds_unless_the_task_says_another(monkeypatch: pytest.MonkeyPatch) -> None:
    from emotion_ops.airflow.worker import interpreter

    assert interpreter(None) == sys.executable
    monkeypatch.setenv("AIRFLOW__EMOTION_OPS__PYTHON", "/opt/emotion/bin/python")
    assert interpreter(None) == "/opt/emotion/bin/python"
    assert interpreter("/usr/bin/python3") == "/usr/bin/python3"


# --- DAGs ---------------------------------------------------------------------------------------------------------


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


def test_each_example_dag_has_a_page_and_imports_no_more_than_airflow_and_this_package(dagbag: Any) -> None:
    for path in airflow_home.DAGS.glob("*.py"):
        tree = ast.parse(path.read_text())
        page = ast.get_docstring(tree)
        assert page is not None
        assert "### What it does" in page
        assert "### Make it yours" in page
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
def test_an_example_dag_runs_from_a_trigger_without_a_date(dag_id: str, folder: str, dagbag: Any) -> None:
    assert dagbag.get_dag(dag_id).test(logical_date=None).state == "success"
    assert pq.read_table(HOME / folder).num_rows == 9


def test_shards_are_mapped_and_one_event_tells_of_the_whole(dagbag: Any) -> None:
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


def test_a_consumer_that_was_paused_reads_the_last_of_the_events_that_gathered(dagbag: Any) -> None:
    read = dagbag.get_dag("emotion_shards_consumer").get_task("read").python_callable
    events = [
        SimpleNamespace(timestamp=day, extra={"rows": day, "rows_skipped": 0, "destination": "out"})
        for day in (1, 3, 2)
    ]  # fmt: skip
    assert read({read.__globals__["EMOTIONS"]: events})["rows"] == 3


def test_the_pods_of_kubernetes_are_rendered_and_their_command_is_one_that_the_cli_takes(
    dagbag: Any, tiny_model: str, tmp_path: Path
) -> None:
    """No cluster is here: the arguments of a pod are rendered, and run as the image's entry point would run them."""
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
    whole = run(make("EmotionCheckOperator", source=str(source), destination=str(out), manifests=manifests))
    assert (whole["rows"], whole["files"], whole["shards"]) == (9, 3, 4)


# --- shards -------------------------------------------------------------------------------------------------------


def test_shards_cover_every_file_once_and_none_is_empty(tmp_path: Path) -> None:
    from emotion_ops.lake.plan import in_shard
    from emotion_ops.lake.shards import plan_shards

    source = write_days(tmp_path / "in", 7)
    keys = [f"day={day}/rows.parquet" for day in range(7)]
    for most in (1, 3, 16):
        shards = plan_shards(source, max_shards=most)
        assert len(shards) <= most
        assert all(sum(in_shard(key, shard) for shard in shards) == 1 for key in keys)
        assert all(any(in_shard(key, shard) for key in keys) for shard in shards)
    assert {count for _, count in plan_shards(source, min_files=3)} == {2}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> tuple[Path, Path, list[dict[str, Any]]]:
    """A dataset enriched in two shards, and their manifests."""
    from emotion_ops.lake.manifest import build_manifest

    folder = tmp_path_factory.mktemp("sharded")
    source, operator = write_days(folder / "in", 4), ClassifyEmotions(model=tiny_model)
    manifests = [
        build_manifest(enrich_dataset(source, folder / "out", operator, shard=(i, 2)), operator, shard=(i, 2))
        for i in range(2)
    ]
    return source, folder / "out", manifests


def test_the_whole_is_the_sum_of_its_shards(sharded: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    from emotion_ops.lake.shards import check_shards

    source, out, manifests = sharded
    whole = check_shards(source, out, manifests, verify=True)
    assert (whole["rows"], whole["files"], whole["shards"], whole["verified"]) == (12, 4, 2, True)
    assert sum(whole["summary"]["labels"].values()) == 12
    assert whole["fingerprint"] == manifests[0]["fingerprint"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda parts: parts[:1], "the shards tell of"),
        (lambda parts: [parts[0], parts[0]], "not the parts of one job"),
        (lambda parts: [parts[0], {**parts[1], "shard": [1, 3]}], "not the parts of one job"),
        (lambda parts: [parts[0], {**parts[1], "shard": None}], "not the parts of one job"),
        (lambda parts: [parts[0], {**parts[1], "fingerprint": "0" * 64}], "differ in fingerprint"),
        (lambda parts: [{**part, "fingerprint": "0" * 64} for part in parts], "was made by another operator"),
        (lambda parts: [], "there are none"),
    ],
)
def test_a_whole_that_is_not_whole_is_refused(
    change: Any, text: str, sharded: tuple[Path, Path, list[dict[str, Any]]]
) -> None:
    from emotion_ops.errors import DatasetError
    from emotion_ops.lake.shards import check_shards

    source, out, manifests = sharded
    with pytest.raises(DatasetError, match=text):
        check_shards(source, out, change(manifests))


def test_a_file_that_came_meanwhile_is_missed_and_the_check_is_retried(
    sharded: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    import shutil

    source, out, manifests = sharded
    shutil.copytree(source, tmp_path / "in", copy_function=shutil.copy2)
    write_days(tmp_path / "in" / "late", 1)
    api = Api(retries=True)
    done = api.run(
        make("EmotionCheckOperator", source=str(tmp_path / "in"), destination=str(out), manifests=manifests)
    )  # fmt: skip
    assert "1 files are not done: late/day=0/rows.parquet (waiting)" in str(done.error)
    assert api.states[-1]["state"] == "up_for_retry"


# --- gate ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("models") / "other", seed=5))


def test_a_gate_keeps_an_output_apart_until_it_may_pass(tiny_model: str, other_model: str, tmp_path: Path) -> None:
    source, out = write_days(tmp_path / "in", 2), tmp_path / "out"
    places = {"source": str(source), "destination": str(out), "compare_to": str(out), "overwrite": True}
    options = {**places, "candidate": str(tmp_path / "candidate"), "max_change_rate": 0.0}
    first = run(make(**options, model=tiny_model))
    assert "compared" not in first  # there was nothing to hold it against
    before = {path: path.read_bytes() for path in out.rglob("day=*/*.parquet")}
    assert len(before) == 2

    api = Api(retries=True)
    done = api.run(make(**options, model=other_model))
    assert "of the rows changed their category, more than 0" in str(done.error)
    assert f"it is kept in {tmp_path / 'candidate'}" in str(done.error)
    assert api.states[-1]["state"] == "failed"
    assert {path: path.read_bytes() for path in out.rglob("day=*/*.parquet")} == before

    passed = run(make(**{**options, "max_change_rate": 1.0}, model=other_model))
    assert passed["compared"]["changes"] > 0
    assert (passed["files"], passed["skipped"]) == (0, 2)  # the candidate stood, and was not computed again
    assert passed["destination"] == str(out)
    assert diff_datasets(out, tmp_path / "candidate", max_changes=0, max_drift=0.0).exceeded == ()
    report = enrich_dataset(source, out, ClassifyEmotions(model=other_model))
    assert (report.files, report.skipped) == (0, 2)  # what was let through is what enrich_dataset writes


def test_a_gate_without_a_candidate_publishes_and_fails_the_task(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source = write_days(tmp_path / "in", 1)
    enrich_dataset(source, tmp_path / "old", ClassifyEmotions(model=tiny_model))
    api = Api(retries=True)
    done = api.run(
        make(
            source=str(source), destination=str(tmp_path / "new"), model=other_model, compare_to=str(tmp_path / "old"),
            max_drift=0.0001,
        )
    )  # fmt: skip
    assert f"it is published in {tmp_path / 'new'}" in str(done.error)
    assert api.states[-1]["state"] == "failed"
    assert pq.read_table(tmp_path / "new").num_rows == 3


def test_a_candidate_with_more_failed_rows_than_allowed_is_kept_apart(tiny_model: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"no image", *faces_table(3)["image"].combine_chunks().field("bytes").to_pylist()]}),
                   tmp_path / "in.parquet")  # fmt: skip
    options = {
        "source": str(tmp_path / "in.parquet"), "destination": str(tmp_path / "out"), "model": tiny_model,
        "candidate": str(tmp_path / "candidate"),
    }  # fmt: skip
    done = Api().run(make(**options, max_error_rate=0.1))
    assert "1 of 4 rows failed, more than max_error_rate=0.1 allows" in str(done.error)
    assert not (tmp_path / "out").exists()
    assert run(make(**options, max_error_rate=0.25))["error_rate"] == 0.25
    assert pq.read_metadata(tmp_path / "out" / "in.parquet").num_rows == 4


def test_a_check_of_shards_holds_the_whole_against_a_previous_output_and_emits_no_event_where_it_differs(
    sharded: tuple[Path, Path, list[dict[str, Any]]], other_model: str, tmp_path: Path
) -> None:
    from airflow.sdk import Asset

    source, out, manifests = sharded
    enrich_dataset(source, tmp_path / "old", ClassifyEmotions(model=other_model))
    options = {
        "source": str(source), "destination": str(out), "manifests": manifests, "compare_to": str(tmp_path / "old"),
        "outlets": [Asset("whole")],
    }  # fmt: skip
    api = Api(retries=True)
    done = api.run(make("EmotionCheckOperator", **options, max_drift=0.0001))
    assert "a probability drifted by" in str(done.error)
    assert api.states[-1]["state"] == "failed"
    assert "outlet_events" not in api.states[-1]
    assert run(make("EmotionCheckOperator", **options, max_change_rate="{{ 1.0 }}"))["compared"]["rows"] == 12


def test_a_gate_killed_while_it_lets_files_through_goes_on(tiny_model: str, tmp_path: Path) -> None:
    """The first output ever: half of it stands when the run dies, and is no previous output for the next try."""
    source, out = write_days(tmp_path / "in", 3), tmp_path / "out"
    gate = Gate(compare_to=str(out), candidate=str(tmp_path / "candidate"), min_coverage=1.0)
    operator = ClassifyEmotions(model=tiny_model)
    (out / "day=1").mkdir(parents=True)
    (out / "day=1" / "rows.parquet").mkdir()  # nothing can be published there
    with pytest.raises(DatasetError, match="day=1/rows"):
        enrich_with_gate(gate, str(source), str(out), operator)
    assert [path.parent.name for path in out.glob("*/*.parquet") if path.is_file()] == ["day=0"]
    (out / "day=1" / "rows.parquet").rmdir()
    report, difference = enrich_with_gate(gate, str(source), str(out), operator)
    assert (report.skipped, difference) == (3, None)
    assert pq.read_table(out).num_rows == 9
    _, difference = enrich_with_gate(gate, str(source), str(out), operator)  # by now there is a previous output
    assert difference is not None


def test_what_passed_is_held_against_the_previous_output_again_if_it_or_the_limit_changed(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source, out, candidate = write_days(tmp_path / "in", 2), tmp_path / "out", tmp_path / "candidate"
    enrich_dataset(source, out, ClassifyEmotions(model=tiny_model))
    places = {"compare_to": str(out), "candidate": str(candidate)}
    operator = ClassifyEmotions(model=other_model)
    with lease.hold(Folder(str(out)), ""), pytest.raises(DestinationBusyError):
        enrich_with_gate(Gate(**places, max_change_rate=1.0), str(source), str(out), operator, overwrite=True)
    with pytest.raises(GateClosedError):
        enrich_with_gate(Gate(**places, max_drift=0.0), str(source), str(out), operator, overwrite=True)


def test_a_gate_replaces_nothing_that_another_run_published_meanwhile(tiny_model: str, tmp_path: Path) -> None:
    source, out = write_days(tmp_path / "in", 2), tmp_path / "out"
    gate = Gate(candidate=str(tmp_path / "candidate"))
    other = ClassifyEmotions(model=tiny_model, prefix="other")

    def publish(_: Any) -> None:
        if not (out / "day=1").exists():
            enrich_dataset(source, out, other)

    with pytest.raises(DestinationConflictError, match="changed since this run planned to replace it") as told:
        enrich_with_gate(gate, str(source), str(out), ClassifyEmotions(model=tiny_model), on_progress=publish)
    assert told.value.retryable
    assert "other_happy" in pq.read_schema(out / "day=0" / "rows.parquet").names
    with pytest.raises(DestinationConflictError, match="stands already, made otherwise"):
        enrich_with_gate(gate, str(source), str(out), ClassifyEmotions(model=tiny_model))


def test_a_candidate_is_apart_from_the_destination_and_from_what_it_is_held_against(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source, out, old = write_days(tmp_path / "in", 1), tmp_path / "lake" / "out", tmp_path / "lake" / "old"
    for place in (out, old):
        enrich_dataset(source, place, ClassifyEmotions(model=tiny_model))
    before = {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*.parquet")}
    operator = ClassifyEmotions(model=other_model)
    for candidate, compare_to in (
        (out, None), (old, old), (out, out), (out / "candidate", None), (out / "_candidate", None), (old / "new", old),
        (tmp_path / "lake", None), (tmp_path / "lake", old), (old / "day=0", f"{old}/*/rows.parquet"),
        (tmp_path / "candidate.parquet", None),
    ):  # fmt: skip
        limits = {} if compare_to is None else {"compare_to": str(compare_to), "max_changes": 9}
        with pytest.raises(OptionError, match="candidate"):
            enrich_with_gate(Gate(candidate=str(candidate), **limits), str(source), str(out), operator, overwrite=True)
    with pytest.raises(OptionError, match="destination"):
        enrich_with_gate(Gate(candidate=str(tmp_path / "c")), str(source), str(tmp_path / "x.parquet"), operator)
    for compare_to in (out, out / "day=0", tmp_path / "lake"):
        with pytest.raises(OptionError, match="held against itself"):
            enrich_with_gate(Gate(compare_to=str(compare_to), max_changes=9), str(source), str(out), operator)
    assert {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*.parquet")} == before
    assert not (tmp_path / "x.parquet").exists()


def test_a_candidate_replaces_no_file_that_no_gate_put_there(tiny_model: str, tmp_path: Path) -> None:
    source, candidate, foreign = write_days(tmp_path / "in", 1), tmp_path / "candidate", tmp_path / "foreign"
    operator = ClassifyEmotions(model=tiny_model)
    for folder in (candidate, foreign):
        write_days(folder, 1)
        before = (folder / "day=0" / "rows.parquet").read_bytes()
        with pytest.raises(DestinationConflictError, match="that are no candidate's"):
            enrich_with_gate(Gate(candidate=str(folder)), str(source), str(tmp_path / "out"), operator)
        assert (folder / "day=0" / "rows.parquet").read_bytes() == before
    (candidate / "day=0" / "rows.parquet").unlink()
    enrich_with_gate(Gate(candidate=str(candidate)), str(source), str(tmp_path / "out"), operator)
    with pytest.raises(DestinationConflictError, match="candidate of another destination"):
        enrich_with_gate(Gate(candidate=str(candidate)), str(source), str(tmp_path / "elsewhere"), operator)
    write_days(candidate, 1)
    with pytest.raises(DestinationConflictError, match="was not written by this package"):
        enrich_with_gate(Gate(candidate=str(candidate)), str(source), str(tmp_path / "out"), operator)
    assert pq.read_table(tmp_path / "out").num_rows == 3


@pytest.mark.parametrize(
    ("option", "value"), [("limit", 0), ("limit", 1), ("retry_errors", True), ("prune", True), ("dry_run", True)]
)
def test_what_would_publish_a_part_or_nothing_goes_with_no_candidate(
    option: str, value: Any, tiny_model: str, tmp_path: Path
) -> None:
    source, gate = write_days(tmp_path / "in", 2), Gate(candidate=str(tmp_path / "candidate"))
    operator = ClassifyEmotions(model=tiny_model)
    with pytest.raises(OptionError, match=option):
        enrich_with_gate(gate, str(source), str(tmp_path / "out"), operator, **{option: value})
    assert not (tmp_path / "candidate").exists()


def test_a_check_of_shards_against_their_own_output_is_refused_before_any_work(
    sharded: tuple[Path, Path, list[dict[str, Any]]],
) -> None:
    source, out, manifests = sharded
    options = {"source": str(source), "destination": str(out), "compare_to": str(out), "manifests": manifests[:1]}
    api = Api(retries=True)
    done = api.run(make("EmotionCheckOperator", **options, max_changes=0))
    assert "held against itself" in str(done.error)
    assert api.states[-1]["state"] == "failed"


def test_what_a_destination_refuses_a_gate_refuses_before_any_work(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source, out = write_days(tmp_path / "in", 1), tmp_path / "out"
    enrich_dataset(source, out, ClassifyEmotions(model=tiny_model))
    options = {"source": str(source), "destination": str(out), "compare_to": str(out), "model": other_model}
    for change, text in (
        ({"candidate": str(tmp_path / "candidate"), "max_changes": 9}, "stands already, made otherwise"),
        ({"candidate": str(tmp_path / "candidate"), "max_changes": 9, "overwrite": True, "prune": True}, "prune"),
        ({"max_changes": 9, "overwrite": True}, "held against itself"),
        ({"max_changes": 9, "shard": [0, 2]}, "a gate looks at the whole"),
        ({}, "give a limit too"),
    ):
        done = Api(retries=True).run(make(**options, **change))
        assert text in str(done.error)
        assert not (tmp_path / "candidate").exists()


# --- lineage ------------------------------------------------------------------------------------------------------


def test_openlineage_is_told_the_datasets_the_columns_and_the_numbers(tiny_model: str, tmp_path: Path) -> None:
    source = write_days(tmp_path / "in", 2)
    operator = make(source=str(source), destination=str(tmp_path / "out"), model=tiny_model, columns=["id"])
    assert operator.get_openlineage_facets_on_complete(None) is None  # it has not run
    operator.execute({"outlet_events": {}})
    found = operator.get_openlineage_facets_on_complete(None)
    assert [(one.namespace, one.name) for one in found.inputs] == [("file", str(source))]
    (output,) = found.outputs
    assert (output.namespace, output.name) == ("file", str(tmp_path / "out"))
    fields = output.facets["columnLineage"].fields
    assert list(fields) == list(ClassifyEmotions(model=tiny_model).output_columns().names)
    (made_of,) = fields["emotion_happy"].inputFields
    assert (made_of.namespace, made_of.name, made_of.field) == ("file", str(source), "image")
    statistics = output.outputFacets["outputStatistics"]
    assert (statistics.rowCount, statistics.fileCount) == (6, 2)
    assert statistics.size > 0


def test_a_name_with_signs_of_urls_in_it_is_told_whole_and_linked_to() -> None:
    from emotion_ops.airflow.lineage import dataset_of
    from emotion_ops.airflow.links import address_of

    assert dataset_of("/data/a#1?/in") == ("file", "/data/a#1?/in")
    assert dataset_of("s3://key:password@lake/in?region=x") == ("s3://lake", "in")
    assert address_of("/data/a#1 b/report.html") == "file:///data/a%231%20b/report.html"


# --- connections --------------------------------------------------------------------------------------------------

SECRET = "a-secret-of-the-tests"


@pytest.fixture(scope="module")
def store() -> Iterator[int]:
    with running_server() as port:
        yield port


def test_an_airflow_connection_opens_source_destination_and_images_and_its_secret_stays_out_of_the_log(
    store: int, tiny_model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import ObjectStoragePath

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    endpoint = f"http://127.0.0.1:{store}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="key", aws_secret_access_key=SECRET, region_name="us-east-1"
    )
    client.create_bucket(Bucket="lake")
    faces = faces_table(4)
    for row, cell in enumerate(faces["image"].to_pylist()):
        client.put_object(Bucket="lake", Key=f"images/{row}.jpg", Body=cell["bytes"])
    table = pa.table({"id": range(4), "image": [f"s3://lake/images/{row}.jpg" for row in range(4)]})
    pq.write_table(table, tmp_path / "rows.parquet")
    client.upload_file(str(tmp_path / "rows.parquet"), "lake", "in/day=1/rows.parquet")

    extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "key", "password": SECRET, "extra": json.dumps(extra)}
    operator = make(
        source=ObjectStoragePath("s3://lake_store@lake/in"), destination="s3://lake_store@lake/{{ run_id }}",
        model=tiny_model, allow=["s3"],
    )  # fmt: skip
    manifest = run(operator, connections={"lake_store": connection})
    assert (manifest["rows"], manifest["errors"], manifest["destination"]) == (4, {}, "s3://lake/r")
    body = client.get_object(Bucket="lake", Key="r/day=1/rows.parquet")["Body"].read()
    assert pq.read_table(pa.BufferReader(body))["emotion_error"].null_count == 4
    assert SECRET not in "".join(capfd.readouterr())
    assert run(operator, connections={"lake_store": connection})["skipped"] == 1


def test_a_password_in_a_uri_is_masked_as_soon_as_it_is_rendered() -> None:
    from airflow.sdk._shared.secrets_masker import redact

    operator = make(source=["{{ where }}", "in/"], destination="out/")
    operator.render_template_fields({"where": "s3://key:a-password-of-a-uri@bucket/in"})
    assert operator.source == ["s3://key:a-password-of-a-uri@bucket/in", "in/"]
    assert "a-password-of-a-uri" not in str(redact(f"reading {operator.source}"))


def test_a_password_and_a_token_of_a_mapped_task_are_masked_too() -> None:
    from types import SimpleNamespace

    from airflow.sdk import DAG
    from airflow.sdk._shared.secrets_masker import redact

    from emotion_ops.airflow import EmotionEnrichOperator

    with DAG("d") as dag:
        mapped = EmotionEnrichOperator.partial(
            task_id="enrich", source="s3://key:password-of-a-mapped-task@bucket/in", destination="out/",
            env={"HF_TOKEN": "token-of-a-mapped-task", "HF_HOME": "/hub"},
        ).expand(shard=[[0, 2], [1, 2]])  # fmt: skip
    ti = SimpleNamespace(map_index=0, task=mapped, is_mapped=True)
    context: Any = {
        "ti": ti, "task_instance": ti, "task": mapped, "expanded_ti_count": 2, "params": {}, "run_id": "r", "dag": dag,
        "dag_run": SimpleNamespace(conf={}),
    }  # fmt: skip
    mapped.render_template_fields(context)
    said = str(redact(f"reading {context['ti'].task.source} with {context['ti'].task.env}"))
    assert "password-of-a-mapped-task" not in said
    assert "token-of-a-mapped-task" not in said
    assert "/hub" in said


def test_nothing_of_the_workers_own_credentials_is_mixed_with_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import BaseHook, Connection

    from emotion_ops.airflow.stores import environment_of

    connection = Connection(conn_id="lake", conn_type="aws", login="key", password=SECRET)
    monkeypatch.setattr(BaseHook, "get_connection", lambda name: connection)
    found = environment_of([("s3", "lake")])
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]) == ("key", SECRET)
    for away in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        assert found[away] is None
    connection.login = connection.password = None  # by which Airflow too takes the worker's own
    assert "AWS_SESSION_TOKEN" not in environment_of([("s3", "lake")])


@pytest.mark.parametrize(
    ("uri", "plain", "connection"),
    [
        ("s3://lake@bucket/in", "s3://bucket/in", "lake"),
        ("abfss://container@account.dfs.core.windows.net/in", None, None),
        ("sftp://me@host/in", None, None),
        ("gs://anonymous@bucket/in", None, None),
        ("s3://key:password@bucket/in", None, None),
    ],
)
def test_what_stands_before_an_at_is_a_connection_only_where_it_can_be_no_user(
    uri: str, plain: str | None, connection: str | None
) -> None:
    from emotion_ops.airflow.stores import without_connection

    assert without_connection(uri) == (plain or uri, connection)


# --- templates ----------------------------------------------------------------------------------------------------


def test_lists_sets_and_nothing_come_through_templates_as_what_they_are(tmp_path: Path) -> None:
    lists = {"allow": ["http", "https"], "days": ["in/a", "in/b"], "columns": ["id", "-image"], "shard": (0, 2)}
    operator = make(
        source="{{ params.days }}", destination="out/", python="{{ none }}", conn_id="{{ none }}",
        allow="{{ params.allow }}", allow_hosts="{{ 'here' }}", columns="{{ params.columns }}",
        shard="{{ params.shard }}", retry_errors={"unreadable"}, candidate="{{ none }}",
    )  # fmt: skip
    operator.render_template_fields({"params": lists})
    request, environment = operator._request()
    assert request["source"] == ["in/a", "in/b"]
    assert request["operator"] == {"allow": ["http", "https"], "allow_hosts": ["here"]}
    expected = {"columns": ["id", "-image"], "shard": [0, 2], "retry_errors": ["unreadable"]}
    assert {name: request["options"][name] for name in expected} == expected
    assert (environment, request["gate"]) == ({}, None)

    class Lazy(Sequence[str]):
        """What mapped tasks returned, as Airflow hands it over."""

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: Any) -> Any:
            return ["in/a", "in/b"][index]

    operator.source = Lazy()
    assert operator._request()[0]["source"] == ["in/a", "in/b"]


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("EmotionEnrichOperator", {"allow": "{{ '[http' }}"}, "it is no list"),
        ("EmotionEnrichOperator", {"progress_seconds": "often"}, "progress_seconds='often' cannot be used"),
        ("EmotionEnrichOperator", {"env": {"A=B": "c"}}, "check the names and values in env="),
        ("EmotionEnrichOperator", {"env": {"A": "b\0"}}, "check the names and values in env="),
        ("EmotionEnrichOperator", {"python": ["python"]}, "give a text"),
        ("EmotionCheckOperator", {"manifests": [{}, None]}, "a task that was skipped returned none"),
        ("EmotionCheckOperator", {"manifests": None}, "a task that was skipped returned none"),
        ("EmotionCheckOperator", {"manifests": {"shard": None, "destination": "o", "summary": {}}}, "not the parts"),
    ],
)
def test_what_templates_give_that_cannot_work_fails_without_a_retry(
    name: str, options: dict[str, Any], text: str, tmp_path: Path
) -> None:
    api = Api(retries=True)
    source = write_days(tmp_path / "in", 1)
    done = api.run(make(name, source=str(source), destination=str(tmp_path / "out"), **options))
    assert text in str(done.error)
    assert api.states[-1]["state"] == "failed"


# --- manifest -----------------------------------------------------------------------------------------------------


def test_the_build_manifest_a_second_run_knows_the_failed_rows_of_the_first(tiny_model: str, tmp_path: Path) -> None:
    from emotion_ops.lake.manifest import build_manifest, merge_manifests

    pq.write_table(
        pa.table({"image": [b"no image", faces_table(1)["image"][0].as_py()["bytes"]]}), tmp_path / "in.parquet"
    )
    operator = ClassifyEmotions(model=tiny_model)
    reports = [enrich_dataset(tmp_path / "in.parquet", tmp_path / "out", operator) for _ in range(2)]
    first, second = (build_manifest(report, operator, shard=(0, 1)) for report in reports)
    assert (first["failed"], first["failed_skipped"], first["error_rate"]) == (1, 0, 0.5)
    assert (second["failed"], second["failed_skipped"], second["error_rate"]) == (0, 1, 0.5)
    slow = {**first, "shard": [1, 2], "seconds": 1e6, "limit": "storage", "outcome": "planned"}
    whole = merge_manifests([{**second, "shard": [0, 2]}, slow])
    assert (whole["failed"], whole["failed_skipped"], whole["error_rate"]) == (1, 1, 0.5)
    assert (whole["limit"], whole["outcome"]) == ("storage", "planned")


def test_a_consumer_that_is_triggered_by_hand_says_that_no_event_came(dagbag: Any) -> None:
    read = dagbag.get_dag("emotion_shards_consumer").get_task("read").python_callable
    assert read({}) == read(None) == {}


# --- docs ---------------------------------------------------------------------------------------------------------


def test_the_reference_names_every_argument_of_the_operators_and_every_setting_and_value_of_the_manifest(
    sharded: tuple[Path, Path, list[dict[str, Any]]],
) -> None:
    import inspect

    import emotion_ops.airflow
    from emotion_ops.airflow.base import WorkerOperator
    from emotion_ops.airflow.enrich import JOB_OPTIONS, OPERATOR_OPTIONS
    from emotion_ops.airflow.provider import get_provider_info

    text = (airflow_home.ROOT / "docs" / "reference.md").read_text()
    part = text.partition("## Airflow")[2].partition("\n## ")[0]
    kinds = [getattr(emotion_ops.airflow, name) for name in emotion_ops.airflow.__all__ if name.endswith("Operator")]
    arguments = {name for kind in (*kinds, WorkerOperator) for name in inspect.signature(kind.__init__).parameters}
    settings = get_provider_info()["config"]["emotion_ops"]["options"]
    known_elsewhere = {"self", "kwargs", *OPERATOR_OPTIONS, *JOB_OPTIONS}
    for name in (*(arguments - known_elsewhere), *emotion_ops.airflow.__all__, *settings, *sharded[2][0]):
        assert name in part, name
