"""The flags of an operator or a function: its parameters, with groups of options replaced by their fields."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from emotion_ops.errors import OperatorError, OptionError
from emotion_ops.flags.docstrings import read_arguments
from emotion_ops.options import Check, OptionGroup, flag_of

Source = type[Any] | Callable[..., Any]


@dataclass(frozen=True)
class Flag:
    """One option with a flat name.

    Attributes:
        name: The flat name, with underscores.
        parameter: The parameter of the operator or function that it belongs to.
        field: The field of the parameter's group; empty if the parameter is not a group.
        hint: The type.
        default: The value if it is not given; ``dataclasses.MISSING`` if it has none.
        help: The description.
        panel: What it is shown with: the name of its group, or of the operator or function.
        check: The check of its value, if it has one.
    """

    name: str
    parameter: str
    field: str
    hint: Any
    default: Any
    help: str
    panel: str
    check: Check | None = None

    @property
    def members(self) -> tuple[Any, ...]:
        """The types and literal values that it may have."""
        return members(self.hint)


@dataclass(frozen=True)
class Parameter:
    """A parameter of an operator or a function.

    Attributes:
        name: Its name.
        group: The group of options that it takes; None for a plain value.
        is_optional: Whether it may be None.
        has_words: Whether it takes other values too; the name of the group is then one of its flag's values:
            ``precision="int8"`` for ``Literal["auto", …] | Int8``.
    """

    name: str
    group: type[OptionGroup] | None
    is_optional: bool
    has_words: bool

    @property
    def word(self) -> str:
        """The value of the parameter's own flag that chooses the group."""
        return self.group.__name__.lower() if self.group else ""


@dataclass(frozen=True)
class FlagSet:
    """The flags of an operator or a function.

    Attributes:
        flags: The flags by flat name.
        parameters: The parameters by name.
    """

    flags: Mapping[str, Flag]
    parameters: Mapping[str, Parameter]

    def flags_of(self, parameter: str) -> dict[str, Flag]:
        """The flags of a group by field name."""
        return {flag.field: flag for flag in self.flags.values() if flag.parameter == parameter and flag.field}

    def without(self, *names: str) -> FlagSet:
        """These flags but some."""
        return FlagSet({name: flag for name, flag in self.flags.items() if name not in names}, self.parameters)

    def only(self, *names: str) -> FlagSet:
        """Some of these flags."""
        return FlagSet({name: self.flags[name] for name in names}, self.parameters)

    def rename(self, error: OptionError, spell: Callable[[str], str] = str) -> OptionError:
        """The same error with the flat name of the option.

        Args:
            error: An error about a parameter or a group's field.
            spell: How a flat name is written, ``--face-threshold`` for example.
        """
        owners = {f"{flag.panel}.{flag.field}" if flag.field else flag.parameter: name
                  for name, flag in self.flags.items()}  # fmt: skip
        name = owners.get(error.option) or (error.option if error.option in self.flags else None)
        return OptionError(spell(name), error.value, error.hint) if name else error


@functools.cache
def read_flags(source: Source) -> FlagSet:
    """Read the flags of an operator class or of a function's keyword arguments.

    Raises:
        OperatorError: Two options have the same flat name.
    """
    flags: dict[str, Flag] = {}
    parameters: dict[str, Parameter] = {}
    for name, hint, default, check, text in _declared(source):
        kinds = members(hint)
        group = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, OptionGroup)), None)
        others = [kind for kind in kinds if kind not in (group, types.NoneType)]
        parameter = Parameter(name, group, types.NoneType in kinds, bool(group and others))
        parameters[name] = parameter
        if parameter.has_words:
            hint = hint | typing.Literal[parameter.word]
        found = [] if group and not others else [Flag(name, name, "", hint, default, text, source.__name__, check)]
        for flag in (*found, *_group_flags(parameter, default)):
            if flag.name in flags:
                raise OperatorError(source.__name__, f"two options have the flat name {flag.name!r}")
            flags[flag.name] = flag
    return FlagSet(flags, parameters)


def members(hint: Any) -> tuple[Any, ...]:
    """The types and literal values that a hint allows; unions and aliases are resolved."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return tuple(member for one in typing.get_args(hint) for member in members(one))
    if origin is typing.Literal:
        return typing.get_args(hint)
    return members(typing.get_args(hint)[0]) if origin is typing.Annotated else (hint,)


def _declared(source: Source) -> Iterator[tuple[str, Any, Any, Check | None, str]]:
    """Name, hint, default, check and description of each parameter."""
    hints = typing.get_type_hints(source)
    if isinstance(source, type):
        texts = {name: text for one in reversed(source.__mro__) for name, text in read_arguments(one.__doc__).items()}
        for field in sorted(dataclasses.fields(source), key=lambda field: _depth(source, field.name)):
            check = field.metadata.get("check")
            yield field.name, hints[field.name], field.default, check, texts.get(field.name, "")
        return
    texts = read_arguments(source.__doc__)
    for name, parameter in inspect.signature(source).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = dataclasses.MISSING if parameter.default is parameter.empty else parameter.default
            yield name, hints[name], default, None, texts.get(name, "")


def _depth(source: type[Any], name: str) -> int:
    """How many classes up a field is declared: a class's own options come before those that it inherits."""
    return next(depth for depth, one in enumerate(source.__mro__) if name in inspect.get_annotations(one))


def _group_flags(parameter: Parameter, default: Any) -> Iterator[Flag]:
    if parameter.group is None:
        return
    hints, texts = typing.get_type_hints(parameter.group), read_arguments(parameter.group.__doc__)
    for number, field in enumerate(dataclasses.fields(parameter.group)):
        hint = hints[field.name]
        value = getattr(default, field.name) if isinstance(default, parameter.group) else field.default
        if not number and parameter.is_optional and not parameter.has_words:
            hint, value = hint | None, None if default is None else value
        yield Flag(
            flag_of(field), parameter.name, field.name, hint, value, texts.get(field.name, ""),
            parameter.group.__name__, field.metadata.get("check"),
        )  # fmt: skip
