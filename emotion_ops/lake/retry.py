"""Rows that failed once, answered again: all else of a published output is taken over as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emotion_ops.errors import OptionError, RowErrorCode
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.classify.columns import OutputColumns

CODES = tuple(RowErrorCode)


@dataclass(frozen=True)
class Retry:
    """Which rows of one row group are answered again; a picklable value.

    Attributes:
        output: The folder of the output that stands.
        key: Its key.
        first: The row group's first row in it; its rows are the source's, in order.
        codes: The errors whose rows are answered again.
    """

    output: Folder
    key: str
    first: int
    codes: tuple[str, ...]

    def standing(self, rows: int, columns: OutputColumns) -> pa.Table:
        """The answers that stand: the appended columns of the row group, of so many rows."""
        with self.output.open(self.key) as opened, pq.ParquetFile(opened) as file:
            groups, start, skipped = [], 0, 0
            for number in range(file.num_row_groups):
                count = file.metadata.row_group(number).num_rows
                if start + count <= self.first:
                    skipped += count
                elif start < self.first + rows:
                    groups.append(number)
                start += count
            table = file.read_row_groups(groups, columns=list(columns.names))
        return table.slice(self.first - skipped, rows).cast(pa.schema(columns.fields())).combine_chunks()

    def asked(self, standing: pa.Table) -> pa.Array:
        """For each row whether it is answered again (bool)."""
        return asked(standing.column(standing.num_columns - 1), self.codes).combine_chunks()


def asked(errors: pa.ChunkedArray, codes: Sequence[str]) -> pa.ChunkedArray:
    """For each error (``code: what happened``, or null) whether its code is one of these (bool, no null)."""
    code = pc.list_element(pc.split_pattern(pc.fill_null(errors, ""), ":", max_splits=1), 0)
    return pc.is_in(code, value_set=pa.array(codes, pa.string()))


def merged(standing: pa.Table, again: pa.Array, answers: pa.Table) -> pa.Table:
    """What stands, with the answers to the rows that were asked again in their places."""
    is_new = again.to_numpy(zero_copy_only=False)
    rows = np.arange(len(is_new))
    rows[is_new] = len(is_new) + np.arange(answers.num_rows)
    return pa.concat_tables([standing, answers.cast(standing.schema)]).take(pa.array(rows)).combine_chunks()


def read_errors(folder: Folder, key: str, error_column: str) -> pa.ChunkedArray:
    """The errors of a published output, row by row; reads that column alone."""
    with folder.open(key) as opened, pq.ParquetFile(opened) as file:
        return file.read(columns=[error_column]).column(0)


def failed_rows(errors: pa.ChunkedArray, codes: Sequence[str]) -> int:
    """How many rows have an error of these codes."""
    return pc.sum(asked(errors, codes)).as_py() or 0


def codes_of(retry_errors: bool | str | Sequence[str]) -> tuple[str, ...]:
    """The codes that an option names; all of them for True, none for False.

    Raises:
        OptionError: It names a code that does not exist.
    """
    if isinstance(retry_errors, bool):
        return CODES if retry_errors else ()
    codes = (retry_errors,) if isinstance(retry_errors, str) else tuple(retry_errors)
    if not codes or not set(codes) <= set(CODES):
        raise OptionError("retry_errors", retry_errors, f"give True, or codes out of {', '.join(CODES)}")
    return tuple(str(code) for code in codes)
