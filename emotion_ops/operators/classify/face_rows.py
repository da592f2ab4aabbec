"""A table whose rows have lists of faces → a table with a row for each face."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emotion_ops.errors import ColumnExistsError, ColumnNotFoundError, ColumnTypeError, OptionError
from emotion_ops.operators.base import METADATA_KEY
from emotion_ops.operators.classify.columns import FACE, OutputColumns
from emotion_ops.operators.classify.labels import Labeller, Labels
from emotion_ops.operators.take_rows import RowNumbers, compact, repeat

_HINT = "give a table that ClassifyEmotions made with faces='all' and this prefix, and explode it once"
NO_FACES = f"not a list of faces: {_HINT}"


@dataclass(frozen=True)
class FaceRows:
    """How tables of one schema become tables of faces.

    Attributes:
        faces_position: Position of the column of faces.
        other_positions: Positions of the columns that the operator did not append. Their values are repeated for each
            face, and come first.
        count_positions: Position of the number of faces; empty if that column was removed. It is repeated too, and
            comes last.
        made_fields: The fields that are made for each face, between these two.
        schema: The schema of the tables of faces.
        labeller: How a face's list of labels comes from its probabilities.
    """

    faces_position: int
    other_positions: tuple[int, ...]
    count_positions: tuple[int, ...]
    made_fields: tuple[pa.Field, ...]
    schema: pa.Schema
    labeller: Labeller

    @classmethod
    def from_schema(
        cls, schema: pa.Schema, prefix: str, labels_above: Any = None, lineage: Mapping[str, str] | None = None
    ) -> FaceRows:
        """How tables of a schema are exploded. Of other columns than the faces, only the names are read.

        Args:
            schema: The schema of a table made with ``faces="all"``, also after other steps.
            prefix: What the appended names start with.
            labels_above: See ``Labels``; None for the thresholds in the lineage.
            lineage: Used if the label field has no lineage.

        Raises:
            ColumnError: There are no faces, or a column with the name of a made one exists.
            OptionError: An option has a value that cannot be used, or is needed and not known.
        """
        names = schema.names
        columns = OutputColumns((), prefix, lists_labels=True, faces="all")
        for name in (columns.all_faces, columns.face_count, columns.label):
            if (copies := names.count(name)) > 1:
                raise OptionError("prefix", prefix, f"{copies} columns are called {name!r}; rename all but one")
        if columns.all_faces not in names:
            raise ColumnNotFoundError(columns.all_faces, names, _HINT)
        lists = names.index(columns.all_faces)
        columns = OutputColumns(_labels(schema, lists, columns), prefix, lists_labels=True, faces="all")
        metadata = schema.field(prefix).metadata if prefix in names else None
        stored = (_json((metadata or {}).get(METADATA_KEY)) or lineage or {}).get("labels_above")
        ours = [place for place, name in enumerate(names) if name in columns.names and name != columns.listed]
        listed = [
            place
            for place, name in enumerate(names)
            if name == columns.listed and (stored is not None or ours[0] < place < ours[-1])  # else it is the user's
        ]
        options = Labels(_json(stored) if labels_above is None else labels_above)
        above = options.above
        if columns.labels:
            options.check_names(columns.labels)
        if listed and above is None:
            hint = f"the table does not say which thresholds {columns.listed!r} has: give them, or drop that column"
            raise OptionError("labels_above", None, hint)
        if above is not None and columns.listed in names and not listed:
            raise ColumnExistsError([columns.listed], prefix)
        others = tuple(place for place in range(len(names)) if place not in {*ours, *listed})
        count = tuple(place for place in ours if names[place] == columns.face_count)
        wanted = {columns.label, *columns.probabilities, columns.face, *([columns.listed] if above is not None else [])}
        label, *after = (field for field in columns.fields() if field.name in wanted)
        made = (label.remove_metadata().with_metadata(metadata), *after)
        fields = [*map(schema.field, others), *made, *map(schema.field, count)]
        whole = pa.schema(fields, metadata=schema.metadata)
        return cls(lists, others, count, made, whole, Labeller(columns.labels, options))

    def faces(self, lists: pa.ChunkedArray) -> tuple[RowNumbers, pa.Table]:
        """For each face in a column of faces the number of its row, and the columns that are made."""
        start, rows, tables = 0, [np.empty(0, np.int64)], [pa.Table.from_batches([], pa.schema(self.made_fields))]
        for chunk in lists.chunks:
            numbers, arrays = self._faces(chunk)
            rows.append(start + numbers)
            tables.append(pa.Table.from_arrays(arrays, schema=pa.schema(self.made_fields)))
            start += len(chunk)
        return np.concatenate(rows), pa.concat_tables(tables)

    def table(self, batches: Iterable[pa.RecordBatch]) -> pa.Table:
        """All faces of record batches. Large cells, of images for example, are not copied."""
        return pa.concat_tables([pa.Table.from_batches([], self.schema), *map(self._exploded, batches)])

    def stream(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The faces of record batches, in batches bounded by bytes; one input batch is read at a time."""
        for batch in batches:
            yield from compact(self._exploded(batch))

    def _exploded(self, batch: pa.RecordBatch) -> pa.Table:
        rows, made = self._faces(batch.column(self.faces_position))
        others, count = (
            [repeat(batch.column(place), rows) for place in places]
            for places in (self.other_positions, self.count_positions)
        )
        return pa.Table.from_arrays([*others, *made, *count], schema=self.schema)

    def _faces(self, lists: pa.Array) -> tuple[RowNumbers, list[pa.Array]]:
        box, labels = list(FACE), list(self.labeller.names)
        if _has_no_values(lists.type):
            return np.empty(0, np.int64), [pa.array([], field.type) for field in self.made_fields]
        try:
            lengths = pc.list_value_length(lists).fill_null(
                0
            )  # Arrow may have values behind a null, which list_flatten skips
            flat = pc.list_flatten(lists)
            parts = {name: pc.struct_field(flat, [name]).cast(pa.float32()) for name in (*box, *labels)}
            label = pc.struct_field(flat, ["emotion"]).cast(pa.string())
        except pa.ArrowException as error:
            name = f"{self.made_fields[0].name}_faces"
            raise ColumnTypeError(name, f"{lists.type} ({error})", NO_FACES) from error
        made = [label, *(parts[name] for name in labels)]
        if self.labeller.options.above is not None:
            numbers = np.stack([parts[name].to_numpy(zero_copy_only=False) for name in labels], axis=1)
            made.append(self.labeller.listed(numbers, np.zeros(len(numbers), bool)))
        faces = pa.StructArray.from_arrays([parts[name] for name in box], fields=list(self.made_fields[-1].type))
        return np.repeat(np.arange(len(lists)), lengths.to_numpy(zero_copy_only=False)), [*made, faces]


