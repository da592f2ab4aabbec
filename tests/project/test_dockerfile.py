"""The container image is linted, and the repository has all that it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def copied_paths() -> list[str]:
    return [name for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hadolint")), str(ROOT / "Dockerfile")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_the_copied_files_pass_dockerignore_and_build_a_wheel_with_the_dags_and_the_demo(tmp_path: Path) -> None:
    not_ignored = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    assert set(copied_paths()) == not_ignored
    context = tmp_path / "context"
    context.mkdir()
    for name in copied_paths():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, context / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, context / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(context)]
    subprocess.run(command, check=True, timeout=200)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "emotion_ops/example_dags/emotion_shards.py" in names
    assert {"emotion_ops/demo/model/model.safetensors", "emotion_ops/demo/faces.parquet"} <= set(names)
    assert not [name for name in names if "drawn_faces" in name]


@pytest.mark.parametrize("argument", re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
def test_each_build_argument_is_used_and_documented(argument: str) -> None:
    assert f"${{{argument}" in DOCKERFILE
    assert f"| `{argument}` |" in (ROOT / "docs" / "docker.md").read_text()
