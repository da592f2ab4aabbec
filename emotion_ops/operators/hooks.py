"""What operators report about their columns, for reports, comparisons and previews; and a default for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emotion_ops.operators.take_rows import drop_failed

FAILED = "failed"
"""The category, in comparisons, of a row that failed."""

GOOD = "good"
"""The category, in comparisons, of a row that did not fail, if the first column has no categories."""

NO_VALUE = "no value"
"""The category, in comparisons, of a row that did not fail and whose first column is null."""


@dataclass(frozen=True)
class Measure:
    """Numbers about rows, by name, which add up over row groups.

    Attributes:
        name: Its name in JSON.
        title: Its title on a page.
        values: Numbers by key.
        per_row: Whether they are sums of which readers see the mean over the good rows.
        ordered: Whether readers see the keys in their order; else the largest number comes first.
        note: What readers should know about it; may be empty.
    """

    name: str
    title: str
    values: Mapping[str, float]
    per_row: bool = False
    ordered: bool = False
    note: str = ""

    def __add__(self, other: Measure) -> Measure:
        """The measure of both sets of rows; new keys are added at the end."""
        values = {key: self.values.get(key, 0) + other.values.get(key, 0) for key in {**self.values, **other.values}}
        return replace(self, values=values)

    def shown(self, good_rows: int) -> dict[str, float]:
        """The values for readers: if it is ``per_row`` the means, which are empty without good rows.

        Args:
            good_rows: The number of good rows.
        """
        if not self.per_row:
            return dict(self.values)
        return {key: round(value / good_rows, 6) for key, value in self.values.items()} if good_rows else {}


@dataclass(frozen=True)
class Differences:
    """How the appended columns of equal rows differ.

    Attributes:
        category_a: For each row of A its category (string, no nulls). A row is counted as changed if it differs in B.
        category_b: The same for B.
        drifts: For each numeric value that both have, the absolute difference in each row (float64). If only one of
            them has a number, the difference is ``inf``, or the largest that is possible.
        only_in_a: Names of numeric values that B does not have.
        only_in_b: The same for A.
    """

    category_a: pa.Array
    category_b: pa.Array
    drifts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    only_in_a: tuple[str, ...] = ()
    only_in_b: tuple[str, ...] = ()


@dataclass(frozen=True)
class Box:
    """A rectangle on an image, in pixels of the upright image.

    Attributes:
        x: Left edge.
        y: Top edge.
        width: Width.
        height: Height.
        text: What is written in it; may be empty.
    """

    x: float
    y: float
    width: float
    height: float
    text: str = ""


@dataclass(frozen=True)
class Card:
    """One row, for a preview or a contact sheet.

    Attributes:
        image: The image cell to show: a path, encoded bytes or pixels; None shows none.
        headline: The main result in a word or two; empty for none.
        value: A number that belongs to the headline, 0 to 1; None for none.
        bars: Numbers from 0 to 1 by name, drawn as bars in this order.
        marked: Names of bars that are marked.
        notes: Further lines.
        boxes: Rectangles to draw on the image, the most important first.
        title: Text that is shown after the row's number.
        error: Why the row failed; None for a good row.
    """

    image: Any = None
    headline: str = ""
    value: float | None = None
    bars: Mapping[str, float] = field(default_factory=dict)
    marked: Sequence[str] = ()
    notes: Sequence[str] = ()
    boxes: Sequence[Box] = ()
    title: str = ""
    error: str | None = None


def summarise(columns: pa.RecordBatch) -> tuple[Measure, ...]:
    """The default summary of good rows: how many have a value in each column, and the means of numeric columns.

    Args:
        columns: The appended columns of any rows, the error column last.
    """
    good = drop_failed(columns)
    filled, sums = dict[str, int](), dict[str, float]()
    for field_, column in zip(list(columns.schema)[:-1], good.columns, strict=False):
        filled[field_.name] = int((~is_null(column)).sum())
        if _is_number(field_.type):
            numbers = as_floats(column)
            sums[field_.name] = float(numbers[np.isfinite(numbers)].sum())
    title = "Means of good rows (null and infinite values count as 0)"
    means = [Measure("means", title, sums, per_row=True, ordered=True)] if sums else []
    return (Measure("values", "Rows with a value", filled, ordered=True), *means)


def check_failed(columns: pa.RecordBatch, codes: frozenset[str] | None) -> Iterator[tuple[int, str]]:
    """The default check: a failed row has a known error code and is null in all other columns.

    Args:
        columns: The appended columns, the error column last.
        codes: The codes that errors may have; None if they are not known.

    Yields:
        The number of each wrong row, and what is wrong.
    """
    *others, error = columns.columns
    filled = np.zeros(columns.num_rows, dtype=bool)
    for column in others:
        filled |= ~is_null(column)
    for row in map(int, np.flatnonzero(~is_null(error))):
        code = str(error[row].as_py()).partition(":")[0]
        if codes is not None and code not in codes:
            yield row, f"failed with the unknown code {code!r}"
        elif filled[row]:
            yield row, "failed, and has a value next to its error"


def compare_columns(a: pa.RecordBatch, b: pa.RecordBatch) -> Differences:
    """The default comparison: the first column's values are the categories, numeric columns of both are compared.

    If the first column has another type than text or truth values, the categories are only good and failed rows.

    Args:
        a: The appended columns of some rows, the error column last.
        b: The same rows of another output.
    """
    numbers_a, numbers_b = ({name: columns.column(name) for name in _number_names(columns)} for columns in (a, b))
    both = [name for name in numbers_a if name in numbers_b]
    return Differences(
        _category(a),
        _category(b),
        {name: drift(numbers_a[name], numbers_b[name], lost=np.inf) for name in both},
        tuple(name for name in numbers_a if name not in both),
        tuple(name for name in numbers_b if name not in both),
    )


def make_card(row: Mapping[str, Any], inputs: Sequence[str], images: Sequence[str]) -> Card:
    """The default card: the first image input, the first appended column as headline, the others as notes.

    Args:
        row: Inputs and appended columns by name, the error column last.
        inputs: Names of the inputs.
        images: Those of them that hold images.
    """
    *others, error = [name for name in row if name not in inputs]
    first, *rest = others or [""]
    notes = [f"{name}: {_short(row[name])}" for name in rest if row[name] is not None]
    headline = "" if row.get(first) is None else f"{first}: {_short(row[first])}"
    return Card(row.get(images[0]) if images else None, headline, notes=notes, error=row[error])


def drift(a: pa.Array, b: pa.Array, lost: float) -> NDArray[np.float64]:
    """Absolute differences of two numeric columns; ``lost`` where only one of them has a finite number."""
    one, other = as_floats(a), as_floats(b)
    with np.errstate(invalid="ignore"):
        difference = np.nan_to_num(np.abs(one - other), nan=0.0, posinf=lost)
    return np.where(np.isfinite(one) != np.isfinite(other), lost, difference)


def as_floats(column: pa.Array) -> NDArray[np.float64]:
    """A numeric column as float64; null is NaN. Integers beyond 2**53 are rounded."""
    values: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def is_null(column: pa.Array) -> NDArray[np.bool_]:
    """Where a column is null."""
    mask: NDArray[np.bool_] = column.is_null().to_numpy(zero_copy_only=False)
    return mask


def _category(columns: pa.RecordBatch) -> pa.Array:
    *others, error = columns.columns
    words = others[0].cast(pa.string()) if others and _is_word(others[0].type) else None
    if words is None:
        words = pa.array([GOOD] * columns.num_rows, pa.string())
    return pc.if_else(pc.is_null(error), words.fill_null(NO_VALUE), FAILED)


def _number_names(columns: pa.RecordBatch) -> list[str]:
    """The numeric columns, without those whose name another column has too."""
    names = columns.schema.names
    return [
        field_.name for field_ in list(columns.schema)[:-1] if _is_number(field_.type) and names.count(field_.name) == 1
    ]


def _is_word(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_word(kind.value_type)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(is_text or pa.types.is_boolean(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
