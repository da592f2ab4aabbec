"""Prove one enriched file against its source: every row, in order, bit for bit, with results that are possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pyarrow as pa

from emotion_ops.errors import DatasetError
from emotion_ops.lake.audit.outputs import Output, aligned
from emotion_ops.lake.columns import passthrough_columns
from emotion_ops.lake.fingerprint import Fingerprint
from emotion_ops.lake.parquet import Footer, read_batches, read_footer
from emotion_ops.lake.provenance import OUR_KEYS
from emotion_ops.lake.row_errors import error_counts
from emotion_ops.lake.sources.parquet_files import SourceFile
from emotion_ops.operators import hooks
from emotion_ops.operators.equal_rows import Mask, equal_rows

DROPPED = "which rows on_error='drop' left out: the rows that are there are source rows in their order"
NO_COLUMNS = "the order of rows: no source column passes through, so only their number was compared"
NOT_COMPARED = "columns that are not at the place, or not of the type, of the source's columns"
NOT_INSTALLED = (
    "the results: their operator is not installed or cannot read its options, so only failed rows were checked"
)

_MAX_WINDOW = 4096


class Check(StrEnum):
    """What a problem is about."""

    MISSING_OUTPUT = "missing_output"
    WITHOUT_SOURCE = "without_source"
    NOT_ENRICHED = "not_enriched"
    UNREADABLE = "unreadable"
    SOURCE_CHANGED = "source_changed"
    SCHEMA = "schema"
    ROWS = "rows"
    CONTENT = "content"
    RESULTS = "results"
    LINEAGE = "lineage"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        check: What it is about.
        file: The output's key.
        row: The row in the output, from 0; None if it is about the whole file.
        what: What is wrong, with the values.
    """

    check: Check
    file: str
    row: int | None
    what: str


