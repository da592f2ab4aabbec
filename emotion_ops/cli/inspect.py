"""``emotion-ops inspect``."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from PIL import Image

from emotion_ops.cli.output import out, print_json, two_columns
from emotion_ops.errors import ColumnNotFoundError, ColumnTypeError, RowError
from emotion_ops.images.cells import cells_of, kind_of
from emotion_ops.images.preprocess import Resize
from emotion_ops.lake.runners.local import read_batches
from emotion_ops.lake.sources.parquet_files import SourceFile, find_sources, open_parquet
from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.models.config import read_labels
from emotion_ops.operators.classify.labels import as_json
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.classify.session import loader_of, search_of


def inspect(
    source: str | None,
    options: dict[str, Any],
    rows: int,
    *,
    as_json: bool,
) -> None:
    """Show a dataset's images and a model, and what the one would append to the other.

    Args:
        source: A Parquet file, folder or glob; None shows the model alone.
        options: Those of ``ClassifyEmotions``.
        rows: Rows whose images are opened.
        as_json: JSON instead of tables.
    """
    operator = ClassifyEmotions(**options)
    answer: dict[str, Any] = {} if source is None else {"source": _source(source, operator, rows)}
    answer["model"] = _model(operator)
    search = search_of(operator)
    if search is not None:
        search.prepare()
        answer["faces"] = search.identity()
    if as_json:
        print_json(answer)
        return
    for title, facts in answer.items():
        table = two_columns()
        for name, value in facts.items():
            text = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
            table.add_row(name.replace("_", " "), text)
        out.print(title, style="bold")
        out.print(table)


def _source(source: str, operator: ClassifyEmotions, rows: int) -> dict[str, Any]:
    files = find_sources(source)
    first = files[0]
    with open_parquet(first.folder, first.key) as file:
        schema, in_first = file.schema_arrow, file.metadata.num_rows
    if operator.image not in schema.names:
        names = [f"{f.name}, which could hold images" if _could_hold_images(f.type) else f.name for f in schema]
        raise ColumnNotFoundError(operator.image, names)
    field = schema.field(operator.image)
    appended = operator.output_schema(schema)
    return {
        "files": len(files),
        "first_file": first.path,
        "rows_in_first_file": in_first,
        "column": f"{operator.image}: {kind_of(field.type, operator.image)} ({field.type})",
        "images": _images(first, operator, rows),
        "appended": [_told(new, operator) for new in list(appended)[len(schema) :]],
    }


def _told(new: pa.Field, operator: ClassifyEmotions) -> str:
    """An appended column, with the thresholds that decide what stands in it."""
    columns = operator.output_columns()
    note = ""
    if new.name == columns.label and operator.min_probability is not None:
        note = f", null below {operator.min_probability:g}"
    elif new.name == columns.listed and operator.labels_above is not None:
        above = as_json(operator.labels_above)
        note = ", of at least " + json.dumps(above).strip("{}").replace('"', "")
    return f"{new.name}: {new.type}{note}"


def _images(file: SourceFile, operator: ClassifyEmotions, rows: int) -> list[str]:
    """Format and size of the first images, or why they cannot be used."""
    thumbnail = Resize((64, 64), Image.Resampling.BILINEAR, None)
    loader = loader_of(operator, thumbnail)
    lines: list[str] = []
    row_bytes = 2**25 // max(1, rows)  # batches of about as many rows as are looked at
    for batch in read_batches(file.folder, file.key, columns=[operator.image], row_group=None, row_bytes=row_bytes):
        cell = cells_of(batch.column(0), operator.image)
        for row in range(min(batch.num_rows, rows - len(lines))):
            try:
                picture = loader.open(cell(row))
                loader.load(cell(row))
                lines.append(f"{picture.format or 'pixels'} {picture.mode} {picture.width} × {picture.height}")
            except RowError as error:
                lines.append(str(error))
        if len(lines) >= rows:
            break
    return lines


def _could_hold_images(data_type: pa.DataType) -> bool:
    try:
        return kind_of(data_type, "") != "nothing"
    except ColumnTypeError:
        return False


def _model(operator: ClassifyEmotions) -> dict[str, Any]:
    checkpoint = resolve_checkpoint(operator.model, operator.revision)
    own, names = read_labels(checkpoint), operator.output_columns().labels
    return {
        "name": operator.model,
        "revision": checkpoint.revision(),
        "weights_sha256": checkpoint.weights_sha256(),
        "architecture": ", ".join(checkpoint.config().get("architectures") or ["unknown"]),
        "labels": [name if name == label else f"{label} → {name}" for label, name in zip(own, names, strict=True)],
    }