def _labels(schema: pa.Schema, lists: int, columns: OutputColumns) -> tuple[str, ...]:
    """The labels of the faces; if the column of faces has no values, the labels of the rows."""
    kind, names = schema.field(lists).type, schema.names
    if _has_no_values(kind):
        others = {columns.label, *columns.added, columns.error}
        start = names.index(columns.label) if columns.label in names else len(names)
        flat = (name for name in names[start:lists] if name not in others and name.startswith(f"{columns.prefix}_"))
        return tuple(name.removeprefix(f"{columns.prefix}_") for name in flat)
    item = _item(kind)
    fields = [field.name for field in item] if item is not None and pa.types.is_struct(item) else []
    if not {"emotion", *FACE} < set(fields):
        raise ColumnTypeError(schema.names[lists], str(kind), NO_FACES)
    return tuple(name for name in fields if name not in ("emotion", *FACE))


def _has_no_values(kind: pa.DataType) -> bool:
    """Whether it is the type of a column whose lists are all missing or empty."""
    item = _item(kind)
    return pa.types.is_null(kind) or (item is not None and pa.types.is_null(item))


def _item(kind: pa.DataType) -> pa.DataType | None:
    """The type of a list's values; None if it is not a list."""
    return getattr(kind, "value_type", None) if pa.types.is_nested(kind) else None


def _json(text: str | bytes | None) -> Any:
    """A JSON value; None if there is none that can be read."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
