"""The descriptions of arguments in Google's style of docstrings."""

from __future__ import annotations

import inspect
import re

_ARGUMENT = re.compile(r"    \*{0,2}(\w+): (.*)")


def read_arguments(docstring: str | None) -> dict[str, str]:
    """Read the section ``Args:`` of a docstring.

    Returns:
        The description of each argument by name, on one line.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    found: dict[str, str] = {}
    name = ""
    for line in lines[lines.index("Args:") + 1 :] if "Args:" in lines else []:
        if line and not line.startswith(" "):
            break
        if match := _ARGUMENT.fullmatch(line):
            name, text = match.groups()
            found[name] = text
        elif line and name:
            found[name] += f" {line.strip()}"
    return found


def read_summary(docstring: str | None) -> str:
    """The first line of a docstring."""
    return inspect.cleandoc(docstring or "").partition("\n")[0]
