"""The vocabulary of emotions and the columns that are appended to a table.

Labels are bound by name: a checkpoint may list its emotions in any order and under the usual
synonyms; thresholds name them too. ``OutputColumns`` is the one place that knows which columns are appended, in which
order and of which Arrow type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from emotion_ops.errors import ColumnExistsError

if TYPE_CHECKING:
    import pyarrow as pa

EMOTIONS: tuple[str, ...] = ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy")
"""The seven emotions, in the order of the default model's own ``id2label``."""

ALIASES: Mapping[str, str] = {
    "sadness": "sad",
    "disgusted": "disgust",
    "anger": "angry",
    "neutrality": "neutral",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "surprised": "surprise",
    "happiness": "happy",
    "joy": "happy",
}
"""Other names under which published checkpoints list the same seven emotions."""

FACE = ("x", "y", "width", "height", "probability")
"""What is told of a face's box, float32, in pixels of the upright image."""

METADATA_KEY = b"emotion_ops"
"""Key of the lineage (JSON) in the metadata of the appended label field."""


@dataclass(frozen=True)
class Labels:
    """A checkpoint's labels in the order of its ``id2label``.

    Attributes:
        names: The names used for columns: the seven emotions where a label is one of them or an
            alias of one, else the checkpoint's own name.
        own: The checkpoint's own names, in the same order.
        unknown: Those of ``own`` that are none of the seven emotions.
    """

    names: tuple[str, ...]
    own: tuple[str, ...]
    unknown: tuple[str, ...]

    @classmethod
    def bind(cls, own: Sequence[str]) -> Labels:
        """Bind a checkpoint's label names to the seven emotions by name.

        Two labels that would become one emotion (``anger`` beside ``angry``) keep every own name.

        Args:
            own: The names in ``id2label``, by index.
        """
        plain = [name.strip().lower() for name in own]
        names = [ALIASES.get(name, name) for name in plain]
        unknown = tuple(o for o, name in zip(own, names, strict=True) if name not in EMOTIONS)
        known = [name for name in names if name in EMOTIONS]
        if len(set(known)) < len(known):
            return cls(tuple(own), tuple(own), tuple(own))
        bound = (name if name in EMOTIONS else o for o, name in zip(own, names, strict=True))
        return cls(tuple(bound), tuple(own), unknown)


def thresholds_in(text: str) -> float | dict[str, float]:
    """The threshold, or the thresholds by label, that a text stands for: ``0.3``, or ``happy=0.4,sad=0.2``.

    Raises:
        ValueError: It stands for neither, or names a label twice; its text says which.
    """
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.rpartition("=") for part in text.split(",")]
        found = [(label.strip(), float(threshold)) for label, _, threshold in pairs]
    except ValueError:
        raise ValueError(f"{text!r} is no threshold; give 0.3, or happy=0.4,sad=0.2 say") from None
    twice = [label for place, (label, _) in enumerate(found) if label in dict(found[:place])]
    if twice:
        raise ValueError(f"{text!r} names {twice[0]!r} twice; give each label one threshold")
    return dict(found)


@dataclass(frozen=True)
class OutputColumns:
    """The columns that are appended to a table, in order.

    Attributes:
        labels: The label names, in the order of the model's ``id2label``.
        prefix: What every appended name starts with.
        lineage: What made the numbers: model, revision, package version, the thresholds of labels where there are
            some, and where faces are looked for the detector and the options that choose them. Stored as JSON in the
            metadata of the label field, so that it travels with Arrow and Parquet.
        lists_labels: Whether there is a column of all labels that reach their thresholds.
        faces: ``largest`` adds where the face was and how many there were, ``all`` a list of all faces too.
    """

    labels: tuple[str, ...]
    prefix: str = "emotion"
    lineage: Mapping[str, str] = field(default_factory=dict, hash=False)
    lists_labels: bool = False
    faces: Literal["none", "largest", "all"] = "none"

    @property
    def label(self) -> str:
        """Name of the column with the label of the highest probability (string; null where none is sure enough)."""
        return self.prefix

    @property
    def probabilities(self) -> tuple[str, ...]:
        """Names of the probability columns (float32, 0 to 1, a row sums to 1)."""
        return tuple(f"{self.prefix}_{label}" for label in self.labels)

    @property
    def listed(self) -> str:
        """Name of the column with all labels that reach their thresholds, the highest first (list of string)."""
        return f"{self.prefix}_labels"

    @property
    def face(self) -> str:
        """Name of the column with the box that was classified (see ``FACE``), in pixels of the upright image."""
        return f"{self.prefix}_face"

    @property
    def face_count(self) -> str:
        """Name of the column that says how many faces were found (int32; 0 beside the error ``no_face``)."""
        return f"{self.prefix}_face_count"

    @property
    def all_faces(self) -> str:
        """Name of the column of all faces, the largest first (list of struct; empty beside ``no_face``)."""
        return f"{self.prefix}_faces"

    @property
    def added(self) -> dict[str, str]:
        """Names of the columns between the probabilities and the error, in order, each with the kind of its type."""
        listed = {self.listed: "list"} if self.lists_labels else {}
        largest = {self.face: "face", self.face_count: "count"} if self.faces != "none" else {}
        return {**listed, **largest, **({self.all_faces: "faces"} if self.faces == "all" else {})}

    def face_type(self, *, answered: bool) -> pa.DataType:
        """The type of a face: its box, and where it is one of many its label and probabilities too."""
        import pyarrow as pa

        label = {"emotion": pa.string()} if answered else {}
        names = (*FACE, *label, *(self.labels if answered else ()))
        return pa.struct([pa.field(name, label.get(name, pa.float32())) for name in names])

    @property
    def error(self) -> str:
        """Name of the column that says why a row has no emotion (string, else null)."""
        return f"{self.prefix}_error"

    @property
    def names(self) -> tuple[str, ...]:
        """Every appended name, in order."""
        return tuple(name for name, _ in self._types())

    def fields(self) -> list[pa.Field]:
        """The appended columns as Arrow fields, in order; each is nullable."""
        import pyarrow as pa

        lineage = json.dumps(dict(self.lineage), sort_keys=True).encode()
        types = {
            "string": pa.string(),
            "float": pa.float32(),
            "list": pa.list_(pa.field("element", pa.string())),  # as Parquet gives it back
            "count": pa.int32(),
            "face": self.face_type(answered=False),
            "faces": pa.list_(pa.field("element", self.face_type(answered=True))),
        }
        label, *others = (pa.field(name, types[kind]) for name, kind in self._types())
        return [label.with_metadata({METADATA_KEY: lineage}), *others]

    def _types(self) -> list[tuple[str, str]]:
        """Every appended name with the kind of its column, in order; Arrow is not needed for them."""
        numbers = [(name, "float") for name in self.probabilities]
        return [(self.label, "string"), *numbers, *self.added.items(), (self.error, "string")]

    def check_absent(self, existing: Sequence[str]) -> None:
        """Refuse to append over columns that are there already.

        Args:
            existing: The names that the table has.

        Raises:
            ColumnExistsError: One or more of ``names`` is among them.
        """
        clash = [name for name in self.names if name in set(existing)]
        if clash:
            raise ColumnExistsError(clash, self.prefix)

    def append_to(self, schema: pa.Schema) -> pa.Schema:
        """The schema with the columns appended; fields and metadata that were there stay as they are.

        Args:
            schema: The table's schema.

        Raises:
            ColumnExistsError: A column of an appended name is there already.
        """
        import pyarrow as pa

        self.check_absent(schema.names)
        return pa.schema([*schema, *self.fields()], metadata=schema.metadata)
