"""Enrich a Parquet file or folder, one output file for one input file, each whole or not there at all."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emotion_ops.errors import DatasetError
from emotion_ops.lake.layout import FilePair, plan_files
from emotion_ops.operators.classify import ClassifyEmotions, drop_failed

_BATCH_BYTES = 32 * 2**20
_BATCH_ROWS = 4096


@dataclass(frozen=True)
class Progress:
    """How far a job has come: rows of all its files together."""

    rows_done: int
    rows_total: int
    errors: int


@dataclass(frozen=True)
class EnrichReport:
    """What a job did.

    Attributes:
        source: What was read.
        destination: What was written.
        files: Output files that were published.
        rows: Rows that were read.
        images: Rows with probabilities.
        errors: Rows without, by code.
        seconds: Wall time, the model's loading included.
        model: The model's name.
        revision: The commit of a hub model, else ``sha256:`` and the hash of the weights.
    """

    source: str
    destination: str
    files: int
    rows: int
    images: int
    errors: dict[str, int]
    seconds: float
    model: str
    revision: str

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return asdict(self)


def enrich_dataset(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    operator: ClassifyEmotions,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> EnrichReport:
    """Append the emotion columns to a Parquet file or to every file of a folder.

    Each output is written beside its final name under a hidden one, read back, and renamed: whoever reads the
    destination meets whole files only. A job that ends early leaves the files that it finished.

    Args:
        source: A Parquet file or a folder of them; hive partitions keep their folders.
        destination: A file for a file, a folder for a folder.
        operator: The options.
        overwrite: Replace output files that exist, each at once and whole.
        on_progress: Told after each batch of rows.

    Raises:
        DatasetError: The source or the destination cannot be used; before any work where that can be known.
        ColumnError: A file's schema does not fit the options; before any work.
        ModelError: The model cannot be used.
        RowFailedError: A row failed under ``on_error="raise"``.
    """
    started = time.monotonic()
    pairs = plan_files(Path(source), Path(destination), overwrite=overwrite)
    rows_total = sum(_check(pair.source, operator) for pair in pairs)
    rows, errors = 0, Counter[str]()
    for pair in pairs:
        for batch_rows, batch_errors in _enrich_file(pair, operator):
            rows += batch_rows
            errors += batch_errors
            on_progress(Progress(rows, rows_total, errors.total()))
    lineage = operator.output_columns().lineage
    return EnrichReport(
        source=os.fspath(source),
        destination=os.fspath(destination),
        files=len(pairs),
        rows=rows,
        images=rows - errors.total(),
        errors=dict(sorted(errors.items())),
        seconds=time.monotonic() - started,
        model=lineage["model"],
        revision=lineage["revision"],
    )


def _check(source: Path, operator: ClassifyEmotions) -> int:
    """Rows of a source file whose schema fits the options."""
    try:
        with pq.ParquetFile(source) as file:
            operator.output_schema(file.schema_arrow)
            rows: int = file.metadata.num_rows
            return rows
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(str(source), f"is no readable Parquet file ({error})", "mend or remove the file") from error


def _enrich_file(pair: FilePair, operator: ClassifyEmotions) -> Iterator[tuple[int, Counter[str]]]:
    """Write one output file whole; yields rows and errors by code as they are done."""
    pair.destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = pair.destination.with_name(f".{pair.destination.name}.{os.getpid()}.tmp")
    counting = replace(operator, on_error="null") if operator.on_error == "drop" else operator
    try:
        with pq.ParquetFile(pair.source) as file, temporary.open("xb") as sink:
            schema = operator.output_schema(file.schema_arrow)
            error_column = operator.output_columns().error
            written = 0
            with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
                for batch in counting.stream(file.iter_batches(batch_size=_batch_rows(file.metadata))):
                    failed = pc.drop_null(batch.column(error_column)).to_pylist()
                    kept = drop_failed(batch, error_column) if operator.on_error == "drop" else batch
                    writer.write_batch(kept)
                    written += kept.num_rows
                    yield batch.num_rows, Counter(error.partition(":")[0] for error in failed)
            sink.flush()
            os.fsync(sink.fileno())
        _verify(temporary, schema, written)
        temporary.replace(pair.destination)
    finally:
        temporary.unlink(missing_ok=True)


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Rows in a batch of about ``_BATCH_BYTES``, judged by the file's largest row."""
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    row_bytes = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=1)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, row_bytes)))


def _verify(path: Path, schema: pa.Schema, rows: int) -> None:
    """Read back what was written before anyone else may."""
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows != rows or file.schema_arrow.names != schema.names:
            raise DatasetError(
                str(path), f"holds {file.metadata.num_rows} rows after writing {rows}", "check the disk and run again"
            )
