"""Write ``emotion_ops/airflow/emotions.py``: the options of ``ClassifyEmotions`` as arguments of an Airflow operator.

    python scripts/write_airflow_operator.py

Airflow's process does not import the operator, so the arguments are written down. They come from the operator's own
fields and docstrings. A test fails if the file is not what this script writes.
"""

from __future__ import annotations

import dataclasses
import os
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_ops import ClassifyEmotions
from emotion_ops.flags.fields import Flag, read_flags

FILE = Path(__file__).parents[1] / "emotion_ops" / "airflow" / "emotions.py"
LOCAL = ("detector", "calibration")
"""Options that are paths on the worker's own disk."""

TEXT = '''"""The Airflow operator for facial emotions. Written by scripts/write_airflow_operator.py; do not edit it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from emotion_ops.airflow.enrich import EnrichOperator, check_options
from emotion_ops.airflow.stores import local_path
from emotion_ops.airflow.values import Location, Template, as_json

DEFAULTS: Mapping[str, Any] = {
@defaults
}
"""The options of ``ClassifyEmotions`` by flat name, with their defaults."""

LOCAL = @local
"""Options that are paths on the worker's own disk."""


class EmotionEnrichOperator(EnrichOperator):
    """Append the probabilities of facial emotions to every file of a Parquet dataset.

    It is ``EnrichOperator`` for ``ClassifyEmotions``, with the operator's options as flat arguments. All of them are
    templates.

    Args:
@arguments
        **kwargs: The arguments of ``EnrichOperator``, except ``operator``.
    """

    template_fields: Collection[str] = (*DEFAULTS, *EnrichOperator.template_fields)

    def __init__(
        self,
        *,
@parameters
        **kwargs: Any,
    ) -> None:
        given = locals()
        super().__init__(operator="classify_emotions", **kwargs)
        for name in DEFAULTS:
            setattr(self, name, given[name])
        check_options({name: given[name] for name in DEFAULTS})

    def _operator_options(self) -> dict[str, Any]:
        """The options that differ from their defaults, as JSON."""
        values = {name: getattr(self, name) for name in DEFAULTS}
        values |= {name: local_path(name, values[name]) for name in LOCAL}
        given = {name: value for name, value in values.items() if value != DEFAULTS[name]}
        return {**super()._operator_options(), **as_json(given)}
'''


def write_module() -> str:
    """The text of the module."""
    flags = list(read_flags(ClassifyEmotions).flags.values())
    parts = {
        "@defaults": [f'    "{flag.name}": {_default(flag)},' for flag in flags],
        "@local": [f"({', '.join(map(_quoted, LOCAL))})"],
        "@arguments": [_described(flag) for flag in flags],
        "@parameters": [f"        {flag.name}: {_type(flag)} = {_default(flag)}," for flag in flags],
    }
    text = TEXT
    for name, lines in parts.items():
        text = text.replace(name, "\n".join(lines))
    return text


def _default(flag: Flag) -> str:
    if flag.default is dataclasses.MISSING:
        return "None"
    return _quoted(flag.default) if isinstance(flag.default, str) else repr(flag.default)


def _described(flag: Flag) -> str:
    indent = " " * 8
    return textwrap.fill(
        f"{flag.name}: {flag.help}",
        120,
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_on_hyphens=False,
    )


def _type(flag: Flag) -> str:
    """The type of an argument: the option's own, or a template."""
    words = [kind for kind in flag.members if isinstance(kind, str)]
    names = [f"Literal[{', '.join(map(_quoted, words))}]"] if words else []
    names += dict.fromkeys(filter(None, map(_name, flag.members)))
    if "Location" in names:
        names = ["Location"]
    elif names != ["str"]:
        names.append("Template")
    is_optional = types.NoneType in flag.members or flag.default is dataclasses.MISSING
    return " | ".join([*names, *(["None"] if is_optional else [])])


def _name(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, os.PathLike):
        return "Location"
    if origin in (Mapping, Sequence):
        return str(kind).replace("collections.abc.", "")
    return kind.__name__ if kind in (bool, int, float, str) else ""


def _quoted(text: str) -> str:
    return f'"{text}"'


if __name__ == "__main__":
    FILE.write_text(write_module())
    print(FILE)
