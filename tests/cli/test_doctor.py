"""The doctor checks an installation, and finds one whose numbers are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_line import run_here, run_process

from emotion_ops.cli import doctor
from emotion_ops.cli.output import ExitCode

pytestmark = pytest.mark.slow


def test_a_good_installation_is_healthy_in_every_precision() -> None:
    done = run_process("doctor", "--model", "demo", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["healthy"]
    by_precision = {engine["precision"]: engine for engine in report["engines"]}
    assert set(by_precision) == {"fp32", "bf16", "fp16"}
    assert by_precision["fp32"]["largest_difference"] <= 1e-5
    assert len(report["golden_images"]) == 8
    assert report["throughput"]["limit"] in ("decode", "network")
    assert min(value for name, value in report["throughput"].items() if name.endswith("per_second")) > 0


def test_numbers_that_differ_from_transformers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is changed a little, as another way of resampling would change it."""

    def changed(*arguments: Any) -> Any:
        return reference(*arguments) + 1e-4

    reference = doctor.reference_probabilities
    monkeypatch.setattr(doctor, "reference_probabilities", changed)
    done = run_here("doctor", "--model", "demo", "--device", "cpu")
    assert done.returncode == ExitCode.FOUND_WRONG
    assert "WRONG" in done.stdout
    assert "NOT healthy" in done.stdout
