"""Every kind of frame, made from an Arrow table, and its rows as Python objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

PANDAS_TEXT = str(pd.Series([""]).dtype)
"""The dtype of text in pandas: ``str``, or ``object`` before pandas 3."""


class ArrowStream:
    """A table of an unknown library that has only Arrow's C stream."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


@dataclass(frozen=True)
class Kind:
    """A kind of frame: how it is made, and the class of the frame that comes back."""

    make: Callable[[pa.Table], Any]
    returned: type


FRAMES: dict[str, Kind] = {
    "pandas": Kind(lambda table: table.to_pandas(), pd.DataFrame),
    "pandas on Arrow": Kind(lambda table: table.to_pandas(types_mapper=pd.ArrowDtype), pd.DataFrame),
    "Polars": Kind(pl.from_arrow, pl.DataFrame),
    "PyArrow table": Kind(lambda table: table, pa.Table),
    "PyArrow record batch": Kind(lambda table: first_batch(table), pa.RecordBatch),
    "PyArrow reader": Kind(lambda table: table.to_reader(), pa.RecordBatchReader),
    "Arrow's C stream": Kind(ArrowStream, pa.Table),
}


def make_frame(kind: str, table: pa.Table) -> Any:
    """A frame of a kind with the rows of a table."""
    return FRAMES[kind].make(table)


def first_batch(table: pa.Table) -> pa.RecordBatch:
    """The rows of a table of one chunk as a record batch."""
    return (table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)])[0]


def read_rows(frame: Any) -> list[dict[str, Any]]:
    """The rows of a frame of any kind; a missing value is None."""
    if isinstance(frame, pd.DataFrame):
        return [{name: _read_value(value) for name, value in row.items()} for row in frame.to_dict("records")]
    if isinstance(frame, pl.DataFrame):
        return frame.to_dicts()
    table = frame.read_all() if isinstance(frame, pa.RecordBatchReader) else frame
    return table.to_pylist()


def _read_value(value: Any) -> Any:
    if isinstance(value, list | dict | np.ndarray):
        return value
    return None if pd.isna(value) else value
