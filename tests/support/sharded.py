"""Datasets with a partition for each day, enriched in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from emotion_ops import ClassifyEmotions, enrich_dataset
from emotion_ops.lake.manifest import build_manifest
from emotion_ops.testing import faces_table


def write_days(folder: Path, days: int) -> Path:
    """A dataset with a partition of three rows for each day."""
    for day in range(days):
        path = folder / f"day={day}" / "rows.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(faces_table(3, seed=day), path)
    return folder


def enrich_in_shards(folder: Path, model: str) -> tuple[Path, Path, list[dict[str, Any]]]:
    """Source and destination of a dataset that was enriched in two shards, and their manifests."""
    source, operator = write_days(folder / "in", 4), ClassifyEmotions(model=model)
    manifests = [
        build_manifest(enrich_dataset(source, folder / "out", operator, shard=(i, 2)), operator, shard=(i, 2))
        for i in range(2)
    ]
    return source, folder / "out", manifests
