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
from emotion_ops.operators.classify.columns import FACE, METADATA_KEY, OutputColumns
from emotion_ops.operators.classify.labels import Labelling, check_names, thresholds_of
from emotion_ops.operators.take_rows import RowNumbers, compact, repeat

_CURE = "explode once what ClassifyEmotions gave under faces='all' and this prefix"
NO_FACES = f"no list of faces: {_CURE}"


@dataclass(frozen=True)
class FaceRows:
    """How tables of one schema become tables of faces.

    Attributes:
        lists: Where the column of faces stands.
        kept: Where the columns stand that were there before; they are repeated.
        count: Where the count of faces stands, alone; empty where it was taken away. It is repeated too.
        made: The columns that are made for each face, between these two.
        schema: Of the tables of faces.
        labelling: How all labels of a face come of its probabilities.
    """

    lists: int
    kept: tuple[int, ...]
    count: tuple[int, ...]
    made: tuple[pa.Field, ...]
    schema: pa.Schema
    labelling: Labelling

    @classmethod
    def of(
        cls, schema: pa.Schema, prefix: str, labels_above: Any = None, lineage: Mapping[str, str] | None = None
    ) -> FaceRows:
        """Look at a schema; of other columns than the faces only the names count.

        Args:
            schema: What ``faces="all"`` gave, whatever it went through since.
            prefix: What the appended names start with.
            labels_above: As ``ClassifyEmotions`` takes it; None is what the lineage says.
            lineage: Of a table whose label field has none.

        Raises:
            ColumnError: There are no faces, or another column has the name of one that is made.
            OptionError: An option has a value that cannot work, or is not known where it must be.
        """
        names = schema.names
        columns = OutputColumns((), prefix, lists_labels=True, faces="all")
        for name in (columns.all_faces, columns.face_count, columns.label):
            if (copies := names.count(name)) > 1:
                raise OptionError("prefix", prefix, f"{copies} columns are called {name!r}; rename all but one")
        if columns.all_faces not in names:
            raise ColumnNotFoundError(columns.all_faces, names, _CURE)
        lists = names.index(columns.all_faces)
        columns = OutputColumns(_labels(schema, lists, columns), prefix, lists_labels=True, faces="all")
        metadata = schema.field(prefix).metadata if prefix in names else None
        told = (_json((metadata or {}).get(METADATA_KEY)) or lineage or {}).get("labels_above")
        ours = [place for place, name in enumerate(names) if name in columns.names and name != columns.listed]
        listed = [
            place
            for place, name in enumerate(names)
            if name == columns.listed and (told is not None or ours[0] < place < ours[-1])  # else it is a user's own
        ]
        above = thresholds_of("labels_above", _json(told) if labels_above is None else labels_above)
        if columns.labels:
            check_names("labels_above", above, columns.labels)
        if listed and above is None:
            hint = f"the table no longer says which thresholds {columns.listed!r} has: give them, or drop that column"
            raise OptionError("labels_above", None, hint)
        if above is not None and columns.listed in names and not listed:
            raise ColumnExistsError([columns.listed], prefix)
        kept = tuple(place for place in range(len(names)) if place not in {*ours, *listed})
        count = tuple(place for place in ours if names[place] == columns.face_count)
        wanted = {columns.label, *columns.probabilities, columns.face, *([columns.listed] if above is not None else [])}
        label, *others = (field for field in columns.fields() if field.name in wanted)
        made = (label.remove_metadata().with_metadata(metadata), *others)
        fields = [*map(schema.field, kept), *made, *map(schema.field, count)]
        whole = pa.schema(fields, metadata=schema.metadata)
        return cls(lists, kept, count, made, whole, Labelling(columns.labels, above))

    def faces(self, lists: pa.ChunkedArray) -> tuple[RowNumbers, pa.Table]:
        """For each face of such a column the row that it is of, and what is made of it."""
        start, rows, tables = 0, [np.empty(0, np.int64)], [pa.Table.from_batches([], pa.schema(self.made))]
        for chunk in lists.chunks:
            of_rows, arrays = self._faces(chunk)
            rows.append(start + of_rows)
            tables.append(pa.Table.from_arrays(arrays, schema=pa.schema(self.made)))
            start += len(chunk)
        return np.concatenate(rows), pa.concat_tables(tables)

    def table(self, batches: Iterable[pa.RecordBatch]) -> pa.Table:
        """All faces of record batches; wide cells, of images say, are those that are there, and no copies."""
        return pa.concat_tables([pa.Table.from_batches([], self.schema), *map(self._exploded, batches)])

    def stream(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The faces of record batches, in batches bounded by bytes, one batch in at a time."""
        for batch in batches:
            yield from compact(self._exploded(batch))

    def _exploded(self, batch: pa.RecordBatch) -> pa.Table:
        rows, made = self._faces(batch.column(self.lists))
        kept, count = ([repeat(batch.column(place), rows) for place in places] for places in (self.kept, self.count))
        return pa.Table.from_arrays([*kept, *made, *count], schema=self.schema)

    def _faces(self, lists: pa.Array) -> tuple[RowNumbers, list[pa.Array]]:
        box, labels = list(FACE), list(self.labelling.labels)
        if _holds_nothing(lists.type):
            return np.empty(0, np.int64), [pa.array([], field.type) for field in self.made]
        try:
            lengths = pc.list_value_length(lists).fill_null(0)  # a null may hide faces, which list_flatten leaves out
            told = pc.list_flatten(lists)
            parts = {name: pc.struct_field(told, [name]).cast(pa.float32()) for name in (*box, *labels)}
            label = pc.struct_field(told, ["emotion"]).cast(pa.string())
        except pa.ArrowException as error:
            name = f"{self.made[0].name}_faces"
            raise ColumnTypeError(name, f"{lists.type} ({error})", NO_FACES) from error
        made = [label, *(parts[name] for name in labels)]
        if self.labelling.above is not None:
            numbers = np.stack([parts[name].to_numpy(zero_copy_only=False) for name in labels], axis=1)
            made.append(self.labelling.listed(numbers, np.zeros(len(numbers), bool)))
        faces = pa.StructArray.from_arrays([parts[name] for name in box], fields=list(self.made[-1].type))
        return np.repeat(np.arange(len(lists)), lengths.to_numpy(zero_copy_only=False)), [*made, faces]


def _labels(schema: pa.Schema, lists: int, columns: OutputColumns) -> tuple[str, ...]:
    """The labels that faces are told with; where their column holds nothing at all, those that rows are told with."""
    kind, names = schema.field(lists).type, schema.names
    if _holds_nothing(kind):
        others = {columns.label, *columns.added, columns.error}
        start = names.index(columns.label) if columns.label in names else len(names)
        flat = (name for name in names[start:lists] if name not in others and name.startswith(f"{columns.prefix}_"))
        return tuple(name.removeprefix(f"{columns.prefix}_") for name in flat)
    item = _item(kind)
    told = [field.name for field in item] if item is not None and pa.types.is_struct(item) else []
    if not {"emotion", *FACE} < set(told):
        raise ColumnTypeError(schema.names[lists], str(kind), NO_FACES)
    return tuple(name for name in told if name not in ("emotion", *FACE))


def _holds_nothing(kind: pa.DataType) -> bool:
    """Whether it is what Arrow makes of objects that are all missing or empty."""
    item = _item(kind)
    return pa.types.is_null(kind) or (item is not None and pa.types.is_null(item))


def _item(kind: pa.DataType) -> pa.DataType | None:
    """What a list holds; None of what is no list."""
    return getattr(kind, "value_type", None) if pa.types.is_nested(kind) else None


def _json(text: str | bytes | None) -> Any:
    """What JSON says; None where there is none that can be read."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
