"""One run over the files to do: row groups go to the runner, finished files to the commit."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from emotion_ops.errors import DatasetError, DestinationConflictError, ErrorBudgetExceededError
from emotion_ops.images.meter import Meter, StageTimes
from emotion_ops.lake import quarantine
from emotion_ops.lake.columns import check_columns, passthrough_columns
from emotion_ops.lake.commit import WriteOptions, commit
from emotion_ops.lake.contact_sheet import ContactSheet
from emotion_ops.lake.journal import JournalIndex
from emotion_ops.lake.plan import Action, FilePlan
from emotion_ops.lake.retry import Retry
from emotion_ops.lake.row_errors import read_errors
from emotion_ops.lake.runners.base import RowGroupTask, Runner
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.base import OnError, TableOperator
from emotion_ops.reports.findings import Findings
from emotion_ops.reports.report import Progress


@dataclass
class Job:
    """One run: its options, and what it has done so far.

    Attributes:
        destination: Where outputs go, for messages.
        operator: The operator.
        columns: Which source columns pass through.
        compression: The Parquet compression of outputs.
        row_group_rows: Maximum rows of an output's row group; None limits only the bytes.
        lineage: What makes the results, for the footers.
        max_errors: Maximum failed rows; None for no limit.
        max_error_rate: Maximum share of failed rows; None for no limit.
        retry: Codes of the errors whose rows are computed again in existing outputs.
        quarantine: Where failed rows are copied to; None for nowhere.
        runner: Where row groups are computed.
        on_progress: Called when a row group is finished.
        sheet: The rows that the report shows; None for none.
        skipped: What the existing outputs that are skipped say.
        files: Files that were published.
        rows: Rows of finished row groups.
        rows_published: Rows of published files.
        rows_from_journal: Rows that an earlier run had computed.
        rows_retried: Rows that were computed again.
        rows_computed: Rows that this run computed.
        bytes_written: Bytes of published files.
        findings: What the results say.
        meter: Measures reading and writing of this process.
        measured: What the runner measured.
    """

    destination: str
    operator: TableOperator
    columns: str | Sequence[str]
    compression: str
    row_group_rows: int | None
    lineage: dict[str, str]
    max_errors: int | None
    max_error_rate: float | None
    retry: Sequence[str]
    quarantine: Folder | None
    runner: Runner
    on_progress: Callable[[Progress], None]
    sheet: ContactSheet | None = None
    skipped: Findings = field(default_factory=Findings)
    files: int = 0
    rows: int = 0
    rows_published: int = 0
    rows_from_journal: int = 0
    rows_retried: int = 0
    rows_computed: int = 0
    bytes_written: int = 0
    findings: Findings = field(default_factory=Findings)
    meter: Meter = field(default_factory=Meter)
    measured: StageTimes = field(default_factory=StageTimes)

    def check(self, plans: Sequence[FilePlan]) -> None:
        """Refuse what cannot succeed, before any work.

        Raises:
            DestinationConflictError: An output was made of something else, or another file is in the quarantine.
            ColumnNotFoundError: No file has a column that ``columns`` names.
        """
        refused = [plan for plan in plans if plan.action is Action.REFUSE]
        if refused:
            first, more = refused[0], f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise DestinationConflictError(
                first.destination.path(first.key) + more,
                f"exists already and was made otherwise: {first.reason}",
                "choose another destination, or overwrite to replace it",
            )
        check_columns([plan.schema for plan in plans], self.columns)
        existing = {entry.key for entry in self.quarantine.entries()} if self.quarantine else set()
        for plan in plans:
            if self.quarantine and plan.key in existing:
                quarantine.check_owner(plan, self.quarantine)

    def run(self, plans: Sequence[FilePlan], journals: JournalIndex, before_publish: Callable[[], None]) -> None:
        """Compute the row groups that the journals lack, and commit each file when its last one is finished.

        Args:
            plans: The files.
            journals: What earlier runs finished.
            before_publish: Called before a file is published; it raises if the lease is lost.

        Raises:
            EmotionOpsError: See ``enrich_dataset``.
        """
        total = sum(plan.rows for plan in plans)
        by_key = {plan.key: plan for plan in plans}
        missing = {plan.key: self._resume(plan, journals) for plan in plans}
        self.rows = self.rows_from_journal
        self._check_budget(last=self.rows == total)
        for plan in plans:
            if not missing[plan.key]:
                self._commit(plan, before_publish)
        for result in self.runner.run(list(self._tasks(plans, missing))):
            plan = by_key[result.task.journal.key]
            self.rows += result.task.rows
            self.rows_computed += result.rows
            self.rows_retried += result.rows if result.task.retry else 0
            self.findings.add(result.findings)
            self.measured += result.measured
            self._check_budget(last=False)
            missing[plan.key].discard(result.task.row_group)
            if not missing[plan.key]:
                self._check_budget(last=self.rows == total)
                self._commit(plan, before_publish)
            self.on_progress(Progress(self.rows, total, self.findings.errors.total()))
        for plan in plans:
            if missing[plan.key]:
                raise DatasetError(
                    plan.source_path,
                    f"gave fewer or more rows than its footer says, in row group {min(missing[plan.key])}",
                    "run again if it changed, else repair the file",
                    retryable=True,
                )

    def fill_quarantine(self, plans: Sequence[FilePlan]) -> None:
        """Copy the failed rows of existing outputs into the quarantine, where it lacks them."""
        if self.quarantine is None or self.operator.on_error == "drop":
            return
        for plan in plans:
            if self.quarantine.entry(plan.key) is None:
                with self.meter.time("write"):
                    errors = read_errors(plan.destination, plan.key)
                    ends = itertools.accumulate(group.rows for group in plan.row_groups)
                    of_groups = (
                        errors.slice(end - group.rows, group.rows)
                        for group, end in zip(plan.row_groups, ends, strict=True)
                    )
                    quarantine.write(plan, of_groups, self.quarantine, self.meter)

    def _resume(self, plan: FilePlan, journals: JournalIndex) -> set[int]:
        """The row groups of a file that no earlier run finished; the others are counted."""
        finished = journals.row_groups(plan.journal)
        missing = set(range(len(plan.row_groups))) - finished
        first_row = 0
        for number, group in enumerate(plan.row_groups if finished else ()):
            if number in finished:
                results = plan.journal.read_if_intact(number, group.rows)
                if results is None:
                    missing.add(number)
                else:
                    self.findings.add(
                        Findings.from_columns(results, self.operator, plan.source_path, number, first_row)
                    )
                    self.rows_from_journal += group.rows
            first_row += group.rows
        return missing

    def _tasks(self, plans: Sequence[FilePlan], missing: dict[str, set[int]]) -> Iterator[RowGroupTask]:
        on_error: OnError = "raise" if self.operator.on_error == "raise" else "null"  # the commit drops rows
        operator = dataclasses.replace(self.operator, on_error=on_error)
        for plan in plans:
            first = 0
            for number, group in enumerate(plan.row_groups):
                if number in missing[plan.key]:
                    is_retry = plan.action is Action.RETRY
                    yield RowGroupTask(
                        source=plan.source,
                        key=plan.entry.key,
                        stamp=plan.stamp,
                        row_group=number,
                        first_row=first,
                        rows=group.rows,
                        bytes=group.bytes,
                        operator=operator,
                        journal=plan.journal,
                        retry=Retry(plan.destination, plan.key, first, tuple(self.retry)) if is_retry else None,
                    )
                first += group.rows

    def _commit(self, plan: FilePlan, before_publish: Callable[[], None]) -> None:
        before_publish()  # a run that took over may have removed the journal too
        show = self.sheet.rows_in(plan.key) if self.sheet else []
        with self.meter.time("write"):
            done = commit(
                plan,
                self._write_options(plan),
                self.lineage,
                meter=self.meter,
                show=show,
                before_publish=before_publish,
            )
        self.files += 1
        self.rows_published += plan.rows
        self.bytes_written += done.bytes
        if self.sheet and done.shown is not None:
            self.sheet.add(plan.key, done.shown)

    def _write_options(self, plan: FilePlan) -> WriteOptions:
        return WriteOptions(
            operator=self.operator,
            passthrough=passthrough_columns(plan.schema, self.columns),
            quarantine=self.quarantine,
            compression=self.compression,
            row_group_rows=self.row_group_rows,
        )

    def _check_budget(self, *, last: bool) -> None:
        """Stop if too many rows failed.

        Args:
            last: Whether all rows are finished; before that, a share is only looked at from 100 rows on.
        """
        failed, rows = self.findings.errors.total(), self.rows
        over_number = self.max_errors is not None and failed > self.max_errors
        all_failed, all_rows = failed + self.skipped.errors.total(), rows + self.skipped.rows
        over_rate = (
            self.max_error_rate is not None
            and all_rows > 0
            and (last or all_rows >= 100)
            and all_failed / all_rows > self.max_error_rate
        )
        if over_rate and not over_number:
            failed, rows = all_failed, all_rows
        if over_number or over_rate:
            limit = f"max_errors={self.max_errors}" if over_number else f"max_error_rate={self.max_error_rate}"
            raise ErrorBudgetExceededError(
                self.destination,
                f"{failed:,} of {rows:,} rows failed, more than {limit} allows",
                "raise the limit and run again: finished row groups are kept; if files behind paths were corrected, "
                "remove the journals first: emotion-ops clean --journals",
            )
