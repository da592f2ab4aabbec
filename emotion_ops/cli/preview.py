"""``emotion-ops preview``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from emotion_ops.cli.output import out
from emotion_ops.errors import ColumnNotFoundError
from emotion_ops.lake.runner import read_batches
from emotion_ops.lake.sources import find_sources, open_parquet
from emotion_ops.operators.classify import ClassifyEmotions
from emotion_ops.operators.preview import preview_sheet


def preview(source: str, options: dict[str, Any], rows: int, output: Path) -> None:
    """Draw the first rows of a dataset with what the operator says of them.

    Args:
        source: A Parquet file, folder or glob; of several files the first that has rows.
        options: Those of ``ClassifyEmotions``.
        rows: How many rows.
        output: The picture that is written; its ending says the format.
    """
    operator = ClassifyEmotions(**options)
    preview_sheet(operator, pa.chunked_array([_first(source, operator.image, rows)])).save(output)
    out.print(str(output), markup=False, soft_wrap=True)


def _first(source: str, image: str, rows: int) -> pa.Array:
    """The first images of the first file that has rows."""
    for file in find_sources(source):
        with open_parquet(file.folder, file.key) as parquet:
            names = parquet.schema_arrow.names
        if image not in names:
            raise ColumnNotFoundError(image, names)
        found: list[pa.Array] = []
        batches = read_batches(file.folder, file.key, columns=[image], row_group=None, row_bytes=2**25 // rows)
        for batch in batches:
            found.append(batch.column(0).slice(0, rows - sum(map(len, found))))
            if sum(map(len, found)) >= rows:
                break
        if found:
            return pa.concat_arrays(found)
    return pa.nulls(0)
