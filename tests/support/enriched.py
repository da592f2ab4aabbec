"""A small dataset with unusual columns, and functions that rewrite a Parquet file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pictures import jpeg

CELLS = [jpeg(0, 40, 40), None, jpeg(1, 40, 40), b"broken", jpeg(2, 40, 40), jpeg(3, 40, 40), jpeg(4, 40, 40)]


def table() -> pa.Table:
    """Seven rows, two of which fail; columns whose values can be equal but not identical."""
    nan = float("nan")
    columns = {
        "id": pa.array(range(7), pa.int64()),
        "image": pa.array(CELLS, pa.binary()),
        "weight": pa.array([0.0, -0.0, nan, None, 1.5, 1.5, nan], pa.float64()),
        "kind": pa.array(["a", "b", None, "a", "b", "a", "a"], pa.dictionary(pa.int8(), pa.string())),
        "boxes": pa.array([[[1.0, nan]], [], None, [[], None], [[2.0]], [], []], pa.list_(pa.list_(pa.float32()))),
        "who": pa.array([{"name": "x", "age": 1}, None, {"name": None, "age": 2}, None, None, None, None]),
        "tags": pa.array([[("a", 1)], [], None, [("b", None)], [], [], []], pa.map_(pa.string(), pa.int8())),
    }
    made = pa.table(columns)
    fields = [pa.field("id", pa.int64(), metadata={"unit": "none"}), *list(made.schema)[1:]]
    return made.cast(pa.schema(fields, metadata={"owner": "x"}))


def write_source(folder: Path) -> Path:
    """Two hive partitions of seven rows in three row groups each."""
    for part in ("day=1", "day=2"):
        (folder / part).mkdir(parents=True)
        pq.write_table(table(), folder / part / "rows.parquet", row_group_size=3)
    return folder


def rewrite(
    path: Path, change: Callable[[pa.Table], pa.Table], footer: dict[bytes, bytes | None] | None = None
) -> None:
    """Replace the rows of a file under the same footer, or change its footer."""
    with pq.ParquetFile(path) as file:
        rows, stored = file.read().cast(file.schema_arrow), dict(file.metadata.metadata)
    changed = change(rows)
    with pq.ParquetWriter(path, changed.schema, compression="zstd") as writer:
        writer.write_table(changed, row_group_size=4)
        pairs = {**{key: value for key, value in stored.items() if key.startswith(b"emotion_ops.")}, **(footer or {})}
        writer.add_key_value_metadata({key: value for key, value in pairs.items() if value is not None})


def with_cell(column: str, row: int, value: object) -> Callable[[pa.Table], pa.Table]:
    """A change of one cell."""

    def change(rows: pa.Table) -> pa.Table:
        place = rows.schema.get_field_index(column)
        field = rows.schema.field(place)
        values = rows.column(place).to_pylist()
        values[row] = value
        return rows.set_column(place, field, pa.array(values, field.type))

    return change


def in_order(*order: int) -> Callable[[pa.Table], pa.Table]:
    """A change of the rows and their order."""
    return lambda rows: rows.take(np.array(order))


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: its modification time and its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
