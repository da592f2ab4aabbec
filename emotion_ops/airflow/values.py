"""Values of options as JSON carries them. What rendered text means is decided by the worker, which knows the types."""

from __future__ import annotations

import ast
import contextlib
import json
import os
from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Any, TypeAlias

from airflow.sdk import ObjectStoragePath, XComArg
from airflow.sdk.exceptions import AirflowFailException

Template: TypeAlias = Annotated[str | XComArg, "a value of the option's own type when the task runs"]
"""A Jinja template, or what another task returns."""

Location: TypeAlias = str | ObjectStoragePath | XComArg
"""A path, a URI, or an ``ObjectStoragePath``."""


def as_json(value: Any) -> Any:
    """A value of JSON types: sets are sorted lists, and what mapped tasks returned is a list.

    Raises:
        AirflowFailException: JSON has no such value: a function, for example.
    """
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    several = as_list(value)
    if several is not None:
        return [as_json(one) for one in several]
    if isinstance(value, os.PathLike | ObjectStoragePath):
        return path_text(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    hint = "options travel to another process as JSON: give a text, a number, a path, a list or a dictionary"
    raise AirflowFailException(f"{value!r} cannot be used: {hint}")


def as_list(value: Any) -> list[Any] | None:
    """Several values as a list; None for one value. What mapped tasks returned is a sequence, but not a list."""
    if isinstance(value, Set):
        return sorted(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value[:])  # iterating it logs an error at its end
    return None


def read_list(text: str) -> list[Any] | None:
    """The list that a template turned into text; None if the text is not one."""
    return as_list(_read_literal(text))


def read_options(options: Any) -> dict[str, Any]:
    """Options by name as JSON, also from the text that a template made of them.

    Raises:
        AirflowFailException: They are not a dictionary.
    """
    found = {} if options in (None, "None", "") else options
    found = _read_literal(found) if isinstance(found, str) else found
    if not isinstance(found, Mapping):
        raise AirflowFailException(f"options={options!r} cannot be used: give a dictionary")
    plain: dict[str, Any] = as_json(found)
    return plain


def _read_literal(text: str) -> Any:
    """The value of a text in JSON, or of a Python literal; None if it is neither."""
    if text.lstrip().startswith(("[", "(", "{")):
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError):
                return read(text)
    return None


def as_sources(source: Any) -> list[Any]:
    """The sources of a job: one, several, or the text that a template made of several."""
    several = read_list(source) if isinstance(source, str) else as_list(source)
    return [source] if several is None else several


def read_text(name: str, value: Any) -> str | None:
    """A text, or None, which a template gives as text too.

    Raises:
        AirflowFailException: It is neither.
    """
    if value is not None and not isinstance(value, str):
        raise AirflowFailException(f"{name}={value!r} cannot be used: give a text")
    return None if value in ("None", "") else value


def read_number(name: str, value: Any) -> float:
    """A number, which a template gives as text.

    Raises:
        AirflowFailException: It is not a number.
    """
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise AirflowFailException(f"{name}={value!r} cannot be used: give a number") from error


def path_text(path: os.PathLike[str] | ObjectStoragePath) -> str:
    """A path as text; of a file on a disk without its scheme."""
    if isinstance(path, ObjectStoragePath):
        return path.path if path.protocol == "file" else str(path)
    return os.fspath(path)
