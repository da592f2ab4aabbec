"""What users' type checkers see: ``tests/typing`` passes mypy in strict mode against the installed package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import emotion_ops

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_public_names_have_the_types_that_users_rely_on(tmp_path: Path) -> None:
    """Each ``type: ignore`` there is an error that mypy must find: strict mode refuses those without one."""
    checked_out = Path(emotion_ops.__file__).is_relative_to(ROOT)
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"),
            "--cache-dir", str(ROOT / ".mypy_cache"), str(ROOT / "tests" / "typing"),
        ],
        capture_output=True, text=True, check=False, cwd=ROOT if checked_out else tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
