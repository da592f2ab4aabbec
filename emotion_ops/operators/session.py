"""What a stream calls: the three steps of an operator, with its model loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from emotion_ops.errors import OperatorError, RowError
from emotion_ops.operators.rows import Row

BATCH_SIZE = 32
"""Items in one call of ``compute``, unless an operator knows better."""


@dataclass(frozen=True)
class Session:
    """The steps of an operator; see ``TableOperator`` for what each takes and gives.

    Attributes:
        prepare: Called in threads, with one row.
        compute: Called with whole batches of items.
        finish: Called in threads, with the results of some rows.
        batch_size: Items in one call of ``compute``; the last of a stream may have fewer.
        concurrency: Calls of ``compute`` at the same time.
        max_parts: Maximum items of one row.
        item_bytes: Bytes of one item, for estimates of memory; 0 if it is not known.
    """

    prepare: Callable[[Row], Any]
    compute: Callable[[Sequence[Any]], Sequence[Any]]
    finish: Callable[[Sequence[Any]], Sequence[pa.Array]]
    batch_size: int = BATCH_SIZE
    concurrency: int = 1
    max_parts: int = 1
    item_bytes: int = 0

    def build_columns(self, results: Sequence[Any], schema: pa.Schema, name: str) -> pa.RecordBatch:
        """The appended columns of some rows.

        Args:
            results: As ``finish`` takes them.
            schema: The appended fields, the error field last.
            name: The operator's name, for messages.

        Raises:
            OperatorError: ``finish`` gave another number of columns or values than it was asked for.
        """
        errors = [str(result) if isinstance(result, RowError) else None for result in results]
        columns = [*self.finish(results), pa.array(errors, pa.string())]
        if len(columns) != len(schema) or any(len(column) != len(results) for column in columns):
            lengths = [len(column) for column in columns[:-1]]
            what = f"finish gave columns of {lengths} values for {len(results)} rows and {len(schema) - 1} fields"
            raise OperatorError(name, what)
        return pa.RecordBatch.from_arrays(columns, schema=schema)
