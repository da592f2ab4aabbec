"""Mutated images of every format neither crash the decoder, nor hang it, nor make it grow, nor escape its errors."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


def test_mutated_images_are_pictures_or_their_rows_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of ``benchmarks/mutate_images.py``."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    harness = importlib.import_module("mutate_images")
    found = harness.run(3000, seed=7)
    assert (found.lost, found.escaped) == ({}, {})
    assert found.good
    assert found.images == 3000
    assert found.decoded > 300
    assert {"undecodable", "too_large", "unsupported"} == found.errors.keys()


def test_an_image_is_made_again_from_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    harness = importlib.import_module("mutate_images")
    base = list(harness.sources().values())
    assert harness.mutated(5, 0, base) == harness.mutated(5, 0, list(harness.sources().values()))
    assert len({harness.mutated(number, 0, base) for number in range(50)}) == 50
