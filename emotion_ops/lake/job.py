"""One run over the files that are to be done: row groups to the runner, finished files to the commit."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from emotion_ops.errors import DatasetError, DestinationConflictError, ErrorBudgetExceededError
from emotion_ops.images.meter import Meter, StageTimes
from emotion_ops.lake import quarantine
from emotion_ops.lake.commit import WriteOptions, check_columns, commit, passthrough_columns
from emotion_ops.lake.contact_sheet import Sheet
from emotion_ops.lake.journal import Leftovers
from emotion_ops.lake.plan import Action, FilePlan
from emotion_ops.lake.retry import Retry, read_errors
from emotion_ops.lake.runners.local import RowGroupTask, Runner
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.classify.operator import ClassifyEmotions, OnError
from emotion_ops.reports.findings import Findings
from emotion_ops.reports.report import Progress


@dataclass
class Job:
    """One run: its options, and what it has done so far."""

    destination: str
    operator: ClassifyEmotions
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
    sheet: Sheet | None = None
    rows_skipped: int = 0
    failed_skipped: int = 0
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
        """Refuse what cannot end well, before any work."""
        refused = [plan for plan in plans if plan.action is Action.REFUSE]
        if refused:
            first, more = refused[0], f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise DestinationConflictError(
                first.destination.path(first.key) + more,
                f"stands already, made otherwise: {first.reason}",
                "choose another destination, or overwrite to make it anew",
            )
        check_columns([plan.schema for plan in plans], self.columns)
        held = {entry.key for entry in self.quarantine.entries()} if self.quarantine else set()
        for plan in plans:
            if self.quarantine and plan.key in held:
                quarantine.check_ours(plan, self.quarantine)

    def run(self, plans: Sequence[FilePlan], left: Leftovers, may_publish: Callable[[], None]) -> None:
        """Answer the row groups that the journal lacks; commit each file as its last one is answered.

        Args:
            plans: The files.
            left: What earlier runs answered.
            may_publish: Asked before a file is published; it raises where the lease is lost.
        """
        total = sum(plan.rows for plan in plans)
        missing: dict[str, set[int]] = {}
        by_key = {plan.key: plan for plan in plans}
        for plan in plans:
            finished = left.of(plan.journal)
            missing[plan.key] = set(range(len(plan.row_groups))) - finished
            for group in sorted(finished):
                answers = plan.journal.whole(group, plan.row_groups[group].rows)
                if answers is None:  # torn by whatever happened to the disk: it is answered again
                    missing[plan.key].add(group)
                    continue
                first_row = sum(before.rows for before in plan.row_groups[:group])
                self.findings.add(Findings.of(answers, self._appended, plan.source_path, group, first_row))
                self.rows_from_journal += plan.row_groups[group].rows
        self.rows = self.rows_from_journal
        self._check_budget(last=self.rows == total)
        for plan in plans:
            if not missing[plan.key]:
                self._commit(plan, may_publish)
        for done in self.runner.run(list(self._units(plans, missing))):
            plan = by_key[done.unit.journal.key]
            self.rows += done.unit.rows
            self.rows_computed += done.rows
            self.rows_retried += done.rows if done.unit.retry else 0
            self.findings.add(done.findings)
            self.measured += done.measured
            self._check_budget(last=False)
            missing[plan.key].discard(done.unit.row_group)
            if not missing[plan.key]:
                self._check_budget(last=self.rows == total)
                self._commit(plan, may_publish)
            self.on_progress(Progress(self.rows, total, self.findings.errors.total()))
        for plan in plans:
            if missing[plan.key]:
                raise DatasetError(
                    plan.source_path,
                    f"gave fewer or more rows than its footer says, in row group {min(missing[plan.key])}",
                    "run again if it changed meanwhile; else mend the file",
                    retryable=True,
                )

    def fill_quarantine(self, plans: Sequence[FilePlan]) -> None:
        """Put the failed rows of outputs that stood already into the quarantine, where it lacks them."""
        error = self.operator.output_columns().error
        if self.quarantine is None or self.operator.on_error == "drop":
            return
        for plan in plans:
            if self.quarantine.entry(plan.key) is None:
                with self.meter.time("write"):
                    errors = read_errors(plan.destination, plan.key, error)
                    ends = itertools.accumulate(group.rows for group in plan.row_groups)
                    of_groups = (
                        errors.slice(end - group.rows, group.rows)
                        for group, end in zip(plan.row_groups, ends, strict=True)
                    )
                    quarantine.write(plan, of_groups, self.quarantine, self.meter)

    def _units(self, plans: Sequence[FilePlan], missing: dict[str, set[int]]) -> Iterator[RowGroupTask]:
        answering: OnError = "raise" if self.operator.on_error == "raise" else "null"  # dropping is the commit's
        operator = dataclasses.replace(self.operator, on_error=answering)
        for plan in plans:
            first = 0
            for number, group in enumerate(plan.row_groups):
                if number in missing[plan.key]:
                    again = plan.action is Action.RETRY
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
                        retry=Retry(plan.destination, plan.key, first, tuple(self.retry)) if again else None,
                    )
                first += group.rows

    def _commit(self, plan: FilePlan, may_publish: Callable[[], None]) -> None:
        may_publish()  # whoever took over may have removed the journal too
        show = self.sheet.rows_of(plan.key) if self.sheet else []
        with self.meter.time("write"):
            done = commit(
                plan, self._composition(plan), self.lineage, meter=self.meter, show=show, may_publish=may_publish
            )
        self.files += 1
        self.rows_published += plan.rows
        self.bytes_written += done.bytes
        if self.sheet and done.shown is not None:
            self.sheet.answer(plan.key, done.shown)

    @functools.cached_property
    def _appended(self) -> OutputColumns:
        return self.operator.output_columns()

    def _composition(self, plan: FilePlan) -> WriteOptions:
        return WriteOptions(
            columns=self._appended,
            passthrough=passthrough_columns(plan.schema, self.columns),
            drop_failed=self.operator.on_error == "drop",
            quarantine=self.quarantine,
            compression=self.compression,
            row_group_rows=self.row_group_rows,
        )

    def _check_budget(self, *, last: bool) -> None:
        failed, answered = self.findings.errors.total(), self.rows
        over_number = self.max_errors is not None and failed > self.max_errors
        of_all, in_all = failed + self.failed_skipped, answered + self.rows_skipped
        over_rate = (
            self.max_error_rate is not None
            and in_all > 0
            and (last or in_all >= 100)
            and of_all / in_all > self.max_error_rate
        )
        if over_rate and not over_number:
            failed, answered = of_all, in_all
        if over_number or over_rate:
            limit = f"max_errors={self.max_errors}" if over_number else f"max_error_rate={self.max_error_rate}"
            raise ErrorBudgetExceededError(
                self.destination,
                f"{failed:,} of {answered:,} rows failed, more than {limit} allows",
                "raise the limit and run again: what was answered is kept; where images behind paths were mended, "
                "forget it first: emotion-ops clean --journals",
            )
