"""What a detector's faces depend on, as a text that is the same in every process and differs between detectors."""

from __future__ import annotations

import dataclasses
import functools
import numbers
import sys
import types
from typing import Any

from emotion_ops.errors import OptionError
from emotion_ops.faces.weights import DetectorFile, locate, sha256_of


def identity_of(detector: Any) -> str:
    """The hash of a detector's weights; of a callable its name, and all that it holds besides.

    A function or class is known by the name under which it is imported, a method and a ``functools.partial`` by that
    and what they are bound to, and an object by its class and its ``repr``.

    Raises:
        ModelError: Its file is not there.
        OptionError: It is a callable whose like cannot be told from it: a lambda or a function within a function,
            an array or a network, or an object whose ``repr`` tells where it lies in memory, or is shortened.
    """
    if isinstance(detector, DetectorFile):
        return f"yunet sha256:{detector.sha256}"
    if detector is None or isinstance(detector, str):
        return f"yunet sha256:{sha256_of(locate(detector))}"
    told = _told(detector)
    if told is None:
        hint = (
            "its faces could not be told from those of another one: give a function of a module, a partial or a method "
            "of such, or an object whose repr says in full what its faces depend on (a frozen dataclass, say)"
        )
        raise OptionError("detector", detector, hint)
    return told


def _told(value: Any) -> str | None:
    """A text for a callable or what it holds; None where there is none that can be relied on."""
    if isinstance(value, functools.partial):
        named = [("", value.func), *(("", argument) for argument in value.args)]
        return _of_all("partial", [*named, *((f"{name}=", value.keywords[name]) for name in sorted(value.keywords))])
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):  # a method
        told = _told(owner)
        return None if told is None else f"{told}.{value.__name__}"
    if hasattr(value, "__qualname__"):
        name = f"{value.__module__}.{value.__qualname__}"
        return name if _imported(value.__module__, value.__qualname__) is value else None
    if isinstance(value, list | tuple | set | frozenset):
        return _of_all(
            type(value).__name__, [("", item) for item in value], unordered=isinstance(value, set | frozenset)
        )
    if isinstance(value, dict):
        return _of_all("dict", [pair for item in value.items() for pair in (("", item[0]), ("=", item[1]))])
    if dataclasses.is_dataclass(value) and hasattr(type(value).__repr__, "__wrapped__"):  # the one that they write
        named = [(f"{field.name}=", getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr]
        return _of_all(f"{type(value).__module__}.{type(value).__qualname__}", named)
    if not isinstance(value, numbers.Number) and (hasattr(value, "__array__") or hasattr(value, "state_dict")):
        return None  # whose repr rounds numbers, or has none of them
    said = repr(value)
    if " at 0x" in said or "..." in said:  # where it lies in memory; or as many shorten what is long
        return None
    kind = type(value)
    return said if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__} {said}"


def _of_all(name: str, parts: list[tuple[str, Any]], *, unordered: bool = False) -> str | None:
    """A text for something that holds others; None where there is none for one of them."""
    told = [(before, _told(part)) for before, part in parts]
    texts = [before + text for before, text in told if text is not None]
    if len(texts) < len(parts):
        return None
    return f"{name}({', '.join(sorted(texts) if unordered else texts)})"  # a set's own order is the process's


def _imported(module: str, name: str) -> Any:
    """What another process gets by this name, as ``pickle`` does."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
