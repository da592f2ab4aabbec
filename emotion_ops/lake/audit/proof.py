"""Prove one enriched file against its source: every row, in its order, bit for bit, with an answer that can be one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa

from emotion_ops.errors import DatasetError
from emotion_ops.lake.audit.answers import wrong_answers
from emotion_ops.lake.audit.faces import Wanted
from emotion_ops.lake.audit.outputs import Footer, Output, aligned, read_footer
from emotion_ops.lake.commit import passthrough_columns
from emotion_ops.lake.runners.local import errors_of, read_batches
from emotion_ops.lake.sources.parquet_files import SourceFile
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.classify.labels import Labelling, thresholds_of
from emotion_ops.operators.equal_rows import Mask, equal_rows

DROPPED = "which rows on_error='drop' left out: the rows that stand are source rows in their order, and no more"
NO_COLUMNS = "the order of rows: no source column passes through, so only their number was compared"
SAME_NAMES = "columns of one name, or of another type than in the source, were not compared"

_MOST_WINDOW = 4096


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
    ANSWERS = "answers"
    LINEAGE = "lineage"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        check: What it is about.
        file: The output's key.
        row: The row in the output, from 0; None where it is about the whole file.
        what: What is wrong, with the values.
    """

    check: Check
    file: str
    row: int | None
    what: str


