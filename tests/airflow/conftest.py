"""Datasets and images for several test modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow_tasks import write_partitions
from paused_images import Images, serving_images
from sharded import enrich_in_shards


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> tuple[Path, Path, list[dict[str, Any]]]:
    """Source and destination of a dataset that was enriched in two shards, and their manifests."""
    return enrich_in_shards(tmp_path_factory.mktemp("sharded"), tiny_model)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two partitions of seven rows."""
    return write_partitions(tmp_path / "in")


@pytest.fixture
def images() -> Iterator[Images]:
    """A server of images that a test can pause."""
    with serving_images() as served:
        yield served
