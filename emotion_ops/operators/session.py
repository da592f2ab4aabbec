"""What a stream calls: the three steps of an operator, with its model loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from emotion_ops.operators.flow import Flow
from emotion_ops.operators.rows import Items, Row
from emotion_ops.operators.run import Run

BATCH_SIZE = 32
"""Items in one call of ``compute``, if the operator does not choose another number."""


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
    compute: Callable[[Sequence[Any]], Items]
    finish: Callable[[Sequence[Any]], Sequence[pa.Array]]
    batch_size: int = BATCH_SIZE
    concurrency: int = 1
    max_parts: int = 1
    item_bytes: int = 0

    def flow(self, run: Run) -> Flow:
        """How much a stream of this session does at the same time."""
        return Flow(self.batch_size, run.threads, run.ahead_bytes, self.concurrency, self.max_parts)
