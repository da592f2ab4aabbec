"""Out of memory is not an end: the batch is halved, and the work goes on from the same row."""

from __future__ import annotations

import abc
import logging

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import ModelError
from emotion_ops.models.weights import Checkpoint

_log = logging.getLogger("emotion_ops")


class HalvingEngine(abc.ABC):
    """What engines have in common: rows are run as many at once as memory holds.

    Attributes:
        at_once: Batches that ``predict`` computes side by side; more wait for their turn.
    """

    name: str
    device: str
    precision: str
    checkpoint: Checkpoint
    at_once: int = 1

    def __init__(self) -> None:
        self._most_rows: int | None = None

    @abc.abstractmethod
    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``Engine.predict`` of rows that may be too many: MemoryError."""

    def predict(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures; see ``Engine.predict``."""
        parts: list[NDArray[np.float32]] = []
        row = 0
        while row < len(batch):
            part = batch[row : row + (self._most_rows or len(batch))]
            try:
                parts.append(self._run(part))
            except MemoryError as error:
                self._halve(len(part), error)
            else:
                row += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _halve(self, rows: int, error: MemoryError) -> None:
        """Fewer rows from here on, in all later batches too: what failed once would fail again."""
        if rows == 1:
            raise ModelError(
                self.checkpoint.model,
                f"there is not enough memory on {self.device} for one image in {self.precision} ({error})",
                "free memory there, choose another device, or a smaller model",
            ) from error
        self._most_rows = min(rows // 2, self._most_rows or rows)
        _log.warning("out of memory on %s with %d images at once: going on with %d", self.device, rows, self._most_rows)
