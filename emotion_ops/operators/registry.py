"""Operators by name: what packages register in the entry-point group ``emotion_ops.operators``."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

from emotion_ops.errors import OptionError

GROUP = "emotion_ops.operators"


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {found.name: found for found in importlib.metadata.entry_points(group=GROUP)}


def names() -> tuple[str, ...]:
    """The names of all registered operators."""
    return tuple(sorted(_entry_points()))


def is_registered(name: str) -> bool:
    """Whether an operator of this name is installed."""
    return name in _entry_points()


def load_operator_class(name: str) -> type[Any]:
    """The class that is registered by a name.

    Nothing but registered classes is imported: names come from files that others wrote.

    Raises:
        OptionError: There is none, or it cannot be imported.
    """
    if name not in _entry_points():
        hint = f"give one of {', '.join(map(repr, names()))}, or install the package that registers it in {GROUP!r}"
        raise OptionError("operator", name, hint)
    try:
        found: type[Any] = _entry_points()[name].load()
    except (ImportError, AttributeError) as error:
        raise OptionError("operator", name, f"it cannot be imported ({error}): install its package again") from error
    return found


@functools.cache
def name_of(operator_class: type[Any]) -> str:
    """The name that a class is registered by; else its module and its own name."""
    value = f"{operator_class.__module__}:{operator_class.__qualname__}"
    return next((name for name, found in _entry_points().items() if _is(found, operator_class)), value)


def _is(found: importlib.metadata.EntryPoint, operator_class: type[Any]) -> bool:
    """Whether an entry point means a class, which is imported already; a package may register it by a shorter path."""
    package = operator_class.__module__.partition(".")[0]
    if found.module.partition(".")[0] != package or found.attr != operator_class.__qualname__:
        return False
    return found.load() is operator_class
