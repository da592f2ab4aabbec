"""If memory is short, the batch is halved and the work continues at the same row."""

from __future__ import annotations

import abc
import logging

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import ModelError
from emotion_ops.models.checkpoint import Checkpoint

_log = logging.getLogger("emotion_ops")


class BatchHalvingEngine(abc.ABC):
    """What engines have in common: a batch is computed in parts that fit into memory.

    Attributes:
        concurrency: Batches that ``predict`` computes at the same time; further calls wait.
    """

    name: str
    device: str
    precision: str
    checkpoint: Checkpoint
    concurrency: int = 1

    def __init__(self) -> None:
        self._max_rows: int | None = None

    @abc.abstractmethod
    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``Engine.predict``; raises MemoryError if the batch has too many rows."""

    def predict(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of images; see ``Engine.predict``."""
        parts: list[NDArray[np.float32]] = []
        row = 0
        while row < len(batch):
            part = batch[row : row + (self._max_rows or len(batch))]
            try:
                parts.append(self._run(part))
            except MemoryError as error:
                self._halve(len(part), error)
            else:
                row += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _halve(self, rows: int, error: MemoryError) -> None:
        """Use fewer rows in all later batches too: what failed once would fail again."""
        if rows == 1:
            raise ModelError(
                self.checkpoint.model,
                f"there is not enough memory on {self.device} for one image in {self.precision} ({error})",
                "free memory there, or choose another device or a smaller model",
            ) from error
        self._max_rows = min(rows // 2, self._max_rows or rows)
        _log.warning("out of memory on %s with %d images in a batch: continuing with %d", self.device, rows,
                     self._max_rows)  # fmt: skip
