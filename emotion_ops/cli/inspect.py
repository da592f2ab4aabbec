"""``emotion-ops inspect``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pyarrow as pa
import typer
from PIL import Image

from emotion_ops.cli.arguments import Json, Operator
from emotion_ops.cli.operators import DEFAULT, make_operator, operator_flags
from emotion_ops.cli.output import out, print_json, two_columns
from emotion_ops.errors import ColumnNotFoundError, ColumnTypeError, RowError
from emotion_ops.flags.fields import FlagSet
from emotion_ops.images.cells import image_kind
from emotion_ops.images.resize import Resize
from emotion_ops.lake.parquet import open_parquet
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.rows import Row, RowBatch

_THUMBNAIL = Resize((64, 64), Image.Resampling.BILINEAR, None)


def flag_sets(operator: str) -> tuple[FlagSet, ...]:
    """The flags of the command, for an operator."""
    return (operator_flags(operator or DEFAULT),)


def inspect(
    source: Annotated[str | None, typer.Argument(help="Parquet file or folder. None: only the operator.")] = None,
    operator: Operator = DEFAULT,
    rows: Annotated[int, typer.Option(help="Rows whose images are opened.", min=0)] = 5,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Say what a dataset's inputs are, what would be appended, and what decides its values.

    emotion-ops inspect faces.parquet --model demo
    """
    made = make_operator(operator, options)
    facts: dict[str, Any] = {} if source is None else {"source": _source(source, made, rows)}
    facts["operator"] = {
        "lineage": made.lineage(),
        "appended": [f"{field.name}: {field.type}" for field in made.output_fields()],
        "identity": made.identity(),
    }
    if as_json:
        print_json(facts)
        return
    for title, values in facts.items():
        table = two_columns()
        for name, value in values.items():
            _add_rows(table, name.replace("_", " "), value)
        out.print(title, style="bold")
        out.print(table)


def _add_rows(table: Any, name: str, value: Any) -> None:
    if isinstance(value, dict):
        value = [f"{key}: {one}" for key, one in value.items()]
    table.add_row(name, "\n".join(map(str, value)) if isinstance(value, list) else str(value))


def _source(source: str, operator: TableOperator, rows: int) -> dict[str, Any]:
    files = find_sources(source)
    first = files[0]
    with open_parquet(first.folder, first.key) as parquet:
        schema, rows_in_first = parquet.footer.schema, parquet.footer.rows
    for name in operator.inputs:
        if name not in schema.names:
            names = [
                f"{field.name}, which could hold images" if _may_hold_images(field) else field.name for field in schema
            ]
            raise ColumnNotFoundError(name, names)
    operator.output_schema(schema)  # refuses what a job would refuse
    return {
        "files": len(files),
        "first_file": first.path,
        "rows_in_first_file": rows_in_first,
        "inputs": [_describe(schema.field(name), operator) for name in operator.inputs],
        "images": list(_images(first, operator, rows)) if rows else [],
    }


def _describe(field: pa.Field, operator: TableOperator) -> str:
    if field.name not in operator.image_inputs:
        return f"{field.name}: {field.type}"
    return f"{field.name}: {image_kind(field.type, field.name)} ({field.type})"


def _images(file: SourceFile, operator: TableOperator, rows: int) -> Iterator[str]:
    """Format and size of the images in the first rows, or why they cannot be used."""
    run, left = operator.new_run(), rows
    loader = run.loader(_THUMBNAIL)
    with open_parquet(file.folder, file.key) as parquet:
        for batch in parquet.batches(operator.inputs, min_row_bytes=2**25 // rows):
            columns = RowBatch.from_arrow(None, batch.slice(0, left)).columns
            for number in range(min(batch.num_rows, left)):
                row = Row(columns, number, run)
                for name in operator.image_inputs:
                    try:
                        image = loader.open(row.cell(name))
                        row.load(name, loader)
                        yield f"{image.format or 'pixels'} {image.mode} {image.width} × {image.height}"
                    except RowError as error:
                        yield str(error)
            left -= min(batch.num_rows, left)
            if not left:
                return


def _may_hold_images(field: pa.Field) -> bool:
    try:
        return image_kind(field.type, field.name) != "nothing"
    except ColumnTypeError:
        return False
