"""Labels of a model, and how probabilities become labels."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import OptionError
from emotion_ops.options import OptionGroup, fraction, option, optional

EMOTIONS: tuple[str, ...] = ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy")
"""The seven emotions, in the order of the default model's own ``id2label``."""

ALIASES: Mapping[str, str] = {
    "sadness": "sad",
    "disgusted": "disgust",
    "anger": "angry",
    "neutrality": "neutral",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "surprised": "surprise",
    "happiness": "happy",
    "joy": "happy",
}
"""Other names that published checkpoints use for the same seven emotions."""

Thresholds: TypeAlias = float | tuple[tuple[str, float], ...]
"""One threshold for all labels, or pairs of a label and its threshold, sorted by label."""


def thresholds(name: str, value: Any) -> Thresholds:
    """A check: a threshold from 0 to 1, or thresholds by label as a mapping, as pairs, or as text.

    Text is ``0.3`` or ``happy=0.4,sad=0.2``, as command lines and templates give it.
    """
    if isinstance(value, str):
        value = _parsed(name, value)
    if isinstance(value, numbers.Real):
        return fraction(name, value)
    pairs: list[Any] = list(value.items()) if isinstance(value, Mapping) else _pairs(value)
    if not pairs or not all(isinstance(label, str) for label, _ in pairs) or len(dict(pairs)) < len(pairs):
        hint = "give a number from 0 to 1, or one for each of some labels: {'happy': 0.4}, or happy=0.4,sad=0.2"
        raise OptionError(name, value, hint)
    return tuple(sorted((label, fraction(name, threshold)) for label, threshold in pairs))


@dataclass(frozen=True)
class Labels(OptionGroup):
    """Which labels a row gets.

    Args:
        above: Adds the column ``<prefix>_labels``: every label whose probability is at least this, the highest first;
            an empty list if there is none. A number from 0 to 1 for all labels, or numbers by label,
            ``{"happy": 0.4, "sad": 0.2}``; other labels are then never listed.
        min_probability: If no probability of a row reaches this, the row has no label: ``<prefix>`` is null. Its
            probabilities stay, and its error is null too. None gives every row a label.
    """

    above: float | Mapping[str, float] | Sequence[tuple[str, float]] | None = option(
        optional(thresholds), None, flag="labels_above"
    )
    min_probability: float | None = option(optional(fraction), None)

    def identity(self) -> dict[str, Any]:
        """See ``OptionGroup.identity``; thresholds by label are an object."""
        above = dict(self.above) if isinstance(self.above, tuple) else self.above
        return {**super().identity(), "labels_above": above}

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse thresholds for labels that a model does not have.

        Raises:
            OptionError: There are some.
        """
        if isinstance(self.above, tuple):
            unknown = [label for label, _ in self.above if label not in names]
            if unknown:
                hint = f"the model has no {unknown[0]!r}; give some of {list(names)}"
                raise OptionError("Labels.above", dict(self.above), hint)


@dataclass(frozen=True)
class Labeller:
    """Gives labels to probabilities, which are compared as float32, like the columns.

    Attributes:
        names: The labels, in the order of the probabilities.
        options: Which labels a row gets.
    """

    names: tuple[str, ...]
    options: Labels = Labels()

    def best(self, probabilities: NDArray[np.float32]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        """For each row the label of the highest probability, the first of equals; and whether that is high enough."""
        labels = np.array(self.names, dtype=object)[probabilities.argmax(axis=1)]
        if self.options.min_probability is None:
            return labels, np.ones(len(labels), dtype=bool)
        return labels, probabilities.max(axis=1) >= np.float32(self.options.min_probability)

    def listed(self, probabilities: NDArray[np.float32], failed: NDArray[np.bool_]) -> pa.Array:
        """For each row the labels that reach their thresholds, the highest first; null where the row failed."""
        order = np.argsort(-probabilities, axis=1, kind="stable")
        reached = np.take_along_axis(probabilities >= self._thresholds(), order, axis=1) & ~failed[:, np.newaxis]
        offsets = np.concatenate([[0], np.cumsum(reached.sum(axis=1))])
        names = np.array(self.names, dtype=object)[order[reached]]
        kind = pa.list_(pa.field("element", pa.string()))  # as Parquet gives it back
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(names, pa.string()), type=kind, mask=pa.array(failed, pa.bool_())
        )

    def _thresholds(self) -> NDArray[np.float32]:
        above = self.options.above
        if isinstance(above, tuple):
            by_label: dict[str, float] = dict(above)
            return np.array([by_label.get(label, np.inf) for label in self.names], np.float32)
        return np.full(len(self.names), above, np.float32)


def bind_labels(own: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Bind a checkpoint's label names to the seven emotions by name.

    Two labels that would become one emotion (``anger`` and ``angry``) make every label keep its own name.

    Args:
        own: The names in ``id2label``, by index.

    Returns:
        The names used for columns, in the same order; and those of ``own`` that are none of the seven emotions.
    """
    lower = [ALIASES.get(name.strip().lower(), name.strip().lower()) for name in own]
    known = [name for name in lower if name in EMOTIONS]
    if len(set(known)) < len(known):
        return tuple(own), tuple(own)
    pairs = list(zip(own, lower, strict=True))
    unknown = tuple(name for name, bound in pairs if bound not in EMOTIONS)
    return tuple(bound if bound in EMOTIONS else name for name, bound in pairs), unknown


def _parsed(name: str, text: str) -> float | list[tuple[str, float]]:
    hint = "give 0.3, or happy=0.4,sad=0.2 for example"
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.rpartition("=") for part in text.split(",")]
        found = [(label.strip(), float(threshold)) for label, _, threshold in pairs]
    except ValueError:
        raise OptionError(name, text, hint) from None
    if len(dict(found)) < len(found):
        raise OptionError(name, text, "it names a label twice; give each label one threshold")
    return found


def _pairs(value: Any) -> list[Any]:
    pairs = list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else []
    return pairs if all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs) else []
