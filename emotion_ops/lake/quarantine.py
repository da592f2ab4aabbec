"""Copies of failed rows in separate tables, where they can be looked at, corrected and enriched again.

    <quarantine>/<key of the output>    the source's columns of the failed rows, and:
        quarantine_source    string   the source file
        quarantine_row       int64    the row's position in it, from 0
        quarantine_code      string   the error's code
        quarantine_message   string   what happened

The rows have all of the source's columns, inputs too, so that such a table is a source like any other. A row that comes
from a quarantine and fails again keeps its first source and row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emotion_ops.errors import DestinationConflictError
from emotion_ops.images.meter import Meter
from emotion_ops.lake.parquet import read_key_values
from emotion_ops.lake.plan import FilePlan
from emotion_ops.lake.provenance import OUR_KEYS, place_id
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.take_rows import rows_at

FIELDS = (
    pa.field("quarantine_source", pa.string()),
    pa.field("quarantine_row", pa.int64()),
    pa.field("quarantine_code", pa.string()),
    pa.field("quarantine_message", pa.string()),
)
_OWNER = b"emotion_ops.quarantine"
_NAMES = [field.name for field in FIELDS]


def write(plan: FilePlan, errors: Iterable[pa.ChunkedArray], quarantine: Folder, meter: Meter) -> int:
    """Write the failed rows of one source file into the quarantine, in place of earlier ones.

    Args:
        plan: The file.
        errors: The error column of each of its row groups.
        quarantine: The folder; the file has the output's key. If no row failed, the file is removed.
        meter: Counts what is read.

    Returns:
        How many rows failed.

    Raises:
        DestinationConflictError: Another file is there.
        DatasetError: The source cannot be read.
    """
    check_owner(plan, quarantine)
    own = [field for field in plan.schema if field.name not in _NAMES]
    metadata = {key: value for key, value in (plan.schema.metadata or {}).items() if key not in (*OUR_KEYS, _OWNER)}
    schema = pa.schema([*own, *FIELDS], metadata=metadata or None)
    batches = _failed_rows(plan, errors, schema, meter)
    first = next(batches, None)
    if first is None:
        quarantine.delete(plan.key)
        return 0
    count = 0
    with quarantine.spool() as path:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in itertools.chain([first], batches):
                writer.write_batch(batch)
                count += batch.num_rows
            writer.add_key_value_metadata({_OWNER: _owner(plan)})
        quarantine.publish(path, plan.key)
    return count


def check_owner(plan: FilePlan, quarantine: Folder) -> None:
    """Only a file that a run of the same source and destination wrote may be replaced or removed.

    Raises:
        DestinationConflictError: Another file is there.
    """
    if quarantine.entry(plan.key) is None:
        return
    if read_key_values(quarantine, plan.key).get(_OWNER) != _owner(plan):
        raise DestinationConflictError(
            quarantine.path(plan.key),
            "is not a quarantine of this source and destination",
            "give the quarantine a separate folder",
        )


def _owner(plan: FilePlan) -> bytes:
    return f"{place_id(plan.source)} {place_id(plan.destination)}".encode()


def _failed_rows(
    plan: FilePlan, errors: Iterable[pa.ChunkedArray], schema: pa.Schema, meter: Meter
) -> Iterator[pa.RecordBatch]:
    first = 0
    with plan.open_source() as file:
        for group, of_group in enumerate(errors):
            failed, start = pc.is_valid(of_group), 0
            batches = file.batches(row_groups=[group], meter=meter)
            for batch in batches if pc.any(failed).as_py() else ():
                rows = pc.indices_nonzero(failed.slice(start, batch.num_rows))
                if len(rows):
                    positions = pc.add(rows.cast(pa.int64()), start)
                    chosen = rows_at(batch, rows.to_numpy())
                    yield _described(chosen, pc.add(positions, first), of_group.take(positions), plan, schema)
                start += batch.num_rows
            first += len(of_group)


def _described(
    chosen: pa.RecordBatch, positions: pa.Array, errors: pa.ChunkedArray, plan: FilePlan, schema: pa.Schema
) -> pa.RecordBatch:
    """Failed rows with the columns that describe them."""
    words = pc.split_pattern(errors, ": ", max_splits=1)
    sources = pa.array([plan.source_path] * chosen.num_rows, pa.string())
    if set(_NAMES) <= set(chosen.schema.names):  # rows of an earlier quarantine
        sources, positions = (chosen.column(name) for name in _NAMES[:2])
    described = [sources, positions, pc.list_element(words, 0), pc.list_element(words, 1)]
    own = [column for field, column in zip(chosen.schema, chosen.columns, strict=True) if field.name not in _NAMES]
    return pa.RecordBatch.from_arrays([*own, *map(_as_array, described)], schema=schema)


def _as_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
