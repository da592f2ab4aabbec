"""Memory is bounded by bytes for row groups of any size; benchmarks/row_group.py is the longer run of the same code."""

from __future__ import annotations

from pathlib import Path

import pytest
from row_group import measure

pytestmark = pytest.mark.slow


def test_a_row_group_larger_than_the_bound_is_enriched_within_it(tiny_model: str, tmp_path: Path) -> None:
    """The bound is half of what the row group alone would take in memory."""
    seen = measure(tmp_path, 600, 1000, 1, tiny_model, "all")
    assert (seen["images"], seen["row_group_mb"]) == (600, 600)
    assert seen["peak_above_loaded_mb"] < 300
