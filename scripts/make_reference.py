"""Write the generated tables of docs/reference.md from the code's own fields and docstrings.

    python scripts/make_reference.py            # writes the page
    python scripts/make_reference.py --check    # fails if the page differs

A table stands between ``<!-- begin NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emotion_ops import (
    Access,
    Cache,
    ClassifyEmotions,
    Decoding,
    EnrichReport,
    Faces,
    Gate,
    Int8,
    Labels,
    Limits,
    Resources,
    enrich_dataset,
)
from emotion_ops.flags.docstrings import read_arguments, read_summary
from emotion_ops.flags.fields import read_flags
from emotion_ops.models.checkpoint import DEFAULT_MODEL
from emotion_ops.options import OptionGroup, flag_of

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
GROUPS: tuple[type[OptionGroup], ...] = (Labels, Faces, Decoding, Access, Limits, Resources, Cache, Int8, Gate)
_SECTION = re.compile(r"<!-- begin (\w+) -->\n.*?<!-- end -->\n", re.DOTALL)


def operator() -> Iterator[str]:
    """The options of ``ClassifyEmotions``; groups by name."""
    documented: dict[str, str] = {}
    for one in reversed(ClassifyEmotions.__mro__):
        documented.update(read_arguments(one.__doc__))
    yield from _head("Option", "Flag")
    fields = {field.name: field for field in dataclasses.fields(ClassifyEmotions)}
    groups = {group.__name__.lower(): group.__name__ for group in GROUPS}
    for name in [name for name in inspect.signature(ClassifyEmotions).parameters if name in fields]:
        flag = "see the group" if name in groups else f"`--{flag_of(fields[name]).replace('_', '-')}`"
        yield f"| `{name}` | {flag} | {_default(fields[name].default)} | {_text(documented[name])} |"


def groups() -> Iterator[str]:
    """The options of each group, with a heading each."""
    for group in GROUPS:
        documented = read_arguments(group.__doc__)
        yield f"### {group.__name__}"
        yield ""
        yield _text(read_summary(group.__doc__))
        yield ""
        yield from _head("Option", "Flag")
        for field in dataclasses.fields(group):
            flag = f"`--{flag_of(field).replace('_', '-')}`"
            yield f"| `{field.name}` | {flag} | {_default(field.default)} | {_text(documented[field.name])} |"
        yield ""


def job() -> Iterator[str]:
    """The options of ``enrich_dataset``."""
    documented, flags = read_arguments(enrich_dataset.__doc__), read_flags(enrich_dataset).flags
    yield from _head("Option", "Flag")
    for name, parameter in inspect.signature(enrich_dataset).parameters.items():
        flag = f"`--{name.replace('_', '-')}`" if name in flags and name not in ("runner", "on_progress") else ""
        default = "" if name == "on_progress" else _default(parameter.default)
        yield f"| `{name}` | {flag} | {default} | {_text(documented[name])} |"


def report() -> Iterator[str]:
    """The fields of ``EnrichReport``."""
    documented = read_arguments((EnrichReport.__doc__ or "").replace("Attributes:", "Args:"))
    yield "| Field | Meaning |"
    yield "|---|---|"
    for field in dataclasses.fields(EnrichReport):
        yield f"| `{field.name}` | {_text(documented[field.name])} |"


SECTIONS: dict[str, Callable[[], Iterator[str]]] = {
    "operator": operator,
    "groups": groups,
    "job": job,
    "report": report,
}


def fill(page: str) -> str:
    """A page with its generated sections."""

    def section(match: re.Match[str]) -> str:
        return "\n".join([f"<!-- begin {match[1]} -->", *SECTIONS[match[1]](), "<!-- end -->\n"])

    return _SECTION.sub(section, page)


def _head(*columns: str) -> Iterator[str]:
    yield f"| {' | '.join(columns)} | Default | Meaning |"
    yield f"|{'---|' * (len(columns) + 2)}"


def _default(value: Any) -> str:
    if value is dataclasses.MISSING or value is inspect.Parameter.empty:
        return "required"
    if value == DEFAULT_MODEL:
        return "the default model"
    if isinstance(value, OptionGroup):
        return f"`{type(value).__name__}()`"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value // 2**20:,} MiB" if value >= 2**20 and value % 2**20 == 0 else f"{value:,}"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _text(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if the page differs")
    page = PAGE.read_text()
    filled = fill(page)
    if not parser.parse_args().check:
        PAGE.write_text(filled)
    elif filled != page:
        sys.exit("docs/reference.md differs from the code: run python scripts/make_reference.py")


if __name__ == "__main__":
    main()
