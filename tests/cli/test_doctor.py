"""The doctor proves a set-up, and finds one that is not to be trusted."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import typer

from emotion_ops.cli import doctor as command
from emotion_ops.cli.output import ExitCode


def test_a_sound_set_up_is_healthy_in_every_precision() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "emotion_ops", "doctor", "--model", "demo", "--json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["healthy"]
    by_precision = {engine["precision"]: engine for engine in answer["engines"]}
    assert set(by_precision) == {"fp32", "bf16", "fp16"}
    assert by_precision["fp32"]["largest_difference"] <= 1e-5
    assert len(answer["golden_images"]) == 8
    assert answer["throughput"]["limit"] in ("decode", "network")
    assert min(value for name, value in answer["throughput"].items() if name.endswith("per_second")) > 0


def test_numbers_that_differ_from_transformers_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reference is moved by a hair: what an installation with another resampling would look like."""

    def moved(*arguments: Any) -> Any:
        return np.roll(reference(*arguments) + 1e-4, 0)

    reference = command.reference_probabilities
    monkeypatch.setattr(command, "reference_probabilities", moved)
    with pytest.raises(typer.Exit) as done:
        command.doctor(model="demo", device="cpu")
    assert done.value.exit_code is ExitCode.FOUND_WRONG
    shown = capsys.readouterr().out
    assert "WRONG" in shown
    assert "NOT healthy" in shown
