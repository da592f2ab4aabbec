"""The columns that ``ClassifyEmotions`` appends: their names, order and Arrow types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa

FACE = ("x", "y", "width", "height", "probability")
"""The parts of a face's box, float32, in pixels of the upright image."""


@dataclass(frozen=True)
class OutputColumns:
    """The appended columns, in order.

    Attributes:
        labels: The label names, in the order of the model's ``id2label``.
        prefix: What every appended name starts with.
        lists_labels: Whether there is a column of all labels that reach their thresholds.
        faces: ``"largest"`` adds the face's box and the number of faces, ``"all"`` also a list of all faces. None: the
            whole image was classified.
    """

    labels: tuple[str, ...]
    prefix: str = "emotion"
    lists_labels: bool = False
    faces: Literal["largest", "all"] | None = None

    @property
    def label(self) -> str:
        """Name of the column with the label of the highest probability (string; null if none is high enough)."""
        return self.prefix

    @property
    def probabilities(self) -> tuple[str, ...]:
        """Names of the probability columns (float32, 0 to 1; a row sums to 1)."""
        return tuple(f"{self.prefix}_{label}" for label in self.labels)

    @property
    def listed(self) -> str:
        """Name of the column with all labels that reach their thresholds, the highest first (list of string)."""
        return f"{self.prefix}_labels"

    @property
    def face(self) -> str:
        """Name of the column with the box that was classified (see ``FACE``)."""
        return f"{self.prefix}_face"

    @property
    def face_count(self) -> str:
        """Name of the column with the number of faces that were found (int32; 0 if the error is ``no_face``)."""
        return f"{self.prefix}_face_count"

    @property
    def all_faces(self) -> str:
        """Name of the column of all faces, the largest first (list of struct; empty if the error is ``no_face``)."""
        return f"{self.prefix}_faces"

    @property
    def error(self) -> str:
        """Name of the error column (string; null for a good row)."""
        return f"{self.prefix}_error"

    @property
    def added(self) -> tuple[str, ...]:
        """Names of the columns between the probabilities and the error, in order."""
        listed = (self.listed,) if self.lists_labels else ()
        largest = () if self.faces is None else (self.face, self.face_count)
        return (*listed, *largest, *((self.all_faces,) if self.faces == "all" else ()))

    @property
    def names(self) -> tuple[str, ...]:
        """Every appended name, in order."""
        return (self.label, *self.probabilities, *self.added, self.error)

    def fields(self) -> list[pa.Field]:
        """The appended fields, in order; each is nullable."""
        types = {
            self.listed: pa.list_(pa.field("element", pa.string())),  # as Parquet gives it back
            self.face: self.face_type(classified=False),
            self.face_count: pa.int32(),
            self.all_faces: pa.list_(pa.field("element", self.face_type(classified=True))),
        }
        return [
            pa.field(self.label, pa.string()),
            *(pa.field(name, pa.float32()) for name in self.probabilities),
            *(pa.field(name, types[name]) for name in self.added),
            pa.field(self.error, pa.string()),
        ]

    def face_type(self, *, classified: bool) -> pa.StructType:
        """The type of a face: its box; if ``classified``, as in the list of faces, also its label and probabilities."""
        label = [pa.field("emotion", pa.string())] if classified else []
        numbers = [pa.field(name, pa.float32()) for name in (self.labels if classified else ())]
        return pa.struct([*(pa.field(name, pa.float32()) for name in FACE), *label, *numbers])

    def with_labels_from(self, names: Sequence[str]) -> OutputColumns:
        """The same columns with the labels in appended names, in their order."""
        labels = names[1 : len(names) - 1 - len(self.added)]
        return replace(self, labels=tuple(name.removeprefix(f"{self.prefix}_") for name in labels))
