"""What a runner gets and returns: one task for each row group, and its result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from emotion_ops.errors import DatasetError
from emotion_ops.images.meter import StageTimes
from emotion_ops.lake.journal import Journal
from emotion_ops.lake.retry import Retry
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.base import TableOperator
from emotion_ops.reports.findings import Findings


@dataclass(frozen=True)
class RowGroupTask:
    """One row group to compute; a picklable value that any process can run.

    Attributes:
        source: The folder of the source file.
        key: The source file's key.
        stamp: Its stamp when it was planned.
        row_group: Its number in the file.
        first_row: Its first row in the file.
        rows: How many rows it has.
        bytes: Its uncompressed size, from the footer.
        operator: The operator.
        journal: Where its results go.
        retry: Which of its rows are computed again; None computes all.
    """

    source: Folder
    key: str
    stamp: str | None
    row_group: int
    first_row: int
    rows: int
    bytes: int
    operator: TableOperator
    journal: Journal
    retry: Retry | None = None

    @property
    def path(self) -> str:
        """Where it is, for messages."""
        return f"{self.source.path(self.key)}, row group {self.row_group}"

    def check_unchanged(self) -> None:
        """Refuse to continue with a source that is not the planned one.

        Raises:
            DatasetError: It was changed, replaced or removed.
        """
        if self.source.stamp(self.key) != self.stamp:
            what = "changed while it was read"
            raise DatasetError(self.source.path(self.key), what, "run again: it is computed again", retryable=True)


@dataclass(frozen=True)
class RowGroupResult:
    """A row group whose results are in the journal.

    Attributes:
        task: The row group.
        rows: How many of its rows were computed: all of them, except in a retry.
        findings: What the results of all its rows say, for reports.
        measured: What was measured since the last result of the same process.
    """

    task: RowGroupTask
    rows: int
    findings: Findings = field(hash=False)
    measured: StageTimes = field(default_factory=StageTimes, hash=False)


class Runner(Protocol):
    """Runs tasks: in this process, or in other processes and on other machines.

    When a runner returns the result of a task, its row group is in the journal. A commit needs nothing else.
    """

    def run(self, tasks: Sequence[RowGroupTask]) -> Iterator[RowGroupResult]:
        """Run tasks of one operator, in any order, each once.

        Raises:
            DatasetError: A source cannot be read. Finished row groups stay in the journal.
            RowFailedError: A row failed, with ``on_error="raise"``.
        """
        ...
