"""``emotion-ops preview``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer

from emotion_ops.cli.arguments import Operator
from emotion_ops.cli.operators import DEFAULT, make_operator, operator_flags
from emotion_ops.cli.output import out
from emotion_ops.errors import ColumnNotFoundError, OptionError
from emotion_ops.flags.fields import FlagSet
from emotion_ops.lake.parquet import open_parquet
from emotion_ops.lake.sources.parquet_files import find_sources
from emotion_ops.reports.preview import check_rows, draw_preview

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pdf")


def flag_sets(operator: str) -> tuple[FlagSet, ...]:
    """The flags of the command, for an operator."""
    return (operator_flags(operator or DEFAULT).without("on_error"),)


def preview(
    source: Annotated[str, typer.Argument(help="Parquet file, folder or glob.")],
    operator: Operator = DEFAULT,
    rows: Annotated[int, typer.Option("--rows", "-n", help="Rows that are drawn, the first ones: 1 to 200.")] = 12,
    output: Annotated[Path, typer.Option("--output", "-o", help="The image that is written.")] = Path("preview.png"),
    **options: Any,
) -> None:
    """Draw the first rows with what an operator appends to them, as one image.

    emotion-ops preview faces.parquet --model demo -n 7
    """
    made, rows = make_operator(operator, options), check_rows("--rows", rows)
    _check_output(output)
    draw_preview(made, list(_first_rows(source, made.inputs, rows))).save(output)
    out.print(str(output), markup=False, soft_wrap=True)


def _check_output(output: Path) -> None:
    """Refuse a file that cannot be written, before any work."""
    if output.suffix.lower() not in _ENDINGS or output.is_dir():
        raise OptionError("--output", str(output), f"give a file that ends in {', '.join(_ENDINGS)}")
    if not output.parent.is_dir():
        raise OptionError("--output", str(output), f"there is no folder {str(output.parent)!r}: create it first")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise OptionError("--output", str(output), "no permission to write it: give another place")


def _first_rows(source: str, inputs: Sequence[str], rows: int) -> Iterator[tuple[str, pa.Table]]:
    """The first rows of the inputs, by file, each with what is written after the numbers of its rows."""
    files = find_sources(source)
    for file in files:
        with open_parquet(file.folder, file.key) as parquet:
            names = parquet.footer.schema.names
            if missing := [name for name in inputs if name not in names]:
                raise ColumnNotFoundError(missing[0], names).at(file.path)
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
