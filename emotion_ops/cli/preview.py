"""``emotion-ops preview``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from emotion_ops.cli.output import out
from emotion_ops.errors import ColumnNotFoundError, OptionError
from emotion_ops.lake.runners.local import read_batches
from emotion_ops.lake.sources.parquet_files import find_sources, open_parquet
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.reports.preview import preview_sheet, rows_of

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pdf")


def preview(source: str, options: dict[str, Any], rows: int, output: Path) -> None:
    """Draw the first rows of a dataset with what the operator says of them.

    Args:
        source: A Parquet file, folder or glob; of several files the first ones, until there are rows enough.
        options: Those of ``ClassifyEmotions``.
        rows: How many rows.
        output: The picture that is written; its ending says the format.
    """
    operator, rows = ClassifyEmotions(**options), rows_of("rows", rows)
    _check(output)
    preview_sheet(operator, list(_first(source, operator.image, rows))).save(output)
    out.print(str(output), markup=False, soft_wrap=True)


def _check(output: Path) -> None:
    """Refuse what could not be written, before any work."""
    if output.suffix.lower() not in _ENDINGS or output.is_dir():
        raise OptionError("output", str(output), f"give a file that ends in {', '.join(_ENDINGS)}")
    if not output.parent.is_dir():
        raise OptionError("output", str(output), f"there is no folder {str(output.parent)!r}: make it first")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise OptionError("output", str(output), "it may not be written: give another place")


def _first(source: str, image: str, rows: int) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """The first images, by file, each with what stands behind its rows' numbers."""
    files = find_sources(source)
    for file in files:
        with open_parquet(file.folder, file.key) as parquet:
            names = parquet.schema_arrow.names
        if image not in names:
            raise ColumnNotFoundError(image, names).at(file.path)
        found: list[pa.Array] = []
        for batch in read_batches(file.folder, file.key, columns=[image], row_group=None, row_bytes=2**25 // rows):
            found.append(batch.column(0).slice(0, rows))
            rows -= len(found[-1])
            if not rows:
                break
        if found:
            yield "" if len(files) == 1 else f", {file.key}", pa.chunked_array(found)
        if not rows:
            return
