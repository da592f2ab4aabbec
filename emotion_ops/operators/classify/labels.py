"""Probabilities → labels: the highest alone, where it is sure enough, and all that reach their thresholds."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import OptionError

Thresholds: TypeAlias = float | tuple[tuple[str, float], ...]
"""One threshold for all labels, or pairs of a label and its own, by name."""


@dataclass(frozen=True)
class Labelling:
    """How probabilities become labels. They are compared as what the columns hold, float32.

    Attributes:
        labels: The labels, in the order of the probabilities.
        above: Thresholds that a label must reach to be listed; None lists none. A label that pairs leave out is never
            listed.
        min_probability: What the highest probability must reach for its label to be told.
    """

    labels: tuple[str, ...]
    above: Thresholds | None = None
    min_probability: float | None = None

    def best(self, probabilities: NDArray[np.float32]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        """For each row the label of the highest probability, the first of equals; and whether that is sure enough."""
        labels = np.array(self.labels, dtype=object)[probabilities.argmax(axis=1)]
        if self.min_probability is None:
            return labels, np.ones(len(labels), dtype=bool)
        return labels, probabilities.max(axis=1) >= np.float32(self.min_probability)

    def listed(self, probabilities: NDArray[np.float32], failed: NDArray[np.bool_]) -> pa.Array:
        """For each row the labels that reach their thresholds, the highest first; null where the row failed."""
        order = np.argsort(-probabilities, axis=1, kind="stable")
        reached = np.take_along_axis(probabilities >= self._thresholds(), order, axis=1) & ~failed[:, np.newaxis]
        offsets = np.concatenate([[0], np.cumsum(reached.sum(axis=1))])
        names = np.array(self.labels, dtype=object)[order[reached]]
        kind = pa.list_(pa.field("element", pa.string()))  # as Parquet gives it back
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(names, pa.string()), type=kind, mask=pa.array(failed, pa.bool_())
        )

    def _thresholds(self) -> NDArray[np.float32]:
        if isinstance(self.above, tuple):
            own = dict(self.above)
            return np.array([own.get(label, np.inf) for label in self.labels], np.float32)
        return np.full(len(self.labels), self.above, np.float32)


def thresholds_of(option: str, value: Any) -> Thresholds | None:
    """A threshold, or thresholds by label, in the form that can be hashed.

    Args:
        option: The option's name, for messages.
        value: A number from 0 to 1; a mapping from labels to such numbers, or pairs of them; or None.

    Raises:
        OptionError: None of these.
    """
    if value is None:
        return None
    if isinstance(value, numbers.Real):
        return probability_of(option, value)
    pairs: list[Any] = list(value.items()) if isinstance(value, Mapping) else _pairs(value)
    if not pairs or not all(isinstance(label, str) for label, _ in pairs) or len(dict(pairs)) < len(pairs):
        raise OptionError(option, value, "give a number from 0 to 1, or one for each of some labels: {'happy': 0.4}")
    return tuple(sorted((label, probability_of(option, threshold)) for label, threshold in pairs))


def probability_of(option: str, value: Any) -> float:
    """A number from 0 to 1.

    Raises:
        OptionError: Another value.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise OptionError(option, value, "give a number from 0 to 1")
    return float(value)


def as_json(thresholds: Any) -> Any:
    """Thresholds of ``thresholds_of`` as JSON has them."""
    return dict(thresholds) if isinstance(thresholds, tuple) else thresholds


def check_names(option: str, thresholds: Thresholds | None, labels: Sequence[str]) -> None:
    """Refuse thresholds for labels that the model does not have.

    Raises:
        OptionError: There are such.
    """
    if isinstance(thresholds, tuple):
        unknown = [label for label, _ in thresholds if label not in labels]
        if unknown:
            raise OptionError(option, dict(thresholds), f"the model has no {unknown[0]!r}; give some of {list(labels)}")


def _pairs(value: Any) -> list[Any]:
    pairs = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else []
    return pairs if all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs) else []
