"""What an output was made of: equal fingerprints mean equal values."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emotion_ops.io.redact import redact_all, without_secrets
from emotion_ops.lake.targets.folder import Entry
from emotion_ops.operators.base import TableOperator

FORMAT_VERSION = 1
"""Raised whenever this package writes outputs of another layout for equal options."""

_SOURCE = "source_"


@dataclass(frozen=True)
class Fingerprint:
    """Everything that decides the content of an output file.

    Attributes:
        parts: By name, as JSON values.
    """

    parts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the parts, in hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def identity(self) -> Mapping[str, Any]:
        """The operator's identity; see ``TableOperator.identity``."""
        found = self.parts.get("operator")
        return found if isinstance(found, Mapping) else {}

    @property
    def operator_name(self) -> str:
        """The registered name of the operator; empty if it is not known."""
        return str(self.identity.get("operator", ""))

    @property
    def on_error(self) -> str:
        """What the operator did with failed rows."""
        return str(self.identity.get("on_error", "null"))

    @property
    def appended(self) -> tuple[tuple[str, str], ...]:
        """Names and Arrow types of the appended columns, in order; the error column is last."""
        return tuple((name, kind) for name, kind in self.parts.get("appended", ()))

    @property
    def columns(self) -> str | Sequence[str]:
        """Which source columns passed through; see ``enrich_dataset``."""
        found: str | Sequence[str] = self.parts.get("columns", "all")
        return found

    @property
    def recipe_digest(self) -> str:
        """The same for all outputs of a job; see ``Recipe.digest``."""
        return Fingerprint({name: part for name, part in self.parts.items() if not name.startswith(_SOURCE)}).digest

    def retry_digest(self, output: Entry) -> str:
        """The digest of a retry of an output's failed rows: another one for each state of the output."""
        return hashlib.sha256(f"{self.digest} {output.size} {output.version}".encode()).hexdigest()

    def to_json(self) -> str:
        """The parts as one line of JSON with sorted keys."""
        return json.dumps(self.parts, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Fingerprint:
        """Read what ``to_json`` wrote."""
        return cls(json.loads(text))

    def differences(self, other: Fingerprint) -> list[str]:
        """How another fingerprint differs from this one, in words; without secrets.

        Args:
            other: The fingerprint of an existing output.
        """
        ours, theirs = _flat(self.parts), _flat(other.parts)
        return [
            redact_all(f"{name}: {theirs.get(name)!r} there, {ours.get(name)!r} now")
            for name in sorted({*ours, *theirs})
            if ours.get(name) != theirs.get(name)
        ]


@dataclass(frozen=True)
class Recipe:
    """The part of a fingerprint that all files of a job share: the operator's identity and the columns.

    Attributes:
        parts: By name, as JSON values.
    """

    parts: Mapping[str, Any] = field(hash=False)

    @classmethod
    def create(cls, operator: TableOperator, columns: str | Sequence[str]) -> Recipe:
        """The recipe of a job; reads what the operator's identity needs, for example hashes of weights.

        Args:
            operator: The operator.
            columns: Which source columns pass through; see ``enrich_dataset``.
        """
        return cls(
            {
                "operator": _without_secrets(operator.identity()),
                "appended": [[field.name, str(field.type)] for field in operator.output_fields()],
                "columns": columns if columns in ("all", "none") else _unique(columns),
                "format": FORMAT_VERSION,
            }
        )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the parts, in hexadecimal digits."""
        return Fingerprint(self.parts).digest

    def fingerprint(self, source: Entry, rows: int) -> Fingerprint:
        """The fingerprint of one output file.

        Args:
            source: The source file's identity.
            rows: How many rows it has.
        """
        return Fingerprint(
            {
                **self.parts,
                f"{_SOURCE}size": source.size,
                f"{_SOURCE}version": source.version,
                f"{_SOURCE}rows": rows,
            }
        )


def _unique(columns: str | Sequence[str]) -> str | list[str]:
    """The same list for equal choices of columns."""
    return sorted({columns} if isinstance(columns, str) else set(columns)) or "none"


def _without_secrets(value: Any) -> Any:
    """A JSON value without the secrets of URIs in it: other people read footers."""
    if isinstance(value, str):
        return without_secrets(value) if "://" in value else value
    if isinstance(value, Mapping):
        return {name: _without_secrets(part) for name, part in value.items()}
    return [_without_secrets(part) for part in value] if isinstance(value, list | tuple) else value


def _flat(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts with those of the operator's identity among them, by their own names."""
    identity = parts.get("operator")
    return {**parts, **identity} if isinstance(identity, Mapping) else dict(parts)
