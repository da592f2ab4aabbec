"""A dataset in shards, for several test modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sharded import enrich_in_shards


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> tuple[Path, Path, list[dict[str, Any]]]:
    """Source and destination of a dataset that was enriched in two shards, and their manifests."""
    return enrich_in_shards(tmp_path_factory.mktemp("sharded"), tiny_model)
