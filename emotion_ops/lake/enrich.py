"""Enrich a Parquet dataset: plan, compute row groups into the journal, commit file by file.

    plan ──▶ tasks ──▶ [runner] ──▶ journal ──▶ commit ──▶ output files

If a job is killed, the next run continues from its journal. The footer of each output has the fingerprint of what it
was made of. So a second run skips it, and another operator or option is refused instead of mixed in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

from emotion_ops.lake.gate import Gate, run_with_gate
from emotion_ops.lake.options import EnrichOptions
from emotion_ops.lake.run import EnrichRun
from emotion_ops.lake.runners.base import Runner
from emotion_ops.lake.runners.local import LocalRunner
from emotion_ops.operators.base import TableOperator
from emotion_ops.reports.report import EnrichReport, Progress

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def enrich_dataset(
    source: Source,
    destination: str | os.PathLike[str],
    operator: TableOperator,
    *,
    columns: str | Sequence[str] = "all",
    shard: tuple[int, int] | None = None,
    overwrite: bool = False,
    prune: bool = False,
    retry_errors: bool | str | Sequence[str] = False,
    quarantine: str | os.PathLike[str] | None = None,
    gate: Gate | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    sample_rows: int = 64,
    compression: str = "zstd",
    row_group_rows: int | None = None,
    max_errors: int | None = None,
    max_error_rate: float | None = None,
    wait: float = 0.0,
    report_page: bool = True,
    contact_sheet: bool | Literal["auto"] = "auto",
    runner: Runner | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> EnrichReport:
    """Append an operator's columns to every file of a Parquet dataset.

    There is one output file for each source file, in the same relative place. It appears when it is complete and
    verified, not before. Finished row groups are journalled in ``_emotion_ops`` in the destination, so that a job that
    ended early continues where it stopped. Files whose output exists are skipped.

    Args:
        source: A Parquet file, a folder (hive partitions stay), a glob, or a list of these; local paths, or URIs of
            anything that pyarrow.fs or fsspec opens.
        destination: A folder; or a file ending in ``.parquet``, for a single source file.
        operator: The table operator.
        columns: Source columns that pass through: ``"all"``, ``"none"``, names, or names to exclude with ``-`` before
            each (``"-image"``). Partition columns are in the paths, and always stay. If a file lacks a column, its
            output lacks it too, and readers of the whole dataset see nulls there.
        shard: ``(i, n)``: only the files of shard ``i`` of ``n``, from 0. Machines with the same source and ``n`` share
            a job without communication: the name of a file decides its shard.
        overwrite: Replace outputs that were made by another operator or with other options. Each is replaced at once.
        prune: Remove outputs whose source file is gone; else they are reported and stay.
        retry_errors: Compute failed rows of existing outputs again: True for all, or the codes of some, for example
            ``("unreadable", "not_found")``. All other rows stay as they are, and each file is replaced at once.
        quarantine: A folder for copies of failed rows: one table for each source file with failed rows, with the
            source's columns and ``quarantine_source``, ``_row``, ``_code`` and ``_message``. It can be corrected and
            enriched like any other source. Skipped files get theirs too.
        gate: Compare the output with a previous one, and publish it only within limits.
        limit: Maximum number of files in this run; the next run continues.
        dry_run: Only plan: nothing is written. Footers are read, and a small sample is computed to estimate time,
            memory, failed rows, and what limits the job.
        sample_rows: Maximum rows of that sample; 0 for none.
        compression: Parquet compression of outputs: ``zstd``, ``snappy``, ``gzip``, ``brotli``, ``lz4`` or ``none``.
        row_group_rows: Maximum rows of an output's row group; None limits only its bytes.
        max_errors: Maximum number of failed rows before the job stops.
        max_error_rate: Maximum share of failed rows, 0 to 1, those of skipped outputs included; applied from 100 rows
            on, and at the end.
        wait: Seconds to wait for another run that writes here, before this run is refused.
        report_page: Write the report also as an HTML page, next to ``report.json``.
        contact_sheet: Show up to 24 small images on that page. They are personal data if they show people.
            ``"auto"`` shows only images of files whose output stores the images anyway, so that no image is copied to a
            new place. ``False`` shows none, ``True`` shows images of all files.
        runner: Where row groups are computed; None is this process.
        on_progress: Called when a row group is finished.

    Returns:
        What was done, as in ``_emotion_ops/report.json`` of the destination. That file is also written when a job ends
        early.

    Raises:
        DatasetError: A source or the destination cannot be used.
        DestinationConflictError: An output was made of something else.
        DestinationBusyError: Another run writes here, or took over while this run was suspended.
        ErrorBudgetExceededError: Too many rows failed. Finished row groups stay in the journal; the file in which it
            happened is not published.
        GateClosedError: The output differs from the previous one by more than the gate allows.
        ColumnError: A file's schema does not fit the operator; before any work.
        ModelError: A model cannot be used.
        OptionError: An option has a value that cannot be used.
        RowFailedError: A row failed, with ``on_error="raise"``.
    """
    given: dict[str, Any] = dict(locals())
    options = EnrichOptions(**{name: given[name] for name in EnrichOptions.__dataclass_fields__})
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    run = EnrichRun(
        sources=tuple(os.fspath(one) for one in sources),
        destination=os.fspath(destination),
        operator=operator.pinned(),
        options=options,
        runner=runner or LocalRunner(),
        on_progress=on_progress,
    )
    return run.execute() if gate is None else run_with_gate(Gate.check("gate", gate), run)
