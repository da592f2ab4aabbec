"""Labels and probabilities, of rows or of faces, held against what any run can have written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.operators.classify.labels import Labelling
from emotion_ops.operators.equal_rows import Mask

SUM_TOLERANCE = 1e-5
"""How far the probabilities of a row may be from summing to 1."""


class Told:
    """Answers, as they stand. A good one has numbers from 0 to 1, which sum to 1, and the label that they make.

    Args:
        label: The labels.
        numbers: The probabilities, a column for each label.
        labelling: How labels come of probabilities.

    Attributes:
        probabilities: They, one row for each answer; -1 where there is none.
        is_null: Which of them are null.
        unlabelled: Where there is no label.
        incomplete: Where something of an answer is not there.
        wrong: Where it is no good answer.
    """

    def __init__(self, label: pa.Array, numbers: Sequence[pa.Array], labelling: Labelling) -> None:
        self._labels, self._least = label.to_numpy(zero_copy_only=False), labelling.min_probability
        self._numbers = floats(numbers)
        self.probabilities = np.where(np.isnan(self._numbers), -1.0, self._numbers).astype(np.float32)
        self.is_null = np.stack([nulls(column) for column in numbers], axis=1)
        self.unlabelled = nulls(label)
        self._highest, self._is_sure = labelling.best(self.probabilities)
        self._possible = (self._numbers >= 0) & (self._numbers <= 1)  # which NaN and infinity are not
        self._total = self._numbers.sum(axis=1)
        self._summing = np.abs(self._total - 1) <= SUM_TOLERANCE
        self._mislabelled = np.where(self._is_sure, self._labels != self._highest, ~self.unlabelled)
        self.incomplete: Mask = (self.unlabelled & self._is_sure) | self.is_null.any(axis=1)
        self.wrong: Mask = self.incomplete | ~self._possible.all(axis=1) | ~self._summing | self._mislabelled

    def what(self, row: int, label: str, names: Sequence[str]) -> str:
        """The first thing that is wrong with an answer, of which something is.

        Args:
            row: Which.
            label: What the label is called.
            names: What the probabilities are called.
        """
        if self.incomplete[row]:
            return "has no whole answer"
        if not self._possible[row].all():
            place = int(self._possible[row].argmin())
            return f"{names[place]} is {self._numbers[row, place]:g}, which is no probability"
        if not self._summing[row]:
            return f"the probabilities sum to {self._total[row]:.6f}"
        if self._is_sure[row]:
            return f"{label} is {self._labels[row]!r}, but the highest probability is of {self._highest[row]!r}"
        return f"{label} is {self._labels[row]!r}, but no probability reaches min_probability={self._least}"


def floats(columns: Sequence[pa.Array]) -> NDArray[np.float64]:
    """Columns of numbers side by side; null is NaN."""
    return np.stack([column.cast(pa.float64()).to_numpy(zero_copy_only=False) for column in columns], axis=1)


def nulls(column: pa.Array) -> Mask:
    """Where a column is null."""
    mask: Mask = column.is_null().to_numpy(zero_copy_only=False)
    return mask
