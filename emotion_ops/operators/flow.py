"""How much a stream does at the same time, which bounds its memory."""

from __future__ import annotations

from dataclasses import dataclass

MAX_COMPLETE = 2
"""Batches of rows whose results are all there, the first of them being finished, while ``compute`` gets more."""

SLOW_SECONDS = 0.25
"""If no row becomes ready for so long, a whole batch is formed without the slow one."""


@dataclass(frozen=True)
class Flow:
    """The limits of a stream.

    Attributes:
        batch_size: Items in one call of ``compute``.
        threads: Rows that are prepared at the same time.
        ahead_bytes: Bytes of the rows that may be read behind the first one that is not prepared. One row is always
            allowed.
        concurrency: Calls of ``compute`` at the same time.
        max_parts: Maximum items of one row.
    """

    batch_size: int
    threads: int
    ahead_bytes: int
    concurrency: int = 1
    max_parts: int = 1

    @property
    def batches(self) -> int:
        """Batches that are given to ``compute``: those that it works on, and the next one."""
        return self.concurrency + 1

    @property
    def window(self) -> int:
        """Maximum sum of rows that are prepared now and items that are ready or computed.

        It has one batch more than ``compute`` was given, and two rows for each thread. If rows may have many items,
        only two rows for each thread are prepared at the same time. These, and the rows that are computed in part, may
        then have up to ``max_parts`` items each in addition.
        """
        return (self.batches + 1) * self.batch_size + 2 * self.threads

    @property
    def max_items(self) -> int:
        """Maximum number of items in memory: the window, and the further items of rows that have many."""
        return self.window + (2 * self.threads + self.batches) * (self.max_parts - 1)

    @property
    def max_rows_ahead(self) -> int:
        """Maximum number of started rows, counted from the first one that is not prepared, however slow that one is.

        A started row takes a few hundred bytes.
        """
        return 32 * self.window