@dataclass
class Proof:
    """The proof of one file: go through its problems, then ask what was counted.

    Attributes:
        source: The source file.
        output: Its output.
        parts: The output's fingerprint.
        errors: Failed rows by code.
        unproven: What cannot be proven from what stands, in words.
    """

    source: SourceFile
    output: Output
    parts: Mapping[str, Any]
    errors: Counter[str] = field(default_factory=Counter)
    unproven: tuple[str, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """All that is wrong; both files are read once, in batches bounded by bytes."""
        try:
            source = read_footer(self.source.folder, self.source.key)
            yield from self._origin(source)
            yield from self._schema(source)
            yield from self._content(source)
            yield from self._answers()
        except DatasetError as error:
            yield self._problem(Check.UNREADABLE, str(error))

    def _problem(self, check: Check, what: str, row: int | None = None) -> Problem:
        return Problem(check, self.output.key, row, what)

    def _origin(self, source: Footer) -> Iterator[Problem]:
        """The source as it stands, against what the output was made of; and what made it, told twice."""
        entry = self.source.entry
        now = {"source_size": entry.size, "source_version": entry.version, "source_rows": sum(source.rows)}
        changed = [
            f"{name} {self.parts.get(name)!r}, now {value!r}"
            for name, value in now.items()
            if self.parts.get(name) != value
        ]
        if changed:
            yield self._problem(Check.SOURCE_CHANGED, f"was made of another source: {'; '.join(changed)}")
        told = {**self.output.columns.lineage, "weights_sha256": self.parts.get("weights_sha256")}
        for name, value in told.items():
            if self.output.lineage.get(name) != value:
                there = self.output.lineage.get(name)
                yield self._problem(
                    Check.LINEAGE, f"{name} is {there!r} in the footer's lineage, and {value!r} beside it"
                )

    def _schema(self, source: Footer) -> Iterator[Problem]:
        """Columns, types and metadata that pass through, and the emotion columns after them."""
        schema, first = self.output.footer.schema, self.output.first
        expected = list(passthrough_columns(source.schema, self.parts.get("columns", "all")))
        if schema.names[:first] != expected:
            yield self._problem(Check.SCHEMA, f"has the source columns {schema.names[:first]} instead of {expected}")
        for name in self._common(source):
            here, there = schema.field(name), source.schema.field(name)
            if not here.equals(there, check_metadata=True):
                yield self._problem(Check.SCHEMA, f"column {name!r} is {_told(here)}, in the source {_told(there)}")
        if (schema.metadata or {}) != (source.schema.metadata or {}):
            yield self._problem(Check.SCHEMA, "the schema's metadata is not that of the source")
        labels, lists = tuple(self.parts.get("labels") or ()), self.parts.get("labels_above") is not None
        prefix, faces = str(self.parts.get("prefix")), self.parts.get("faces", "none")
        wanted = OutputColumns(labels, prefix, lists_labels=lists, faces=faces).fields()
        here, there = ([(one.name, one.type) for one in fields] for fields in (list(schema)[first:], wanted))
        if here != there:
            names = [f"{name}: {kind}" for name, kind in here]
            yield self._problem(
                Check.SCHEMA, f"has the emotion columns {names}, which are not those of its fingerprint"
            )

    def _common(self, source: Footer) -> list[str]:
        """Columns that pass through and can be told apart by their names."""
        passthrough = self.output.footer.schema.names[: self.output.first]
        return [name for name in passthrough if passthrough.count(name) == source.schema.names.count(name) == 1]

    def _content(self, source: Footer) -> Iterator[Problem]:
        """Row counts, and the columns that pass through."""
        schema, rows, wanted = self.output.footer.schema, self.output.rows, sum(source.rows)
        dropping = self.parts.get("on_error") == "drop" and rows < wanted
        if rows != wanted and not dropping:
            yield self._problem(Check.ROWS, f"has {rows:,} rows, its source {wanted:,}")
        names = [name for name in self._common(source) if schema.field(name).type == source.schema.field(name).type]
        same_names = len(names) < self.output.first  # duplicates cannot be told apart by their names
        notes = {DROPPED: dropping, NO_COLUMNS: not names, SAME_NAMES: same_names and bool(names)}
        self.unproven = tuple(note for note, holds in notes.items() if holds)
        if not names:
            return
        here = _stream(self.output.folder, self.output.key, names)
        there = _stream(self.source.folder, self.source.key, names)
        if dropping:
            yield from self._subsequence(here, there)
            return
        first = 0
        for mine, theirs in aligned(here, there):
            columns = _equal_columns(mine, theirs)
            for row in np.flatnonzero(~np.logical_and.reduce(list(columns.values()))):
                differing = ", ".join(repr(name) for name, equal in columns.items() if not equal[row])
                if rows != wanted:
                    what = f"the first row that differs from the source's, in {differing}"
                    yield self._problem(Check.CONTENT, what, first + int(row))
                    return
                yield self._problem(Check.CONTENT, f"differs from the source's row in {differing}", first + int(row))
            first += mine.num_rows

    def _subsequence(self, here: Iterator[pa.RecordBatch], there: Iterator[pa.RecordBatch]) -> Iterator[Problem]:
        """Find each row in the source after its predecessor; windows grow while rows are equal."""
        mine, theirs, row, window = next(here, None), next(there, None), 0, 1
        while mine is not None:
            if not mine.num_rows:
                mine = next(here, None)
            elif theirs is None:
                what = "is in the source nowhere after the row before it: changed, or out of order"
                yield self._problem(Check.CONTENT, what, row)
                return
            elif not theirs.num_rows:
                theirs = next(there, None)
            else:
                rows = min(window, mine.num_rows, theirs.num_rows)
                columns = _equal_columns(mine.slice(0, rows), theirs.slice(0, rows))
                equal = np.logical_and.reduce(list(columns.values()))
                good = rows if equal.all() else int(equal.argmin())
                skipped = int(good < rows)
                mine, theirs, row = mine.slice(good), theirs.slice(good + skipped), row + good
                window = max(1, good) if skipped else min(2 * window, _MOST_WINDOW)

    def _answers(self) -> Iterator[Problem]:
        columns, first = self.output.columns, 0
        if [one.type for one in columns.fields()] != [
            self.output.footer.schema.field(name).type for name in columns.names
        ]:
            return  # told as a problem of the schema
        above = thresholds_of("labels_above", self.parts.get("labels_above"))
        labelling = Labelling(columns.labels, above, self.parts.get("min_probability"))
        wanted = Wanted(*(self.parts.get(name, 0) for name in ("face_threshold", "min_face_size", "max_faces")))
        for batch in self.output.answers():
            self.errors += errors_of(pa.Table.from_batches([batch]))
            for row, what in wrong_answers(batch, columns, labelling, wanted):
                yield self._problem(Check.ANSWERS, what, first + row)
            first += batch.num_rows


def _stream(folder: Folder, key: str, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for batch in read_batches(folder, key, columns=names, row_group=None):
        yield batch.select(names)


def _equal_columns(left: pa.RecordBatch, right: pa.RecordBatch) -> dict[str, Mask]:
    return {name: equal_rows(left.column(name), right.column(name)) for name in left.schema.names}


def _told(one: pa.Field) -> str:
    metadata = f" with metadata {one.metadata}" if one.metadata else ""
    return f"{one.type}{'' if one.nullable else ' not null'}{metadata}"
