"""Every code block of README and docs runs as written, and every link leads somewhere."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer

import emotion_ops
from emotion_ops import RowErrorCode
from emotion_ops.demo import FACES_FILE
from emotion_ops.models.checkpoint import DEFAULT_MODEL
from emotion_ops.testing import save_tiny_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INSTALLING = ("make ", "pip ", "source ")


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A PATH with this environment's commands, and an empty cache of the hub."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    online = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path_factory.mktemp("hub"))}
    return {**os.environ, **online, "PATH": path, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "demo-output").mkdir()  # as make demo leaves it
    for path in (tmp_path / "faces.parquet", tmp_path / "demo-output" / "faces.parquet"):
        shutil.copyfile(FACES_FILE, path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_each_page_runs_from_top_to_bottom(
    page: Path, folder: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The default model is served by a hub of the tests' own, so that the code of the docs is the code that runs."""
    (folder / "page.py").write_text("\n".join(blocks(page, "python")))
    with HubServer() as hub:
        hub.add_commit(DEFAULT_MODEL, save_tiny_model(tmp_path_factory.mktemp("default")), "a" * 40)
        done = subprocess.run(
            [sys.executable, "page.py"], cwd=folder, env={**environment, "HF_ENDPOINT": hub.endpoint},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")], ids=lambda page: page.name)
def test_the_commands_of_each_page_run(page: Path, folder: Path, environment: dict[str, str]) -> None:
    """Those that install or make are CI's own: here only that their target and their file are there."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for line in (line for line in lines if line.startswith(INSTALLING)):
        if line.startswith("make "):
            assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        elif line.startswith("pip "):
            assert (ROOT / "constraints.txt").exists()
            assert "constraints.txt" in line
    script = "\n".join(line for line in lines if not line.startswith(INSTALLING))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_escapes_the_tests_and_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    assert {kind for kind, _ in BLOCK.findall(text)} <= {"python", "sh", "text"}
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    for name, heading in re.findall(r"\]\((?!https)([^)#]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / name if name else page).read_text()
        titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, heading


def test_every_message_of_the_troubleshooting_is_one_that_is_said() -> None:
    """A value of a message is ``…`` on the page, and a formatted value in the code."""
    import airflow.jobs.scheduler_job_runner as scheduler

    files = [*(ROOT / "emotion_ops").rglob("*.py"), Path(scheduler.__file__)]
    said = [text for file in files for text in texts(ast.parse(file.read_text()))]
    table = (ROOT / "docs" / "airflow.md").read_text().partition("## Troubleshooting")[2]
    messages = [one for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for one in re.findall("`(.+?)`", row)]
    assert len(messages) > 30
    for message in messages:
        assert any(message.strip("…") in text for text in said), message


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text of a program; where it has a value in it, ``…``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)


def test_the_notebook_runs_and_its_stored_outputs_are_there_and_without_errors(environment: dict[str, str]) -> None:
    import nbformat

    notebook = ROOT / "docs" / "tutorial.ipynb"
    check = [sys.executable, str(ROOT / "scripts" / "run_notebook.py"), str(notebook), "--check"]
    done = subprocess.run(check, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    kinds = [output.output_type for cell in cells for output in cell.outputs]
    assert "error" not in kinds
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


def test_the_reference_names_every_row_error_and_public_name() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    for name in (*RowErrorCode, *emotion_ops.__all__):
        assert f"`{name}" in text or f"### {name}" in text, name


def test_the_tables_of_the_reference_are_those_that_the_code_gives(environment: dict[str, str]) -> None:
    check = [sys.executable, str(ROOT / "scripts" / "make_reference.py"), "--check"]
    done = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
