"""Failed rows that are computed again; all other rows of an existing output stay as they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import OptionError
from emotion_ops.lake.parquet import open_parquet
from emotion_ops.lake.row_errors import has_code
from emotion_ops.lake.targets.folder import Folder


@dataclass(frozen=True)
class Retry:
    """Which rows of one row group are computed again; a picklable value.

    Attributes:
        output: The folder of the existing output.
        key: Its key.
        first: The row group's first row in it; it has the rows of the source, in order.
        codes: The errors whose rows are computed again.
    """

    output: Folder
    key: str
    first: int
    codes: tuple[str, ...]

    def existing_output(self, rows: int, schema: pa.Schema) -> pa.Table:
        """The appended columns of the row group in the existing output.

        Args:
            rows: Rows of the row group.
            schema: The appended columns.

        Raises:
            DatasetError: The output cannot be read.
        """
        with open_parquet(self.output, self.key) as file:
            columns = len(file.footer.schema)
            table = file.rows(range(columns - len(schema), columns), self.first, rows)
        return table.cast(schema).combine_chunks()

    def is_retried(self, existing: pa.Table) -> NDArray[np.bool_]:
        """For each row of the existing output whether it is computed again."""
        mask: NDArray[np.bool_] = has_code(existing.column(existing.num_columns - 1), self.codes).to_numpy()
        return mask


def merge_results(existing: pa.Table, is_retried: NDArray[np.bool_], results: pa.Table) -> pa.Table:
    """The existing output, with the new results in place of the rows that were computed again."""
    rows = np.arange(len(is_retried))
    rows[is_retried] = len(is_retried) + np.arange(results.num_rows)
    return pa.concat_tables([existing, results.cast(existing.schema)]).take(pa.array(rows)).combine_chunks()


def error_codes(retry_errors: bool | str | Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """The codes that the option ``retry_errors`` names: all for True, none for False.

    Args:
        retry_errors: The option.
        known: The codes that the operator's rows may fail with.

    Raises:
        OptionError: It names another code.
    """
    if isinstance(retry_errors, bool):
        return tuple(sorted(known)) if retry_errors else ()
    codes = (retry_errors,) if isinstance(retry_errors, str) else tuple(retry_errors)
    if not codes or not set(codes) <= set(known):
        raise OptionError("retry_errors", retry_errors, f"give True, or codes out of {', '.join(sorted(known))}")
    return tuple(str(code) for code in codes)
