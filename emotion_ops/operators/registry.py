"""Operators by name: what packages register in the entry-point group ``emotion_ops.operators``."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

from emotion_ops.errors import OptionError

GROUP = "emotion_ops.operators"


@functools.cache
def _entry_points() -> dict[str, list[importlib.metadata.EntryPoint]]:
    """What is registered by each name; more than one if packages disagree."""
    found: dict[str, dict[str, importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        found.setdefault(point.name, {})[point.value] = point
    return {name: list(points.values()) for name, points in found.items()}


def names() -> tuple[str, ...]:
    """The names of all registered operators."""
    return tuple(sorted(_entry_points()))


def is_registered(name: str) -> bool:
    """Whether an operator of this name is installed."""
    return name in _entry_points()


def load_operator_class(name: str) -> type[Any]:
    """The class that is registered by a name.

    Only registered classes are imported, since names may come from files that other people wrote.

    Raises:
        OptionError: There is none, there are several, or it cannot be imported.
    """
    if name not in _entry_points():
        hint = f"give one of {', '.join(map(repr, names()))}, or install the package that registers it in {GROUP!r}"
        raise OptionError("operator", name, hint)
    point, *others = _entry_points()[name]
    if others:
        values = " and ".join(one.value for one in (point, *others))
        raise OptionError("operator", name, f"it is registered as {values}: uninstall all of their packages but one")
    try:
        found: type[Any] = point.load()
    except (ImportError, AttributeError) as error:
        raise OptionError("operator", name, f"it cannot be imported ({error}): install its package again") from error
    if not hasattr(found, "output_fields"):
        raise OptionError("operator", name, f"{point.value} is not a table operator: its package is wrong")
    return found


@functools.cache
def name_of(operator_class: type[Any]) -> str:
    """The name that a class is registered by; else its module and its own name."""
    for name, points in _entry_points().items():
        if any(_refers_to(point, operator_class) for point in points):
            return name
    return f"{operator_class.__module__}:{operator_class.__qualname__}"


def _refers_to(point: importlib.metadata.EntryPoint, operator_class: type[Any]) -> bool:
    """Whether an entry point is of a class. Its package is imported already, but may register it by a shorter path."""
    package = operator_class.__module__.partition(".")[0]
    if point.module.partition(".")[0] != package or point.attr != operator_class.__qualname__:
        return False
    return point.load() is operator_class
