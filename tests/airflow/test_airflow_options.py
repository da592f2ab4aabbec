"""Arguments of the Airflow operators: all of the table operator's and the job's, templates, and what reaches the worker."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from airflow_api import Api
from airflow_tasks import make
from faces_model import Marked
from sharded import write_days
from write_airflow_operator import FILE, write_module

from emotion_ops import ClassifyEmotions, EmotionOpsError, enrich_dataset
from emotion_ops.cli.failures import describe_failure
from emotion_ops.cli.job import _do
from emotion_ops.cli.operators import job_arguments, job_flags, make_operator
from emotion_ops.flags.fields import read_flags
from emotion_ops.lake.gate import Gate
from emotion_ops.lake.shards import check_shards, plan_shards

pytestmark = pytest.mark.airflow

OPERATORS = ["EnrichOperator", "EmotionEnrichOperator", "PlanShardsOperator", "CheckShardsOperator"]


def own_arguments(kind: type[Any]) -> set[str]:
    return {
        argument
        for base in kind.__mro__
        if base.__module__.startswith("emotion_ops")
        for argument, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def request_of(**arguments: Any) -> dict[str, Any]:
    """The request to the worker, after rendering with ``params``."""
    params = arguments.pop("params", {})
    operator = make(**{"source": "in", "destination": "out", **arguments})
    operator.render_template_fields({"params": params})
    return operator._request()[0]


def test_the_operator_for_emotions_is_written_from_the_table_operators_own_fields() -> None:
    """If it fails: python scripts/write_airflow_operator.py"""
    assert FILE.read_text() == write_module()


def test_every_option_of_the_table_operator_is_an_argument_with_its_default() -> None:
    from emotion_ops.airflow import emotions

    arguments = inspect.signature(emotions.EmotionEnrichOperator.__init__).parameters
    flags = read_flags(ClassifyEmotions).flags
    assert set(emotions.DEFAULTS) == set(flags)
    for name, flag in flags.items():
        default = None if flag.default is dataclasses.MISSING else flag.default
        assert arguments[name].default == emotions.DEFAULTS[name] == default, name


def test_every_option_of_a_job_and_of_its_gate_is_an_argument_with_its_default() -> None:
    from emotion_ops.airflow import enrich

    arguments = inspect.signature(enrich.EnrichOperator.__init__).parameters
    flags = job_flags().without("dry_run", "wait").flags
    assert set(enrich.JOB_DEFAULTS) == set(flags)
    for name, flag in flags.items():
        assert arguments[name].default == enrich.JOB_DEFAULTS[name] == flag.default, name
    assert inspect.signature(enrich_dataset).parameters["dry_run"].default is False


def test_every_option_of_shards_is_an_argument_with_its_default() -> None:
    from emotion_ops.airflow import CheckShardsOperator, PlanShardsOperator

    for kind, sources in ((PlanShardsOperator, [plan_shards]), (CheckShardsOperator, [check_shards, Gate])):
        arguments = inspect.signature(kind.__init__).parameters
        for source in sources:
            for name, flag in read_flags(source).flags.items():
                if name != "staging":  # the outputs of shards are published already
                    assert arguments[name].default == flag.default, name


@pytest.mark.parametrize("name", OPERATORS)
def test_every_argument_is_a_template_and_an_attribute(name: str) -> None:
    import emotion_ops.airflow

    kind = getattr(emotion_ops.airflow, name)
    arguments = own_arguments(kind)
    assert set(kind.template_fields) == arguments - {"progress_seconds"}
    given = {argument: f"{{{{ params.{argument} }}}}" for argument in arguments - {"operator"}}
    operator = make(name, **given)
    assert all(getattr(operator, argument) is value for argument, value in given.items())


@pytest.mark.parametrize("argument", ["model", "options", "overwrite", "source"])
def test_a_result_of_another_task_may_be_an_argument_also_of_a_mapped_task(argument: str) -> None:
    from airflow.sdk import DAG, task

    from emotion_ops.airflow import EmotionEnrichOperator

    with DAG("d"):

        @task
        def choose() -> str:
            return "demo"

        arguments = {"source": "in", "destination": "out", argument: choose()}
        single = EmotionEnrichOperator(task_id="single", **arguments)
        mapped = EmotionEnrichOperator.partial(task_id="mapped", **arguments).expand(shard=[[0, 2], [1, 2]])
    assert single.upstream_task_ids == mapped.upstream_task_ids == {"choose"}


def test_text_from_templates_means_the_value_that_its_option_has() -> None:
    params = {"again": False, "rate": 0.25, "rows": 4, "faces": "all", "shard": [0, 1]}
    request = request_of(
        params=params, overwrite="{{ params.again }}", max_error_rate="{{ params.rate }}",
        batch_size="{{ params.rows }}", limit="{{ none }}", threads="auto", report_page="{{ not params.again }}",
        retry_errors="unreadable", columns=["-image", "{{ 'id' }}"], faces="{{ params.faces }}",
        face_threshold="{{ params.rate }}", shard="{{ params.shard }}", revision="{{ none }}",
    )  # fmt: skip
    operator = make_operator(request["operator"], request["options"])
    assert operator == ClassifyEmotions(batch_size=4, faces={"which": "all", "threshold": 0.25})
    assert job_arguments(request["job"]) == {
        "overwrite": False, "max_error_rate": 0.25, "limit": None, "report_page": True, "retry_errors": ["unreadable"],
        "columns": ["-image", "id"], "shard": [0, 1], "wait": 120.0, "dry_run": False,
    }  # fmt: skip


def test_options_that_have_their_defaults_are_not_sent() -> None:
    request = request_of(model="demo")
    assert (request["operator"], request["options"]) == ("classify_emotions", {"model": "demo"})
    assert request["job"] == {"wait": 120.0, "dry_run": False}


def test_an_operator_of_any_name_takes_options_flat_or_in_groups_with_templates_inside() -> None:
    params = {"which": "all", "side": 900}
    options = {
        "faces": {"which": "{{ params.which }}", "threshold": "{{ 0.8 }}"}, "max_side": "{{ params.side }}",
        "labels": {"above": {"happy": "{{ 0.4 }}"}}, "access": {"allow": ["s3", "{{ 'https' }}"]},
    }  # fmt: skip
    request = request_of(name="EnrichOperator", operator="{{ 'classify_emotions' }}", options=options, params=params)
    assert make_operator(request["operator"], request["options"]) == ClassifyEmotions(
        faces={"which": "all", "threshold": 0.8}, limits={"max_side": 900}, labels={"happy": 0.4},
        access={"allow": ("s3", "https")},
    )  # fmt: skip
    whole = request_of(name="EnrichOperator", options="{{ params }}", params={"image": "photo"})
    assert make_operator("image_statistics", whole["options"]).inputs == ("photo",)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (0.3, 0.3), ("0.3", 0.3), ("{{ params.one }}", 0.3), ("{{ params.some }}", {"happy": 0.4, "sad": 0.2}),
        ('{"happy": 0.4}', {"happy": 0.4}), ("happy=0.4,sad=0.2", {"happy": 0.4, "sad": 0.2}),
        ({"happy": "{{ params.one }}"}, {"happy": 0.3}), ([("happy", 0.4)], {"happy": 0.4}),
        ("[('happy', 0.4)]", {"happy": 0.4}), ("{{ none }}", None), (None, None),
    ],
)  # fmt: skip
def test_thresholds_reach_the_worker_as_numbers_in_every_form(given: Any, meant: Any) -> None:
    request = request_of(labels_above=given, params={"one": 0.3, "some": {"happy": 0.4, "sad": 0.2}})
    operator = make_operator("classify_emotions", request["options"])
    assert operator == ClassifyEmotions(labels={"above": meant})


def test_lists_sets_and_none_keep_their_meaning_in_templates() -> None:
    lists = {"allow": ["http", "https"], "days": ["in/a", "in/b"], "columns": ["id", "-image"], "shard": (0, 2)}
    operator = make(
        source="{{ params.days }}", destination="out/", python="{{ none }}", conn_id="{{ none }}",
        allow="{{ params.allow }}", allow_hosts="{{ 'here' }}", columns="{{ params.columns }}",
        shard="{{ params.shard }}", retry_errors={"unreadable"}, staging="{{ none }}",
    )  # fmt: skip
    operator.render_template_fields({"params": lists})
    request, environment = operator._request()
    assert request["source"] == ["in/a", "in/b"]
    made = make_operator("classify_emotions", request["options"])
    assert made == ClassifyEmotions(access={"allow": ("http", "https"), "allow_hosts": ("here",)})
    job = job_arguments(request["job"])
    assert (job["columns"], job["shard"], job["retry_errors"]) == (["id", "-image"], [0, 2], ["unreadable"])
    assert (environment, job["gate"]) == ({}, None)

    class Lazy(Sequence[str]):
        """What mapped tasks returned, in the form that Airflow gives it."""

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: Any) -> Any:
            return ["in/a", "in/b"][index]

    operator.source = Lazy()
    assert operator._request()[0]["source"] == ["in/a", "in/b"]


@pytest.mark.parametrize("option", ["detector", "calibration"])
def test_a_path_on_the_workers_disk_may_have_the_forms_that_airflow_has_for_files(option: str) -> None:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.exceptions import AirflowFailException

    for value in ("/a b/y.onnx", "file:///a%20b/y.onnx", ObjectStoragePath("file:///a b/y.onnx"), Path("/a b/y.onnx")):
        assert request_of(**{option: value})["options"] == {option: "/a b/y.onnx"}
    assert request_of(**{option: "None"})["options"] == {}
    for elsewhere in ("s3://bucket/y.onnx", ObjectStoragePath("s3://bucket/y.onnx"), "file://host/y.onnx"):
        with pytest.raises(AirflowFailException, match=f"{option}='.*give its path there"):
            request_of(**{option: elsewhere})
    nested = request_of(name="EnrichOperator", options={"faces": {"detector": ObjectStoragePath("file:///a b/y.onnx")}})
    assert nested["options"] == {"faces": {"detector": "/a b/y.onnx"}}


def test_a_function_among_options_is_refused_where_the_dag_is_written() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    for arguments in (
        {"detector": Marked()},
        {"name": "EnrichOperator", "options": {"detector": len}},
        {"name": "EnrichOperator", "options": {"faces": {"detector": len}}},
    ):
        with pytest.raises(AirflowFailException, match="options travel to another process as JSON"):
            make(**{"source": "in", "destination": "out", **arguments})


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("EmotionEnrichOperator", {"overwrite": "{{ 'perhaps' }}"}, "overwrite='perhaps' cannot be used: give true or false"),
        ("EmotionEnrichOperator", {"labels_above": "happy"}, "labels_above='happy' cannot be used"),
        ("EmotionEnrichOperator", {"labels_above": "{'happy': }"}, "labels_above="),
        ("EmotionEnrichOperator", {"labels_above": {}}, "labels_above={} cannot be used"),
        ("EmotionEnrichOperator", {"labels_above": {"happy": "much"}}, "labels_above='much' cannot be used"),
        ("EmotionEnrichOperator", {"labels_above": [("happy", 0.4), ("happy", 0.2)]}, "labels_above="),
        ("EmotionEnrichOperator", {"face_threshold": "0.8"}, "face_threshold=0.8 cannot be used: it has no effect alone"),
        ("EnrichOperator", {"operator": "nothing"}, "operator='nothing' cannot be used"),
        ("EnrichOperator", {"options": {"models": "demo"}}, "there is no such option: give model"),
        ("PlanShardsOperator", {"max_shards": "{{ 'many' }}"}, "max_shards='many' cannot be used"),
        ("CheckShardsOperator", {"manifests": [], "verify": "perhaps"}, "verify='perhaps' cannot be used"),
        ("CheckShardsOperator", {"manifests": [], "max_drift": "far"}, "max_drift='far' cannot be used"),
        ("CheckShardsOperator", {"manifests": {"shard": None, "destination": "o", "summary": {}}}, "not the parts"),
    ],
)  # fmt: skip
def test_values_that_the_worker_cannot_use_fail_without_a_retry(
    name: str, options: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"source": "in", "destination": "out"} if name != "PlanShardsOperator" else {"source": "in"}
    operator = make(name, **{**places, **options})
    operator.render_template_fields({})
    requests: list[Any] = []
    monkeypatch.setattr(operator, "_run_worker", lambda request, _: requests.append(request) or {"report": ""})
    operator.execute({})
    with pytest.raises(EmotionOpsError, match=re.escape(text)) as raised:
        _do(requests[0], send=lambda event: None)
    assert not describe_failure(raised.value)["retryable"]


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("EnrichOperator", {"options": "{{ 'much' }}"}, "options='much' cannot be used: give a dictionary"),
        ("EmotionEnrichOperator", {"progress_seconds": "often"}, "progress_seconds='often' cannot be used"),
        ("EmotionEnrichOperator", {"env": {"A=B": "c"}}, "check the names and values in env="),
        ("EmotionEnrichOperator", {"env": {"A": "b\0"}}, "check the names and values in env="),
        ("EmotionEnrichOperator", {"python": ["python"]}, "give a text"),
        ("EmotionEnrichOperator", {"max_drift": "far"}, "max_drift='far' cannot be used"),
        ("CheckShardsOperator", {"manifests": [{}, None]}, "a task that was skipped returned none"),
        ("CheckShardsOperator", {"manifests": None}, "a task that was skipped returned none"),
    ],
)
def test_a_task_with_values_that_cannot_be_used_fails_without_a_retry(
    name: str, options: dict[str, Any], text: str, tmp_path: Path
) -> None:
    api = Api(retries=True)
    places = {"source": str(write_days(tmp_path / "in", 1)), "destination": str(tmp_path / "out")}
    done = api.run(make(name, **{**places, **options}))
    assert text in str(done.error)
    assert api.states[-1]["state"] == "failed"
