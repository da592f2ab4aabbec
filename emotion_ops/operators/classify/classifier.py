"""Probabilities for a list of images, for those who have no table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import OptionError
from emotion_ops.operators.classify.operator import ClassifyEmotions

_OF_COLUMNS = ("image", "prefix", "on_error", "labels_above", "min_probability")


class EmotionClassifier:
    """Predict the emotions of images.

    Args:
        **options: Those of ``ClassifyEmotions``, but for those of a table's columns: ``image``, ``prefix``,
            ``on_error``, ``labels_above`` and ``min_probability``.

    Attributes:
        labels: The label names, in the order of the columns of ``predict``.

    Raises:
        OptionError: An option has a value that cannot work, or is one of a table's columns.
    """

    def __init__(self, **options: Any) -> None:
        for name in _OF_COLUMNS:
            if name in options:
                hint = "leave it out: predict gives probabilities alone, which ClassifyEmotions makes columns of"
                raise OptionError(name, options[name], hint)
        self._operator = ClassifyEmotions("images", on_error="raise", **options)
        self.labels = self._operator.output_columns().labels

    def predict(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Probabilities of images.

        Args:
            images: PIL images, uint8 arrays (height, width[, 1 | 3 | 4]), encoded bytes, or paths.

        Returns:
            float32 (N, labels); each row sums to 1. (0, labels) for no images.

        Raises:
            RowFailedError: An image cannot be used; it names its position and why.
            ModelError: The model cannot be used.
        """
        columns = self._operator.columns_for(list(images))
        names = self._operator.output_columns().probabilities
        return np.stack([columns.column(name).to_numpy() for name in names], axis=1).astype(np.float32, copy=False)
