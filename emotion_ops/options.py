"""Options as small frozen values: each field is declared once, with its check, its flag and its documentation.

A group of options is a frozen dataclass that inherits from ``OptionGroup``. Its fields are made by ``option``. The
command line, Airflow, JSON and the reference page are generated from these fields and from the class's docstring.
"""

from __future__ import annotations

import dataclasses
import functools
import numbers
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from emotion_ops.errors import OptionError

Check: TypeAlias = Callable[[str, Any], Any]
"""Takes an option's name and value, and returns the value in its one form, hashable; raises ``OptionError``."""

_UNIT_NAMES = ("B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB")
_UNITS = {"": 1, **{name.lower(): 1000**power for power, name in enumerate(_UNIT_NAMES[:5])},
          **{name.lower(): 1024**power for power, name in enumerate(_UNIT_NAMES[5:], 1)}}  # fmt: skip
_BYTES = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNIT_NAMES)}|)", re.IGNORECASE)


def option(check: Check, default: Any = dataclasses.MISSING, *, flag: str = "", changes_values: bool = True) -> Any:
    """A field of an option group.

    Args:
        check: Brings a value into its one form, or refuses it.
        default: The default; it is checked too.
        flag: The name where options are given flat, on the command line for example. Empty: the field's own name.
        changes_values: Whether it changes what is computed, so that it belongs to the identity.
    """
    return dataclasses.field(default=default, metadata={"check": check, "flag": flag, "changes_values": changes_values})


def flag_of(field: dataclasses.Field[Any]) -> str:
    """The flat name of a field that ``option`` made, with underscores."""
    return str(field.metadata.get("flag") or field.name)


class Checked:
    """A frozen dataclass whose fields are checked when it is made."""

    def __post_init__(self) -> None:
        """Bring every value into its one form.

        Raises:
            OptionError: A value cannot be used.
        """
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if check := field.metadata.get("check"):
                object.__setattr__(self, field.name, check(self._option_name(field.name), getattr(self, field.name)))

    def _option_name(self, field: str) -> str:
        """How messages name a field."""
        return field


@dataclass(frozen=True)
class OptionGroup(Checked):
    """Options that belong together. The first field is the plain value that a call accepts in place of the group."""

    def identity(self) -> dict[str, Any]:
        """All that changes a value, as JSON values by flat name."""
        return {
            flag_of(field): as_json(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.metadata.get("changes_values", True)
        }

    @classmethod
    def check(cls, name: str, value: Any) -> Self:
        """A check for ``option``: the group, or its plain value, or a mapping of its fields from JSON.

        Args:
            name: The option's name, for messages.
            value: The value.

        Raises:
            OptionError: It cannot be used.
        """
        if isinstance(value, cls):
            return value
        first = dataclasses.fields(cls)[0].name
        if isinstance(value, Mapping) and value and set(value) <= {field.name for field in dataclasses.fields(cls)}:
            return cls(**value)
        if isinstance(value, OptionGroup):
            raise OptionError(name, value, f"give {cls.__name__}(…), or its {first}")
        return cls(**{first: value})

    def _option_name(self, field: str) -> str:
        return f"{type(self).__name__}.{field}"


def as_json(value: Any) -> Any:
    """An option's value as JSON has it: groups as objects, pairs and names as lists."""
    if isinstance(value, OptionGroup):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [as_json(one) for one in value]
    return value


def text(name: str, value: Any) -> str:
    """A check: a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise OptionError(name, value, "give a text that is not empty")
    return value


def path(name: str, value: Any) -> str:
    """A check: a path or URI, as text or ``os.PathLike``."""
    return text(name, os.fspath(value) if isinstance(value, os.PathLike) else value)


def names(name: str, value: Any) -> tuple[str, ...]:
    """A check: one name, or several."""
    found = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if not all(isinstance(one, str) for one in found):
        raise OptionError(name, value, "give names, for example ('s3', 'https')")
    return found


def whole_number(name: str, value: Any, minimum: int = 1) -> int:
    """A check: a whole number of at least ``minimum``; numpy's too."""
    try:
        number = operator.index(value)
    except TypeError:
        number = minimum - 1
    if isinstance(value, bool) or number < minimum:
        raise OptionError(name, value, f"give a whole number of at least {minimum}")
    return number


def at_least(minimum: int) -> Check:
    """A check: a whole number of at least ``minimum``."""
    return lambda name, value: whole_number(name, value, minimum)


def byte_count(name: str, value: Any) -> int:
    """A check: a number of bytes; text with a unit too, ``"2GB"`` or ``"512 MiB"``."""
    if isinstance(value, str) and (parts := _BYTES.fullmatch(value.strip())):
        value = round(float(parts[1]) * _UNITS[parts[2].lower()])
    if isinstance(value, str):
        raise OptionError(name, value, f"give bytes, or a number with one of {', '.join(_UNIT_NAMES)}: 2GB")
    return whole_number(name, value)


def fraction(name: str, value: Any) -> float:
    """A check: a number from 0 to 1."""
    return number(name, value, lambda one: 0 <= one <= 1, "give a number from 0 to 1")


def seconds(name: str, value: Any) -> float:
    """A check: a number of seconds above 0."""
    return number(name, value, lambda one: 0 < one < 1e6, "give a number of seconds above 0")


def number(name: str, value: Any, fits: Callable[[float], bool], hint: str) -> float:
    """A real number for which ``fits`` is true.

    Raises:
        OptionError: It is another value; ``hint`` says what to give.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not fits(float(value)):
        raise OptionError(name, value, hint)
    return float(value)


def one_of(*choices: str) -> Check:
    """A check: one of some texts."""

    def check(name: str, value: Any) -> Any:
        if value not in choices:
            raise OptionError(name, value, f"give one of {', '.join(repr(choice) for choice in choices)}")
        return value

    return check


def optional(check: Check, other: str | None = None) -> Check:
    """A check that also accepts one further value: None, or ``"auto"``."""

    @functools.wraps(check)
    def check_or_other(name: str, value: Any) -> Any:
        return value if value is other or value == other else check(name, value)

    return check_or_other
