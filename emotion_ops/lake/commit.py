"""Write an output file from its source and its journal, verify it, and publish it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from emotion_ops.errors import DatasetError, DestinationConflictError
from emotion_ops.images.meter import Meter
from emotion_ops.lake import quarantine
from emotion_ops.lake.compose import JournalledResults, output_row_groups
from emotion_ops.lake.parquet import read_footer
from emotion_ops.lake.plan import Action, FilePlan
from emotion_ops.lake.provenance import (
    FINGERPRINT_KEY,
    LINEAGE_KEY,
    OUR_KEYS,
    SOURCE_KEY,
    SUMMARY_KEY,
    place_id,
)
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.base import TableOperator

_PAGE_BYTES = 2**20  # of a data page, about: a reader needs a page whole


@dataclass(frozen=True)
class WriteOptions:
    """How an output file is written.

    Attributes:
        operator: What computed the results.
        passthrough: Positions of the source columns that pass through, in order.
        quarantine: Where failed rows are copied to; None for nowhere.
        compression: The Parquet compression.
        row_group_rows: Maximum rows of a row group; None limits only the bytes.
    """

    operator: TableOperator
    passthrough: tuple[int, ...]
    quarantine: Folder | None
    compression: str
    row_group_rows: int | None

    def schema(self, source: pa.Schema) -> pa.Schema:
        """The output's schema for a source's."""
        metadata = {key: value for key, value in (source.metadata or {}).items() if key not in OUR_KEYS}
        fields = [source.field(position) for position in self.passthrough]
        return pa.schema([*fields, *self.operator.appended_schema()], metadata=metadata or None)


@dataclass(frozen=True)
class Committed:
    """An output file that was published.

    Attributes:
        rows: Its rows.
        bytes: Its size.
        shown: The results of the rows in ``show``; None if there are none.
    """

    rows: int
    bytes: int
    shown: pa.Table | None


def commit(
    plan: FilePlan,
    options: WriteOptions,
    lineage: Mapping[str, str],
    *,
    meter: Meter,
    show: Sequence[int] = (),
    before_publish: Callable[[], None] = lambda: None,
) -> Committed:
    """Make one output file from its source and its journal, and publish it.

    Only the source, the journal and the plan are needed: any process can do it, and can do it again.

    Args:
        plan: The file; all its row groups are in the journal.
        options: How the output is written.
        lineage: What made the results, for the footer.
        meter: Measures what it took.
        show: Rows of the source whose results are returned, for the report.
        before_publish: Called when the file is ready; it raises if the run has lost its lease.

    Raises:
        DatasetError: The source changed since it was planned, or the file that was written is wrong.
        DestinationConflictError: The output is not the one that was planned: another run published it.
        OSError: The destination cannot be written.
    """
    results = JournalledResults(plan, options.operator, show)
    drop = options.operator.on_error == "drop"
    schema = options.schema(plan.schema)
    if options.quarantine is not None:  # before the output exists: a later run skips files whose output exists
        quarantine.write(plan, results.errors(), options.quarantine, meter)
    with plan.destination.spool() as path:
        page_rows = max(1, min(1024, _PAGE_BYTES // max(1, plan.row_bytes)))
        with pq.ParquetWriter(
            path,
            schema,
            compression=options.compression,
            write_batch_size=page_rows,
            write_page_checksum=True,
            write_statistics=_columns_with_statistics(schema),
        ) as writer:
            for table in output_row_groups(
                plan,
                options.passthrough,
                results,
                schema,
                drop=drop,
                max_rows=options.row_group_rows,
                meter=meter,
            ):
                writer.write_table(table)
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            writer.add_key_value_metadata(
                {
                    FINGERPRINT_KEY: plan.fingerprint.to_json(),
                    LINEAGE_KEY: json.dumps({**lineage, "finished_at": finished}, sort_keys=True),
                    SOURCE_KEY: place_id(plan.source),
                    SUMMARY_KEY: results.findings.to_json(),
                }
            )
        rows = plan.rows - (results.findings.errors.total() if drop else 0)
        _verify(path, schema, rows, plan)
        size = path.stat().st_size
        before_publish()
        _publish(path, plan)
    plan.journal.remove()
    return Committed(rows, size, results.shown())


def _publish(path: Path, plan: FilePlan) -> None:
    place = plan.destination.path(plan.key)
    if plan.action is not Action.NEW and plan.destination.entry(plan.key) != plan.existing:
        raise DestinationConflictError(
            place, "changed since this run planned to replace it", "run again", retryable=True
        )
    try:
        plan.destination.publish(path, plan.key, new=plan.action is Action.NEW)
    except FileExistsError as error:
        what, hint = "was published by another run since this run was planned", "run again: equal outputs are skipped"
        raise DestinationConflictError(place, what, hint, retryable=True) from error


def _columns_with_statistics(schema: pa.Schema) -> list[str]:
    """All columns but binary and nested ones, whose smallest and largest values would fill pages and footer."""
    is_binary = pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary
    is_large = (*is_binary, pa.types.is_nested, lambda kind: isinstance(kind, pa.BaseExtensionType))
    return [field.name for field in schema if not any(matches(field.type) for matches in is_large)]


def _verify(path: Path, schema: pa.Schema, rows: int, plan: FilePlan) -> None:
    """Read the footer of the new file, and compare the source with its plan, before readers can see the output."""
    footer = read_footer(Folder(str(path.parent)), path.name)
    fingerprint = footer.key_values.get(FINGERPRINT_KEY)
    if footer.rows != rows or not footer.schema.equals(schema) or fingerprint != plan.fingerprint.to_json().encode():
        raise DatasetError(
            plan.destination.path(plan.key),
            f"was read back with {footer.rows} rows instead of {rows}, or with another schema",
            "check the disk and run again",
            retryable=True,
        )
    if plan.source.entry(plan.entry.key) != plan.entry or plan.source.stamp(plan.entry.key) != plan.stamp:
        plan.journal.remove()
        what, hint = "changed while it was read", "run again: it is computed again"
        raise DatasetError(plan.source_path, what, hint, retryable=True)