@dataclass
class Proof:
    """The proof of one file: iterate over its problems, then read what was counted.

    Attributes:
        source: The source file.
        output: Its output.
        fingerprint: The output's fingerprint.
        errors: Failed rows by code.
        unproven: What cannot be proven from the two files, in words.
    """

    source: SourceFile
    output: Output
    fingerprint: Fingerprint
    errors: Counter[str] = field(default_factory=Counter)
    unproven: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong; both files are read once, in batches bounded by bytes."""
        try:
            source = read_footer(self.source.folder, self.source.key)
            yield from self._origin(source)
            yield from self._schema(source)
            yield from self._content(source)
            yield from self._results()
        except DatasetError as error:
            yield self._problem(Check.UNREADABLE, str(error))

    def _problem(self, check: Check, what: str, row: int | None = None) -> Problem:
        return Problem(check, self.output.key, row, what)

    def _origin(self, source: Footer) -> Iterator[Problem]:
        """The present source and what the output was made of; and that footer and columns agree on what made it."""
        entry, parts = self.source.entry, self.fingerprint.parts
        now = {"source_size": entry.size, "source_version": entry.version, "source_rows": source.rows}
        changed = [f"{name} {parts.get(name)!r}, now {now[name]!r}" for name in now if parts.get(name) != now[name]]
        if changed:
            yield self._problem(Check.SOURCE_CHANGED, f"was made of another source: {'; '.join(changed)}")
        other = {**self.output.column_lineage, "recipe": self.fingerprint.recipe_digest}
        for name, value in other.items():
            if (stored := self.output.lineage.get(name)) != value:
                where = "its fingerprint" if name == "recipe" else "the first appended column"
                yield self._problem(Check.LINEAGE, f"{name} is {stored!r} in its lineage, and {value!r} in {where}")

    def _schema(self, source: Footer) -> Iterator[Problem]:
        """Columns, types and metadata that pass through, and the appended columns after them."""
        schema, first = self.output.footer.schema, self.output.first
        expected = [source.schema.names[position] for position in self._passthrough(source)]
        if schema.names[:first] != expected:
            yield self._problem(Check.SCHEMA, f"has the source columns {schema.names[:first]} instead of {expected}")
        for here, there in self._pairs(source):
            mine, theirs = schema.field(here), source.schema.field(there)
            if not mine.equals(theirs, check_metadata=True):
                what = f"column {mine.name!r} is {_describe(mine)}, in the source {_describe(theirs)}"
                yield self._problem(Check.SCHEMA, what)
        if _metadata(schema) != _metadata(source.schema):
            yield self._problem(Check.SCHEMA, "the schema's metadata is not that of the source")
        appended = tuple((one.name, str(one.type)) for one in list(schema)[first:])
        if not self._has_its_columns:
            names = [f"{name}: {kind}" for name, kind in appended]
            yield self._problem(Check.SCHEMA, f"has the appended columns {names}, not those of its fingerprint")

    @property
    def _has_its_columns(self) -> bool:
        appended = tuple((one.name, str(one.type)) for one in list(self.output.footer.schema)[self.output.first :])
        return self.output.is_complete and appended == self.fingerprint.appended

    def _passthrough(self, source: Footer) -> tuple[int, ...]:
        return passthrough_columns(source.schema, self.fingerprint.columns)

    def _pairs(self, source: Footer) -> list[tuple[int, int]]:
        """Positions of the columns that pass through, in the output and in the source.

        If the output has other columns than expected, those that have a name only once are paired.
        """
        names, theirs = self.output.footer.schema.names[: self.output.first], source.schema.names
        passthrough = self._passthrough(source)
        if names == [theirs[position] for position in passthrough]:
            return list(enumerate(passthrough))
        return [
            (place, theirs.index(name))
            for place, name in enumerate(names)
            if names.count(name) == theirs.count(name) == 1
        ]

    def _content(self, source: Footer) -> Iterator[Problem]:
        """Row counts, and the columns that pass through."""
        schema, rows, source_rows = self.output.footer.schema, self.output.rows, source.rows
        drops = self.fingerprint.on_error == "drop" and rows < source_rows
        if rows != source_rows and not drops:
            yield self._problem(Check.ROWS, f"has {rows:,} rows, its source {source_rows:,}")
        pairs = [
            (mine, theirs)
            for mine, theirs in self._pairs(source)
            if schema.field(mine).type == source.schema.field(theirs).type
        ]
        notes = {DROPPED: drops, NO_COLUMNS: not pairs, NOT_COMPARED: pairs and len(pairs) < self.output.first}
        self.unproven += [note for note, applies in notes.items() if applies]
        if not pairs:
            return
        names = [schema.field(mine).name for mine, _ in pairs]
        here = read_batches(self.output.folder, self.output.key, columns=[mine for mine, _ in pairs])
        there = read_batches(self.source.folder, self.source.key, columns=[theirs for _, theirs in pairs])
        if drops:
            yield from self._subsequence(here, there)
            return
        first = 0
        for mine, theirs in aligned(here, there):
            equal = _equal_columns(mine, theirs)
            for row in map(int, np.flatnonzero(~np.logical_and.reduce(equal))):
                different = ", ".join(repr(name) for name, column in zip(names, equal, strict=True) if not column[row])
                if rows != source_rows:
                    what = f"the first row that differs from the source's, in {different}"
                    yield self._problem(Check.CONTENT, what, first + row)
                    return
                yield self._problem(Check.CONTENT, f"differs from the source's row in {different}", first + row)
            first += mine.num_rows

    def _subsequence(self, here: Iterator[pa.RecordBatch], there: Iterator[pa.RecordBatch]) -> Iterator[Problem]:
        """Find each row in the source after the one before it; windows grow while rows are equal."""
        mine, theirs, row, window = next(here, None), next(there, None), 0, 1
        while mine is not None:
            if not mine.num_rows:
                mine = next(here, None)
            elif theirs is None:
                what = "is nowhere in the source after the row before it: changed, or out of order"
                yield self._problem(Check.CONTENT, what, row)
                return
            elif not theirs.num_rows:
                theirs = next(there, None)
            else:
                rows = min(window, mine.num_rows, theirs.num_rows)
                equal = np.logical_and.reduce(_equal_columns(mine.slice(0, rows), theirs.slice(0, rows)))
                good = rows if equal.all() else int(equal.argmin())
                skipped = int(good < rows)
                mine, theirs, row = mine.slice(good), theirs.slice(good + skipped), row + good
                window = max(1, good) if skipped else min(2 * window, _MAX_WINDOW)

    def _results(self) -> Iterator[Problem]:
        """The appended columns: what the operator says that no run can have written."""
        if not self._has_its_columns:
            return  # a problem of the schema
        operator, first = self.output.operator, 0
        if operator is None:
            self.unproven.append(NOT_INSTALLED)
        for batch in self.output.appended():
            self.errors += error_counts(pa.chunked_array([batch.column(batch.num_columns - 1)]))
            wrong = hooks.check_failed(batch, None) if operator is None else operator.check(batch)
            for row, what in wrong:
                yield self._problem(Check.RESULTS, what, first + row)
            first += batch.num_rows


def _equal_columns(left: pa.RecordBatch, right: pa.RecordBatch) -> Sequence[Mask]:
    return [equal_rows(mine, theirs) for mine, theirs in zip(left.columns, right.columns, strict=True)]


def _metadata(schema: pa.Schema) -> dict[bytes, bytes]:
    return {key: value for key, value in (schema.metadata or {}).items() if key not in OUR_KEYS}


def _describe(one: pa.Field) -> str:
    metadata = f" with metadata {one.metadata}" if one.metadata else ""
    return f"{one.type}{'' if one.nullable else ' not null'}{metadata}"
