"""Gates and checks of shards in Airflow: an output that differs too much fails the task, and emits no event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow_api import Api
from airflow_tasks import make, run_task
from sharded import write_days

from emotion_ops import ClassifyEmotions, diff_datasets, enrich_dataset
from emotion_ops.testing import faces_table, save_tiny_model

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("models") / "other", seed=5))


def test_a_new_file_is_found_and_the_check_is_retried(
    sharded: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    import shutil

    source, out, manifests = sharded
    shutil.copytree(source, tmp_path / "in", copy_function=shutil.copy2)
    write_days(tmp_path / "in" / "late", 1)
    api = Api(retries=True)
    done = api.run(
        make("CheckShardsOperator", source=str(tmp_path / "in"), destination=str(out), manifests=manifests)
    )  # fmt: skip
    assert "1 files are not done: late/day=0/rows.parquet (waiting)" in str(done.error)
    assert api.states[-1]["state"] == "up_for_retry"


def test_an_output_stays_in_the_staging_folder_until_it_passes(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source, out = write_days(tmp_path / "in", 2), tmp_path / "out"
    places = {"source": str(source), "destination": str(out), "compare_to": str(out), "overwrite": True}
    options = {**places, "staging": str(tmp_path / "staging"), "max_change_rate": 0.0}
    first = run_task(make(**options, model=tiny_model))
    assert "comparison" not in first  # there was nothing to compare with
    before = {path: path.read_bytes() for path in out.rglob("day=*/*.parquet")}
    assert len(before) == 2

    api = Api(retries=True)
    done = api.run(make(**options, model=other_model))
    assert "of the rows changed their category, more than 0" in str(done.error)
    assert f"it stays in {tmp_path / 'staging'}" in str(done.error)
    assert api.states[-1]["state"] == "failed"
    assert {path: path.read_bytes() for path in out.rglob("day=*/*.parquet")} == before

    passed = run_task(make(**{**options, "max_change_rate": 1.0}, model=other_model))
    assert passed["comparison"]["changes"] > 0
    assert (passed["files"], passed["skipped"]) == (0, 2)  # the staging folder was complete, and was not computed again
    assert passed["destination"] == str(out)
    assert diff_datasets(out, tmp_path / "staging", max_changes=0, max_drift=0.0).exceeded == ()
    report = enrich_dataset(source, out, ClassifyEmotions(model=other_model))
    assert (report.files, report.skipped) == (0, 2)  # what was published is what enrich_dataset writes


def test_without_staging_an_output_is_published_and_the_task_fails(
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


def test_an_output_with_more_failed_rows_than_allowed_is_not_published(tiny_model: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"no image", *faces_table(3)["image"].combine_chunks().field("bytes").to_pylist()]}),
                   tmp_path / "in.parquet")  # fmt: skip
    options = {
        "source": str(tmp_path / "in.parquet"), "destination": str(tmp_path / "out"), "model": tiny_model,
        "staging": str(tmp_path / "staging"),
    }  # fmt: skip
    done = Api().run(make(**options, max_error_rate=0.1))
    assert "1 of 4 rows failed, more than max_error_rate=0.1 allows" in str(done.error)
    assert not (tmp_path / "out").exists()
    assert run_task(make(**options, max_error_rate=0.25))["error_rate"] == 0.25
    assert pq.read_metadata(tmp_path / "out" / "in.parquet").num_rows == 4


def test_a_check_of_shards_that_differ_too_much_fails_and_emits_no_event(
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
    done = api.run(make("CheckShardsOperator", **options, max_drift=0.0001))
    assert "drifted by" in str(done.error)
    assert api.states[-1]["state"] == "failed"
    assert "outlet_events" not in api.states[-1]
    assert run_task(make("CheckShardsOperator", **options, max_change_rate="{{ 1.0 }}"))["comparison"]["rows"] == 12


def test_shards_cannot_be_compared_with_their_own_output(
    sharded: tuple[Path, Path, list[dict[str, Any]]],
) -> None:
    source, out, manifests = sharded
    options = {"source": str(source), "destination": str(out), "compare_to": str(out), "manifests": manifests[:1]}
    api = Api(retries=True)
    done = api.run(make("CheckShardsOperator", **options, max_changes=0))
    assert "compared with itself" in str(done.error)
    assert api.states[-1]["state"] == "failed"


def test_a_gate_refuses_what_its_destination_refuses_before_any_work(
    tiny_model: str, other_model: str, tmp_path: Path
) -> None:
    source, out = write_days(tmp_path / "in", 1), tmp_path / "out"
    enrich_dataset(source, out, ClassifyEmotions(model=tiny_model))
    options = {"source": str(source), "destination": str(out), "compare_to": str(out), "model": other_model}
    for change, text in (
        ({"staging": str(tmp_path / "staging"), "max_changes": 9}, "exists already and was made"),
        ({"staging": str(tmp_path / "staging"), "max_changes": 9, "overwrite": True, "prune": True}, "prune"),
        ({"max_changes": 9, "overwrite": True}, "compared with itself"),
        ({"max_changes": 9, "shard": [0, 2]}, "a gate is for the whole output"),
        ({}, "give a limit too"),
    ):
        done = Api(retries=True).run(make(**options, **change))
        assert text in str(done.error)
        assert not (tmp_path / "staging").exists()
