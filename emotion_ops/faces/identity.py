"""What a detector's faces depend on, as text: equal in every process, and different for different detectors."""

from __future__ import annotations

import dataclasses
import functools
import numbers
import sys
import types
from typing import Any

from emotion_ops.errors import OptionError
from emotion_ops.faces.weights import SHA256, PinnedFile, file_sha256, resolve_weights


def detector_identity(detector: Any) -> str:
    """The hash of a YuNet file; of a callable its name and the values that it is made of.

    A function or class is identified by the name under which it is imported, a method and a ``functools.partial`` by
    that and what they are bound to, and an object by its class and its ``repr``. Nothing is downloaded: the hub's file
    has a known hash.

    Raises:
        ModelError: Its file does not exist.
        OptionError: It is a callable that cannot be distinguished from a different one: a lambda or a function within
            a function, an array or a network, or an object whose ``repr`` is its address in memory, or is shortened.
    """
    if detector is None:
        return f"yunet sha256:{SHA256}"
    if isinstance(detector, PinnedFile):
        return f"yunet sha256:{detector.sha256}"
    if isinstance(detector, str):
        return f"yunet sha256:{file_sha256(resolve_weights(detector))}"
    description = _describe(detector)
    if description is None:
        hint = (
            "it cannot be distinguished from a detector that finds other faces: give a function of a module, a partial "
            "or a method of such, or an object whose repr has all that its faces depend on (for example a frozen "
            "dataclass)"
        )
        raise OptionError("detector", detector, hint)
    return description


def _describe(value: Any) -> str | None:
    """A text for a callable or a value in it; None if there is no reliable one."""
    if isinstance(value, functools.partial):
        positional = [("", value.func), *(("", argument) for argument in value.args)]
        by_name = [(f"{name}=", value.keywords[name]) for name in sorted(value.keywords)]
        return _describe_all("partial", [*positional, *by_name])
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):  # a method
        description = _describe(owner)
        return None if description is None else f"{description}.{value.__name__}"
    if hasattr(value, "__qualname__"):
        name = f"{value.__module__}.{value.__qualname__}"
        return name if _imported(value.__module__, value.__qualname__) is value else None
    if isinstance(value, list | tuple | set | frozenset):
        is_set = isinstance(value, set | frozenset)
        return _describe_all(type(value).__name__, [("", item) for item in value], ordered=not is_set)
    if isinstance(value, dict):
        return _describe_all("dict", [pair for item in value.items() for pair in (("", item[0]), ("=", item[1]))])
    if dataclasses.is_dataclass(value) and hasattr(type(value).__repr__, "__wrapped__"):  # the generated __repr__
        fields = [(f"{field.name}=", getattr(value, field.name)) for field in dataclasses.fields(value) if field.repr]
        return _describe_all(f"{type(value).__module__}.{type(value).__qualname__}", fields)
    if not isinstance(value, numbers.Number) and (hasattr(value, "__array__") or hasattr(value, "state_dict")):
        return None  # arrays and networks: their repr rounds numbers, or has none of them
    text = repr(value)
    if " at 0x" in text or "..." in text:  # an address in memory, or a shortened repr
        return None
    kind = type(value)
    return text if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__} {text}"


def _describe_all(name: str, parts: list[tuple[str, Any]], *, ordered: bool = True) -> str | None:
    """A text for a value made of others; None if one of them has none."""
    descriptions = [(prefix, _describe(part)) for prefix, part in parts]
    texts = [prefix + text for prefix, text in descriptions if text is not None]
    if len(texts) < len(parts):
        return None
    return f"{name}({', '.join(texts if ordered else sorted(texts))})"  # the order of a set differs between processes


def _imported(module: str, name: str) -> Any:
    """What another process gets by this name, as ``pickle`` does."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
