"""Flags of operators and jobs as options of the command line, and errors that name them."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any

import typer

from emotion_ops.errors import OperatorError, OptionError
from emotion_ops.flags.fields import Flag, FlagSet
from emotion_ops.options import byte_count

_TYPES = {int: "INTEGER", float: "NUMBER", str: "TEXT"}
_METAVARS = {"columns": "all|none|NAMES", "retry_errors": "all|CODES", "shard": "I/N"}
_TITLES = {"enrich_dataset": "Job", "TableOperator": "Operator"}


def with_flags(command: Callable[..., None], *sets: FlagSet) -> Callable[..., None]:
    """Give a command the flags of an operator, a job or both, in place of its ``**given``.

    Args:
        command: Called with what was given, by flat name.
        *sets: The flags.

    Raises:
        OperatorError: An operator's option has the name of another option of the command.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    options = {one.name: one for one in own}
    for flags in sets:
        for name, flag in flags.flags.items():
            if name in options:
                raise OperatorError(flag.panel, f"the command line has another option {spell(name)!r}")
            options[name] = _parameter(flag)

    def run(**arguments: Any) -> None:
        command(**{name: value for name, value in arguments.items() if name not in flat or value not in (None, [])})

    flat = {name for flags in sets for name in flags.flags}
    run.__doc__ = command.__doc__
    run.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]  # Typer reads it
    run.__annotations__ = {name: one.annotation for name, one in options.items()}
    return run


def spell(name: str) -> str:
    """How the command line writes a flat name."""
    return f"--{name.replace('_', '-')}"


def describe_error(error: Exception, sets: Collection[FlagSet]) -> str:
    """The message of an error, with the flags of the command line in place of Python's arguments."""
    text = rf"({'|'.join(name for flags in sets for name in flags.flags)})"
    if isinstance(error, OptionError):
        for flags in sets:
            error = flags.rename(error, spell)
        hint = _replace(error.hint, rf"{text}=(?:([\"'])(.*?)\2|([^\s\"',;:)]+))")
        return str(OptionError(error.option, error.value, re.sub(rf"(?<![\w-]){text}\b", _spell_long, hint)))
    return _replace(str(error), rf"{text}=(?:([\"'])(.*?)\2|(…))")


def _replace(text: str, pattern: str) -> str:
    """Write ``name="value"`` as ``--name value``."""
    return re.sub(rf"(?<![\w=/-]){pattern}", lambda match: f"{spell(match[1])} {match[3] or match[4]}", text)


def _spell_long(match: re.Match[str]) -> str:
    """A flag for a name that cannot be an ordinary word."""
    return spell(match[0]) if "_" in match[0] else match[0]


def _parameter(flag: Flag) -> inspect.Parameter:
    kinds = [kind for kind in flag.members if kind is not types.NoneType]
    is_switch = bool in kinds and str not in kinds
    is_repeated = flag.name not in _METAVARS and all(typing.get_origin(kind) in _SEQUENCES for kind in kinds)
    name, title = spell(flag.name), _TITLES.get(flag.panel, flag.panel)
    if is_switch and flag.default is not False:
        name, title = f"{name}/--no-{name[2:]}", f"{title}: on or off"
    option = typer.Option(
        name,
        help=_help(flag, is_repeated=is_repeated),
        metavar=None if is_switch else _METAVARS.get(flag.name) or _metavar(flag, kinds),
        show_default=False,
        rich_help_panel=title,
    )
    value: Any = bool if is_switch else list[str] if is_repeated else str
    annotation = Annotated[value | None, option]
    return inspect.Parameter(flag.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


_SEQUENCES = (Sequence, tuple, list)


def _help(flag: Flag, *, is_repeated: bool) -> str:
    default = _default(flag)
    note = " May be repeated." if is_repeated else f" [default: {default}]" if default else ""
    return (flag.help.replace("``", "") + note).replace("[", r"\[")


def _metavar(flag: Flag, kinds: Sequence[Any]) -> str:
    if flag.check is not None and inspect.unwrap(flag.check) is byte_count:
        return "BYTES"
    words = [kind for kind in kinds if isinstance(kind, str)]
    if types.NoneType in flag.members and words:
        words = ["none", *words]
    names = [name for kind, name in _TYPES.items() if kind in kinds]
    if any(typing.get_origin(kind) is Mapping for kind in kinds):
        names.append("NAME=NUMBER,…")
    return "|".join([*words, *names]) or "TEXT"


def _default(flag: Flag) -> str:
    if flag.default is None and any(isinstance(kind, str) for kind in flag.members):
        return "none"
    if flag.default in (dataclasses.MISSING, None, ()):
        return ""
    if isinstance(flag.default, bool):
        return "on" if flag.default else ""
    if flag.check is not None and inspect.unwrap(flag.check) is byte_count:
        return f"{flag.default / 2**20:g} MiB"
    return f"{flag.default:g}" if isinstance(flag.default, float) else str(flag.default)
