"""An operator and the options of a job, from flat or nested values: typed on the command line, or from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emotion_ops.errors import OptionError
from emotion_ops.flags.fields import FlagSet, read_flags
from emotion_ops.flags.values import build_arguments
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.registry import load_operator_class

DEFAULT = "classify_emotions"
"""The operator of commands that are given none."""


def operator_flags(name: str) -> FlagSet:
    """The flags of a registered operator.

    Raises:
        OptionError: There is no such operator.
    """
    kind: Any = load_operator_class(name)
    return read_flags(kind)


def make_operator(name: str, options: Mapping[str, Any]) -> TableOperator:
    """Make a registered operator.

    Args:
        name: Its name.
        options: See ``emotion_ops.flags.values.build_arguments``.

    Raises:
        OptionError: There is no such operator or option, or an option has a value that cannot be used; with its flat
            name.
    """
    kind, flags = load_operator_class(name), operator_flags(name)
    try:
        operator: TableOperator = kind(**build_arguments(flags, options))
    except OptionError as error:
        raise flags.rename(error) from None
    return operator


def job_flags() -> FlagSet:
    """The flags of ``enrich_dataset``, but those that only Python can give."""
    from emotion_ops.lake.enrich import enrich_dataset

    return read_flags(enrich_dataset).without("runner", "on_progress")


def job_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of ``enrich_dataset``.

    Args:
        options: By flat name. Text may have the forms of the command line: names with commas for ``columns``, ``all``
            or codes with commas for ``retry_errors``, ``I/N`` for ``shard``.

    Raises:
        OptionError: There is no such option, or it has a value that cannot be used.
    """
    readers = {"columns": _read_columns, "retry_errors": _read_codes, "shard": _read_shard}
    return build_arguments(
        job_flags(),
        {
            name: readers[name](one) if name in readers and isinstance(one, str) else one
            for name, one in options.items()
        },
    )


def _read_columns(text: str) -> Any:
    return text if text in ("all", "none") or text.startswith("[") else _names(text)


def _read_codes(text: str) -> Any:
    if text == "all":
        return True
    return text if text.lower() in ("true", "false") or text.startswith(("[", "(")) else _names(text)


def _read_shard(text: str) -> Any:
    index, separator, count = text.partition("/")
    if not separator and not text.startswith(("[", "(")):
        raise OptionError("shard", text, "give I/N, for example 0/4")
    return [index, count] if separator else text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
