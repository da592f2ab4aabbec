"""What an output was made of: equal fingerprints promise equal numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion_ops.io.redact import redact_all, without_secrets
from emotion_ops.lake.targets.folder import Entry
from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.operators.classify.labels import as_json
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.classify.session import resolved_settings, search_of

FORMAT_VERSION = 1
"""Raised whenever this package writes other numbers or other columns for equal options."""

# fmt: off
_NUMBERS = (
    "image", "on_error", "prefix", "min_probability", "channels", "root",
    "max_bytes", "max_pixels", "max_side", "max_frames", "decode",
)
# fmt: on


@dataclass(frozen=True)
class Fingerprint:
    """Everything that decides what an output file holds.

    Attributes:
        parts: By name, as JSON values.
    """

    parts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 over the parts, in hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def retry_digest(self, output: Entry) -> str:
        """What a retry of an output's failed rows goes by: another one for each state of the output."""
        return hashlib.sha256(f"{self.digest} {output.size} {output.version}".encode()).hexdigest()

    def to_json(self) -> str:
        """The parts as one line of JSON with sorted keys."""
        return json.dumps(self.parts, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Fingerprint:
        """Read back what ``to_json`` wrote."""
        return cls(json.loads(text))

    def differences(self, other: Fingerprint) -> list[str]:
        """In words, where another fingerprint differs from this one; secrets of a root are left out."""
        names = sorted({*self.parts, *other.parts})
        return [
            redact_all(f"{name}: {other.parts.get(name)!r} there, {self.parts.get(name)!r} now")
            for name in names
            if self.parts.get(name) != other.parts.get(name)
        ]


def _faces(operator: ClassifyEmotions) -> dict[str, Any]:
    """Whether faces are looked for; where they are, what decides which are found."""
    search = search_of(operator)
    return {"faces": operator.faces} if search is None else {"faces": operator.faces, **search.identity()}


def _names(columns: str | Sequence[str]) -> str | list[str]:
    """One spelling for equal choices, as JSON gives it back."""
    return sorted({columns} if isinstance(columns, str) else set(columns)) or "none"


@dataclass(frozen=True)
class Recipe:
    """The part of a fingerprint that all files of a job share: the weights and the options."""

    parts: Mapping[str, Any]

    @classmethod
    def of(cls, operator: ClassifyEmotions, columns: Any) -> Recipe:
        """What these options make of any file; hashes the weights.

        Args:
            operator: The options.
            columns: Which columns pass through.
        """
        checkpoint = resolve_checkpoint(operator.model, operator.revision)
        options = {**{name: getattr(operator, name) for name in _NUMBERS}, **resolved_settings(operator)}
        if "://" in (root := str(operator.root)):
            options["root"] = without_secrets(root)  # footers are read by others
        return cls(
            {
                **options,
                **_faces(operator),
                "labels_above": as_json(operator.labels_above),
                "labels": list(operator.output_columns().labels),
                "weights_sha256": checkpoint.weights_sha256(),
                "settings_sha256": checkpoint.settings_sha256(),
                "columns": columns if columns in ("all", "none") else _names(columns),
                "format": FORMAT_VERSION,
            }
        )

    def fingerprint(self, source: Entry, rows: int) -> Fingerprint:
        """The fingerprint of one output file.

        Args:
            source: The source file's identity.
            rows: How many rows it has.
        """
        return Fingerprint(
            {**self.parts, "source_size": source.size, "source_version": source.version, "source_rows": rows}
        )
