"""Options of an Airflow operator → the request that the worker process is asked with."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Annotated, Any

from airflow.sdk import XComArg
from airflow.sdk.exceptions import AirflowFailException

from emotion_ops.operators.classify.columns import thresholds_in

Template = Annotated[str | XComArg, "what is a value of the option's own type when the task runs"]
"""A text in braces, or what another task returns."""


def options_of(init: Callable[..., Any], names: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some options that differ from their defaults, each of the type that the signature says.

    A template renders to text, so that ``overwrite="{{ params.overwrite }}"`` comes as ``"False"``, which is true;
    here it becomes what it was meant to be.

    Args:
        init: The ``__init__`` whose keyword-only arguments these are.
        names: The options.
        values: Their values, rendered.

    Raises:
        AirflowFailException: A text is nothing of the type that its option has.
    """
    parameters = inspect.signature(init).parameters
    hints = typing.get_type_hints(init, include_extras=True)
    typed = {name: as_typed(name, values[name], hints[name]) for name in names}
    defaults = {name: as_typed(name, parameters[name].default, hints[name]) for name in names}
    return {name: value for name, value in typed.items() if value != defaults[name]}


def as_typed(name: str, value: Any, hint: Any) -> Any:
    """A value as JSON will carry it, of a rendered template the value that its text stands for.

    Raises:
        AirflowFailException: The text stands for none.
    """
    kinds = _kinds(hint)
    if Mapping in kinds:
        return _thresholds(name, value)
    several = _several(name, value, kinds)
    if several is not None:
        return [item if isinstance(item, str | int | float) else str(item) for item in several]
    if not isinstance(value, str):
        return value if value is None or isinstance(value, bool | int | float) else str(value)
    if value in ("None", "") and type(None) in kinds:
        return None
    if bool in kinds and value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(value)
            except ValueError:
                continue
    if kinds.isdisjoint({str, Sequence, value}):
        names = ", ".join(sorted(getattr(kind, "__name__", repr(kind)) for kind in kinds if kind is not type(None)))
        raise AirflowFailException(f"{name}={value!r} cannot be used: give {names}")
    return value


def _thresholds(name: str, value: Any) -> Any:
    """A threshold, or thresholds by label: of a mapping, of pairs, or of a text that stands for one of these.

    Pairs that name a label twice stay pairs, which the table operator refuses.
    """
    if value is None or isinstance(value, int | float):
        return value
    hint = "give a number, or one for each of some labels: {'happy': 0.4}, or happy=0.4,sad=0.2"
    try:
        if isinstance(value, str):
            if value in ("None", ""):
                return None
            value = _literal(value) if value.lstrip().startswith(("{", "[", "(")) else thresholds_in(value)
        if isinstance(value, float):
            return value
        pairs = list(value.items()) if isinstance(value, Mapping) else [tuple(pair) for pair in listed(value) or ()]
        found = [
            (str(label), float(threshold) if isinstance(threshold, str) else threshold) for label, threshold in pairs
        ]
    except (ValueError, TypeError) as error:
        raise AirflowFailException(f"{name}={value!r} cannot be used ({error}): {hint}") from error
    if not found:
        raise AirflowFailException(f"{name}={value!r} cannot be used: {hint}")
    return dict(found) if len(dict(found)) == len(found) else [list(pair) for pair in found]


def _several(name: str, value: Any, kinds: set[Any]) -> list[Any] | None:
    """The values of an option that may have several; None where it has one or none."""
    if not isinstance(value, str) or kinds.isdisjoint({Sequence, tuple}):
        return listed(value)
    found = list_in(value)
    if found is None and kinds.isdisjoint({str, tuple, value}) and value not in ("None", ""):
        if value.startswith(("[", "(", "{")):
            raise AirflowFailException(f"{name}={value!r} cannot be used: it is no list")
        return [value]
    return found


def text_of(name: str, value: Any) -> str | None:
    """A text, or None, as which a template gives it too.

    Raises:
        AirflowFailException: It is neither.
    """
    if value is not None and not isinstance(value, str):
        raise AirflowFailException(f"{name}={value!r} cannot be used: give a text")
    return None if value in ("None", "") else value


def listed(value: Any) -> list[Any] | None:
    """Several values as a list; None where it is one. What mapped tasks returned is a sequence that is no list."""
    if isinstance(value, Set):
        return sorted(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value[:])  # its iteration logs an error where it ends
    return None


def list_in(text: str) -> list[Any] | None:
    """The list that a template made a text of; None where the text is none."""
    if text.lstrip().startswith(("[", "(", "{")):
        with contextlib.suppress(ValueError):
            return listed(_literal(text))
    return None


def _literal(text: str) -> Any:
    """What a text stands for that a template made of a list, a set or a dictionary.

    Raises:
        ValueError: It stands for nothing.
    """
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError):
            return read(text)
    raise ValueError(f"{text!r} is neither JSON nor Python")


def _kinds(hint: Any) -> set[Any]:
    """The types and the literal values that a hint allows."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_kinds(one) for one in typing.get_args(hint)))
    if origin is typing.Literal:
        return set(typing.get_args(hint))
    return set() if origin is Annotated else {origin or hint}
