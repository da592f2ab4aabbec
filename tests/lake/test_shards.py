"""Shards cover a dataset, and their manifests add up to the manifest of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sharded import enrich_in_shards, write_days

from emotion_ops import ClassifyEmotions, DatasetError, enrich_dataset
from emotion_ops.lake.manifest import build_manifest, merge_manifests
from emotion_ops.lake.part import in_shard
from emotion_ops.lake.shards import check_shards, plan_shards
from emotion_ops.testing import faces_table


def test_shards_cover_every_file_once_and_none_is_empty(tmp_path: Path) -> None:
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
    return enrich_in_shards(tmp_path_factory.mktemp("sharded"), tiny_model)


def test_the_manifest_of_the_whole_is_the_sum_of_its_shards(sharded: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    source, out, manifests = sharded
    whole = check_shards(source, out, manifests, verify=True)
    assert (whole["rows"], whole["files"], whole["shards"], whole["verified"]) == (12, 4, 2, True)
    assert sum(whole["summary"]["labels"].values()) == 12
    assert whole["fingerprint"] == manifests[0]["fingerprint"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda parts: parts[:1], "the shards reported"),
        (lambda parts: [parts[0], parts[0]], "not the parts of one job"),
        (lambda parts: [parts[0], {**parts[1], "shard": [1, 3]}], "not the parts of one job"),
        (lambda parts: [parts[0], {**parts[1], "shard": None}], "not the parts of one job"),
        (lambda parts: [parts[0], {**parts[1], "fingerprint": "0" * 64}], "differ in fingerprint"),
        (lambda parts: [{**part, "fingerprint": "0" * 64} for part in parts], "was made by another operator"),
        (lambda parts: [], "there are none"),
    ],
)
def test_shards_that_are_not_the_whole_are_refused(
    change: Any, text: str, sharded: tuple[Path, Path, list[dict[str, Any]]]
) -> None:
    source, out, manifests = sharded
    with pytest.raises(DatasetError, match=text):
        check_shards(source, out, change(manifests))


def test_the_manifest_of_a_second_run_has_the_failed_rows_of_the_first(tiny_model: str, tmp_path: Path) -> None:
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
