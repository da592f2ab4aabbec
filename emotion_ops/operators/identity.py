"""An operator's options as JSON, and back: what fingerprints, cache keys and lineage are made of."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from emotion_ops.errors import OptionError
from emotion_ops.options import OptionGroup, as_json, flag_of


def options_as_json(operator: Any) -> dict[str, Any]:
    """The options that change values, by name; those of a group by their own flat names.

    Args:
        operator: A dataclass whose fields are options.

    Raises:
        OptionError: An option has a value that JSON does not have.
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(operator):
        value = getattr(operator, field.name)
        if isinstance(value, OptionGroup):
            found.update(value.identity())
        elif field.metadata.get("changes_values", True):
            found[field.name] = as_json(value)
    for name, value in found.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            hint = f"it cannot be written as JSON ({error}): give another value, or define identity in the operator"
            raise OptionError(name, value, hint) from error
    return found


def options_from_json(operator_class: type[Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The options that ``options_as_json`` wrote, by the names of the fields. Fields without a value are left out.

    Args:
        operator_class: The dataclass.
        found: JSON values by name; other names are ignored.

    Raises:
        OptionError: A value cannot be used.
    """
    options: dict[str, Any] = {}
    for field in dataclasses.fields(operator_class):
        if isinstance(field.default, OptionGroup):
            parts = {one.name: flag_of(one) for one in dataclasses.fields(field.default)}
            values = {name: found[flag] for name, flag in parts.items() if flag in found}
            options |= {field.name: type(field.default)(**values)} if values else {}
        elif field.name in found:
            options[field.name] = found[field.name]
    return options
