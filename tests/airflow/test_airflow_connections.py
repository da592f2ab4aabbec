"""Airflow connections open stores, secrets are not logged, and OpenLineage gets what a task read and wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow_tasks import make, run_task
from s3_server import running_server
from sharded import write_days

from emotion_ops import ClassifyEmotions
from emotion_ops.testing import faces_table

pytestmark = pytest.mark.airflow

SECRET = "a-secret-of-the-tests"


@pytest.fixture(scope="module")
def store() -> Iterator[int]:
    with running_server() as port:
        yield port


def test_a_connection_opens_source_destination_and_images_and_its_secret_is_not_logged(
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
    manifest = run_task(operator, connections={"lake_store": connection})
    assert (manifest["rows"], manifest["errors"], manifest["destination"]) == (4, {}, "s3://lake/r")
    body = client.get_object(Bucket="lake", Key="r/day=1/rows.parquet")["Body"].read()
    assert pq.read_table(pa.BufferReader(body))["emotion_error"].null_count == 4
    assert SECRET not in "".join(capfd.readouterr())
    assert run_task(operator, connections={"lake_store": connection})["skipped"] == 1


def test_a_password_in_a_uri_is_masked_when_it_is_rendered() -> None:
    from airflow.sdk._shared.secrets_masker import redact

    operator = make(source=["{{ where }}", "in/"], destination="out/")
    operator.render_template_fields({"where": "s3://key:a-password-of-a-uri@bucket/in"})
    assert operator.source == ["s3://key:a-password-of-a-uri@bucket/in", "in/"]
    assert "a-password-of-a-uri" not in str(redact(f"reading {operator.source}"))


def test_passwords_and_tokens_of_mapped_tasks_are_masked() -> None:

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
    text = str(redact(f"reading {context['ti'].task.source} with {context['ti'].task.env}"))
    assert "password-of-a-mapped-task" not in text
    assert "token-of-a-mapped-task" not in text
    assert "/hub" in text


def test_the_workers_own_credentials_are_not_mixed_with_those_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import BaseHook, Connection

    from emotion_ops.airflow.stores import connection_environment

    connection = Connection(conn_id="lake", conn_type="aws", login="key", password=SECRET)
    monkeypatch.setattr(BaseHook, "get_connection", lambda name: connection)
    found = connection_environment([("s3", "lake")])
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]) == ("key", SECRET)
    for away in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        assert found[away] is None
    connection.login = connection.password = None  # then Airflow uses the worker's own
    assert "AWS_SESSION_TOKEN" not in connection_environment([("s3", "lake")])


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
def test_a_name_before_an_at_is_a_connection_only_if_it_cannot_be_a_user(
    uri: str, plain: str | None, connection: str | None
) -> None:
    from emotion_ops.airflow.stores import without_connection

    assert without_connection(uri) == (plain or uri, connection)


def test_openlineage_gets_the_datasets_the_columns_and_the_numbers(tiny_model: str, tmp_path: Path) -> None:
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


def test_a_file_name_with_characters_of_urls_stays_complete() -> None:
    from emotion_ops.airflow.lineage import name_dataset
    from emotion_ops.airflow.links import report_address

    assert name_dataset("/data/a#1?/in") == ("file", "/data/a#1?/in")
    assert name_dataset("s3://key:password@lake/in?region=x") == ("s3://lake", "in")
    assert report_address("/data/a#1 b/report.html") == "file:///data/a%231%20b/report.html"
