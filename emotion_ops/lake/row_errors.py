"""The error column of an output: ``code: what happened``, or null for a good row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from emotion_ops.lake.parquet import open_parquet
from emotion_ops.lake.targets.folder import Folder


def error_counts(errors: pa.ChunkedArray) -> Counter[str]:
    """How many rows failed, by code."""
    codes = pc.list_element(pc.split_pattern(pc.drop_null(errors), ":", max_splits=1), 0)
    return Counter({one["values"]: one["counts"] for one in pc.value_counts(codes).to_pylist()})


def has_code(errors: pa.ChunkedArray, codes: Sequence[str]) -> pa.ChunkedArray:
    """For each error (``code: what happened``, or null) whether its code is one of these (bool, no nulls)."""
    code = pc.list_element(pc.split_pattern(pc.fill_null(errors, ""), ":", max_splits=1), 0)
    return pc.is_in(code, value_set=pa.array(codes, pa.string()))


def read_errors(folder: Folder, key: str) -> pa.ChunkedArray:
    """The error column of an output, its last one; no other column is read.

    Raises:
        DatasetError: The output cannot be read.
    """
    with open_parquet(folder, key) as file:
        return file.rows([len(file.footer.schema) - 1]).column(0)


def count_failed(errors: pa.ChunkedArray, codes: Sequence[str]) -> int:
    """How many rows have an error with one of these codes."""
    return pc.sum(has_code(errors, codes)).as_py() or 0
