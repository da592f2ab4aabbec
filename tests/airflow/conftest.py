"""A dataset in shards, for several test modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow_tasks import write_days


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> tuple[Path, Path, list[dict[str, Any]]]:
    """Source and destination of a dataset that was enriched in two shards, and their manifests."""
    from emotion_ops import ClassifyEmotions, enrich_dataset
    from emotion_ops.lake.manifest import build_manifest

    folder = tmp_path_factory.mktemp("sharded")
    source, operator = write_days(folder / "in", 4), ClassifyEmotions(model=tiny_model)
    manifests = [
        build_manifest(enrich_dataset(source, folder / "out", operator, shard=(i, 2)), operator, shard=(i, 2))
        for i in range(2)
    ]
    return source, folder / "out", manifests
