"""Flat or nested options, from text or JSON → the arguments of an operator or a function."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from emotion_ops.errors import OptionError
from emotion_ops.flags.fields import Flag, FlagSet, Parameter, members
from emotion_ops.options import OptionGroup

_NONE = ("None", "none", "")


def build_arguments(flags: FlagSet, values: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments that options mean.

    Args:
        flags: The flags of the operator or function.
        values: Options by flat name (``face_threshold``), or by parameter with a group's fields as a mapping
            (``faces: {"which": "all", "threshold": 0.8}``) or its plain value. Text is read as a value of the
            option's type: ``"0.8"``, ``"False"``, ``"['s3', 'https']"``.

    Raises:
        OptionError: There is no such option, it is given twice, it has no effect without another, or its value cannot
            be used; with its flat name.
    """
    arguments: dict[str, Any] = {}
    fields: dict[str, dict[str, Any]] = {}
    for flag, value in _flat(flags, values):
        place = fields.setdefault(flag.parameter, {}) if flag.field else arguments
        key = flag.field or flag.parameter
        if key in place:
            raise OptionError(flag.name, value, "it is given twice: flat and in its group")
        place[key] = read_value(flag, value)
    for name, given in fields.items():
        parameter = flags.parameters[name]
        try:
            arguments[name] = _make_group(flags, parameter, given, arguments.get(name))
        except OptionError as error:
            raise flags.rename(error) from None
    _choose_groups(flags, arguments)
    return arguments


def read_value(flag: Flag, value: Any) -> Any:
    """Read text or JSON as a value of an option's type.

    Raises:
        OptionError: The text is not a value of this type, and the option has no check that refuses it.
    """
    kinds = flag.members
    found = _read(value, kinds)
    if flag.check is None and isinstance(found, str) and not _takes_text(found, kinds):
        raise OptionError(flag.name, value, f"give {describe_type(kinds)}")
    return found


def describe_type(kinds: Collection[Any]) -> str:
    """Types and literal values in words: ``a whole number, or 'auto'``."""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    words = [repr(kind) if isinstance(kind, str) else names.get(kind, "") for kind in kinds]
    words = [word for word in words if word] or ["a list"]
    return ", or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _flat(flags: FlagSet, values: Mapping[str, Any]) -> list[tuple[Flag, Any]]:
    found: list[tuple[Flag, Any]] = []
    for name, value in values.items():
        parameter = flags.parameters.get(name)
        group = flags.flags_of(name) if parameter and parameter.group else {}
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = _literal(value)
        if isinstance(value, Mapping) and group and set(value) <= set(group):
            found += [(group[field], one) for field, one in value.items()]
        elif name in flags.flags:
            found.append((flags.flags[name], value))
        elif group:
            found.append((next(iter(group.values())), value))
        else:
            near = difflib.get_close_matches(name, flags.flags, 1) or sorted(flags.flags)
            raise OptionError(name, value, f"there is no such option: give {', '.join(near)}")
    return found


def _make_group(flags: FlagSet, parameter: Parameter, given: dict[str, Any], chosen: Any) -> OptionGroup | None:
    assert parameter.group is not None
    first, *others = flags.flags_of(parameter.name).values()
    if parameter.has_words:
        if chosen not in (None, parameter.word):
            name, value = next(iter(given.items()))
            hint = f"remove it, or give {parameter.name}={parameter.word}"
            raise OptionError(flags.flags_of(parameter.name)[name].name, value, hint)
    elif parameter.is_optional and given.get(first.field) is None and first.default is None:
        used = [flag for flag in others if given.get(flag.field) is not None]
        may_be_none = types.NoneType in members(typing.get_type_hints(parameter.group)[first.field])
        if used and not may_be_none:
            choice = next((f"={kind}" for kind in first.members if isinstance(kind, str)), "")
            hint = f"it has no effect alone: remove it, or give {first.name}{choice}"
            raise OptionError(used[0].name, given[used[0].field], hint)
        if not used:
            return None
    return parameter.group(**given)


def _choose_groups(flags: FlagSet, arguments: dict[str, Any]) -> None:
    """Refuse the word for a group whose required fields are not given."""
    for name, parameter in flags.parameters.items():
        if parameter.has_words and arguments.get(name) == parameter.word:
            missing = [flag for flag in flags.flags_of(name).values() if flag.default is dataclasses.MISSING]
            if missing:
                raise OptionError(missing[0].name, None, f"give it with {name}={parameter.word}: {missing[0].help}")
            assert parameter.group is not None
            arguments[name] = parameter.group()


def _read(value: Any, kinds: Sequence[Any]) -> Any:
    if isinstance(value, str):
        return _read_text(value, kinds)
    if isinstance(value, Mapping):
        hints = [typing.get_args(kind) for kind in kinds if typing.get_origin(kind) in (Mapping, dict)]
        return {name: _read(one, members(hints[0][1])) for name, one in value.items()} if hints else value
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        hints = [typing.get_args(kind) for kind in kinds if _is_sequence(kind)]
        if not hints:
            return value
        every = hints[0] if hints[0][-1] is not Ellipsis and len(hints[0]) == len(value) else hints[0][:1] * len(value)
        return [_read(one, members(hint)) for one, hint in zip(value, every, strict=True)]
    return value


def _read_text(text: str, kinds: Sequence[Any]) -> Any:
    if text in [kind for kind in kinds if isinstance(kind, str)]:
        return text
    if text in _NONE and types.NoneType in kinds:
        return None
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(text)
    if text.lstrip().startswith(("[", "(", "{")) and any(map(_is_collection, kinds)):
        found = _literal(text)
        return found if isinstance(found, str) else _read(found, kinds)
    return text


def _literal(text: str) -> Any:
    """The value of a text in JSON, or of a Python literal; the text itself if it is neither."""
    for read in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError):
            found = read(text)
            return sorted(found) if isinstance(found, set) else found
    return text


def _is_sequence(kind: Any) -> bool:
    return _is_generic(kind, Sequence)


def _is_collection(kind: Any) -> bool:
    return _is_sequence(kind) or typing.get_origin(kind) in (Mapping, dict)


def _takes_text(text: str, kinds: Sequence[Any]) -> bool:
    if text in kinds or str in kinds or Any in kinds:
        return True
    return any(_is_generic(kind, os.PathLike) for kind in kinds)


def _is_generic(kind: Any, base: type[Any]) -> bool:
    """Whether it is a type with parameters, and a subclass of another: ``Sequence[str]`` of ``Sequence``."""
    origin: Any = typing.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, base)
