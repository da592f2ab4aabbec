"""The identity of a detector is the same in every process, and different for detectors that find other faces."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emotion_ops import OptionError
from emotion_ops.faces.identity import detector_identity

PROGRAM = """
import functools
from dataclasses import dataclass
from test_identity import detect
from emotion_ops.faces.identity import detector_identity

@dataclass(frozen=True)
class Detector:
    names: frozenset[str]
    def __call__(self, pixels):
        return []

names = frozenset({"left", "right", "up", "down", "near"})
print(detector_identity(functools.partial(detect, names=names, more={"a": {1, 2}})), detector_identity(Detector(names)))
"""


def detect(pixels: np.ndarray, names: frozenset[str] = frozenset(), more: object = None) -> list[object]:
    return []


def test_a_detector_with_a_set_has_the_same_identity_in_every_process() -> None:
    identities = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(identities) == 1
    assert "'left'" in identities.pop()


def test_arrays_have_no_identity_since_their_repr_rounds() -> None:
    assert detector_identity(functools.partial(detect, more=np.float64(0.25))) != detector_identity(
        functools.partial(detect, more=0.5)
    )
    for value in (np.array([0.9, 0.123456789]), [np.array([1.0])]):
        with pytest.raises(OptionError, match="cannot be distinguished from a detector"):
            detector_identity(functools.partial(detect, more=value))
