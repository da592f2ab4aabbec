"""Mutated images of every format cause no crash, no hang, no growth, and no exception but their row's error."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


def test_a_mutated_image_is_decoded_or_is_its_rows_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of ``benchmarks/mutate_images.py``."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    harness = importlib.import_module("mutate_images")
    found = harness.run(3000, seed=7)
    assert (found.lost, found.escaped) == ({}, {})
    assert found.good
    assert found.images == 3000
    assert found.decoded > 300
    assert {"undecodable", "too_large", "unsupported"} == found.errors.keys()


def test_a_mutated_image_can_be_made_again_from_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    harness = importlib.import_module("mutate_images")
    base = list(harness.sources().values())
    assert harness.mutated(5, 0, base) == harness.mutated(5, 0, list(harness.sources().values()))
    assert len({harness.mutated(number, 0, base) for number in range(50)}) == 50
