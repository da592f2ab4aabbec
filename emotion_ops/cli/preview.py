"""``emotion-ops preview``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from emotion_ops.cli.output import out
from emotion_ops.errors import ColumnNotFoundError, OptionError
from emotion_ops.lake.parquet import open_parquet
from emotion_ops.lake.sources.parquet_files import find_sources
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.reports.preview import check_rows, draw_preview

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pdf")


def preview(source: str, options: dict[str, Any], rows: int, output: Path) -> None:
    """Draw the first rows of a dataset with what the operator appends to them.

    Args:
        source: A Parquet file, folder or glob; of several files the first ones, until there are rows enough.
        options: Those of ``ClassifyEmotions``.
        rows: How many rows.
        output: The picture that is written; its ending says the format.
    """
    operator, rows = ClassifyEmotions(**options), check_rows("rows", rows)
    _check(output)
    draw_preview(operator, list(_first(source, operator.inputs, rows))).save(output)
    out.print(str(output), markup=False, soft_wrap=True)


def _check(output: Path) -> None:
    """Refuse what could not be written, before any work."""
    if output.suffix.lower() not in _ENDINGS or output.is_dir():
        raise OptionError("output", str(output), f"give a file that ends in {', '.join(_ENDINGS)}")
    if not output.parent.is_dir():
        raise OptionError("output", str(output), f"there is no folder {str(output.parent)!r}: make it first")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise OptionError("output", str(output), "it may not be written: give another place")


def _first(source: str, inputs: Sequence[str], rows: int) -> Iterator[tuple[str, pa.Table]]:
    """The first rows of inputs, by file, each with what is written after the numbers of its rows."""
    files = find_sources(source)
    for file in files:
        with open_parquet(file.folder, file.key) as parquet:
            schema = parquet.footer.schema
            missing = next((name for name in inputs if name not in schema.names), None)
            if missing is not None:
                raise ColumnNotFoundError(missing, schema.names).at(file.path)
            found: list[pa.RecordBatch] = []
            for batch in parquet.batches(inputs, min_row_bytes=2**25 // rows):
                found.append(batch.slice(0, rows))
                rows -= found[-1].num_rows
                if not rows:
                    break
        if found:
            yield "" if len(files) == 1 else f", {file.key}", pa.Table.from_batches(found)
        if not rows:
            return
