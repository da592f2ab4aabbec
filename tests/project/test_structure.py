"""What import-linter cannot check: no circles between files, small modules, and a vocabulary for each room."""

from __future__ import annotations

import ast
import graphlib
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "emotion_ops").rglob("*.py"))
    if "example_dags" not in path.parts  # a link to dags/
}
# Rooms that work for any table operator, and so speak of no emotion, label or probability.
GENERAL = (
    "errors",
    "flags",
    "fork_safety",
    "images",
    "io",
    "lake",
    "lazy",
    "operators",
    "options",
    "reports",
    "version",
)
OF_EMOTIONS = re.compile("emotion|label|probabilit", re.IGNORECASE)
NAME_OF_THE_PACKAGE = re.compile("emotion[-_]?ops", re.IGNORECASE)


def imports_of(module: str, path: Path) -> set[str]:
    """The modules of this package that a module imports anywhere: at its top, in functions, and for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{module} has a relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (submodules & FILES.keys()) or {node.module}
    return (found & FILES.keys()) - {module}


def test_no_circle_of_imports_exists_not_even_for_type_checkers() -> None:
    graph = {module: imports_of(module, path) for module, path in FILES.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_half_of_the_modules_have_at_most_120_lines_and_none_has_more_than_400() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in FILES.items()}
    assert statistics.median(lines.values()) <= 120
    assert {module: count for module, count in lines.items() if count > 400} == {}


EXAMPLE = re.compile(r"^\s*(>>>|\.\.\.) .*$", re.MULTILINE)


def lines_about_emotions(path: Path) -> list[str]:
    text = EXAMPLE.sub("", NAME_OF_THE_PACKAGE.sub("", path.read_text()))
    return [line.strip() for line in text.splitlines() if OF_EMOTIONS.search(line)]


@pytest.mark.parametrize("room", GENERAL)
def test_a_general_room_names_no_emotion_label_or_probability(room: str) -> None:
    prefix = f"emotion_ops.{room}"
    files = {
        module: path
        for module, path in FILES.items()
        if module == prefix or module.startswith(f"{prefix}.")
        if not module.startswith("emotion_ops.operators.classify")
    }
    assert {module: lines for module, path in files.items() if (lines := lines_about_emotions(path))} == {}
