"""Failed rows in a table of their own, from which they can be looked at, mended and replayed.

    <quarantine>/<key of the output>    the source's columns of the failed rows, and:
        quarantine_source    string   the source file
        quarantine_row       int64    the row's position in it, from 0
        quarantine_code      string   the error's code
        quarantine_message   string   what happened

Its rows have the source's own columns, the image too, so that the table is a source like any other. A row that
comes out of a quarantine and fails again keeps the source and the row that it first came from.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emotion_ops.errors import DestinationConflictError
from emotion_ops.images.meter import Meter
from emotion_ops.lake.plan import OUR_KEYS, FilePlan, footer_of, home_of
from emotion_ops.lake.runners.local import read_batches
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.operators.classify.operator import rows_at

FIELDS = (
    pa.field("quarantine_source", pa.string()),
    pa.field("quarantine_row", pa.int64()),
    pa.field("quarantine_code", pa.string()),
    pa.field("quarantine_message", pa.string()),
)
_OWNER = b"emotion_ops.quarantine"
_NAMES = [field.name for field in FIELDS]


def write(plan: FilePlan, errors: Iterable[pa.ChunkedArray], quarantine: Folder, meter: Meter) -> int:
    """Put the failed rows of one source file into the quarantine, whole and at once, in place of earlier ones.

    Args:
        plan: The file.
        errors: For each of its row groups, for each row null or ``code: what happened``.
        quarantine: Where the table lies; the file has the key of the output. Without failed rows it is removed.
        meter: Told what is read.

    Returns:
        How many rows failed.

    Raises:
        DestinationConflictError: Something else lies there.
    """
    check_ours(plan, quarantine)
    kept = [field for field in plan.schema if field.name not in _NAMES]
    metadata = {name: value for name, value in (plan.schema.metadata or {}).items() if name not in (*OUR_KEYS, _OWNER)}
    schema = pa.schema([*kept, *FIELDS], metadata=metadata or None)
    batches = _failed(plan, errors, schema, meter)
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


def check_ours(plan: FilePlan, quarantine: Folder) -> None:
    """Only what an earlier run of the same source and destination put there may be replaced or removed.

    Raises:
        DestinationConflictError: Something else lies there.
    """
    if quarantine.entry(plan.key) is None:
        return
    if footer_of(quarantine, plan.key).get(_OWNER) != _owner(plan):
        raise DestinationConflictError(
            quarantine.path(plan.key),
            "is no quarantine of this source and destination",
            "give the quarantine a folder of its own",
        )


def _owner(plan: FilePlan) -> bytes:
    return f"{home_of(plan.source)} {home_of(plan.destination)}".encode()


def _failed(
    plan: FilePlan, errors: Iterable[pa.ChunkedArray], schema: pa.Schema, meter: Meter
) -> Iterator[pa.RecordBatch]:
    first = 0
    for group, of_group in enumerate(errors):
        failed, start = pc.is_valid(of_group), 0
        batches = read_batches(plan.source, plan.entry.key, columns=None, row_group=group, meter=meter)
        for batch in batches if pc.any(failed).as_py() else ():
            rows = pc.indices_nonzero(failed.slice(start, batch.num_rows))
            if len(rows):
                positions = pc.add(rows.cast(pa.int64()), start)
                yield _told(
                    rows_at(batch, rows.to_numpy()), pc.add(positions, first), of_group.take(positions), plan, schema
                )
            start += batch.num_rows
        first += len(of_group)


def _told(
    chosen: pa.RecordBatch, positions: pa.Array, errors: pa.ChunkedArray, plan: FilePlan, schema: pa.Schema
) -> pa.RecordBatch:
    """Failed rows with what is told of them."""
    words = pc.split_pattern(errors, ": ", max_splits=1)
    added = {
        "quarantine_source": pa.array([plan.source_path] * chosen.num_rows, pa.string()),
        "quarantine_row": positions,
        "quarantine_code": pc.list_element(words, 0),
        "quarantine_message": pc.list_element(words, 1),
    }
    if set(_NAMES) <= set(chosen.schema.names):  # a replay: whence it first came stays
        added |= {name: chosen.column(name) for name in _NAMES[:2]}
    columns = [added[f.name] if f.name in added else chosen.column(f.name) for f in schema]
    return pa.RecordBatch.from_arrays([_one(column) for column in columns], schema=schema)


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
