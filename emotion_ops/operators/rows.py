"""Rows of a source on their way to their answers: what the stream takes, keeps and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import RowError
from emotion_ops.images.cells import CellGetter
from emotion_ops.operators.classify.face_loader import Crops

T = TypeVar("T")


@dataclass(frozen=True)
class Rows(Generic[T]):
    """Some rows of a table that come and go together.

    Attributes:
        item: What they came as: a record batch, say.
        count: How many rows.
        cell: A row's image, by its position.
    """

    item: T
    count: int
    cell: CellGetter


@dataclass(frozen=True)
class FaceAnswers:
    """What the network says of one picture's faces.

    Attributes:
        boxes: See ``Crops``.
        count: See ``Crops``.
        probabilities: float32 (faces, labels).
    """

    boxes: NDArray[np.float32]
    count: int
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """What the network says of some rows.

    Attributes:
        probabilities: float32 (rows, labels); the rows that failed are undefined. Where faces were looked for, those
            of the largest.
        errors: For each row None, or why it has no probabilities.
        faces: For each row its faces, where they were looked for and found.
    """

    probabilities: NDArray[np.float32]
    errors: list[RowError | None]
    faces: list[FaceAnswers | None]


@dataclass(frozen=True)
class Flow:
    """How much happens at once.

    Attributes:
        batch_size: Rows in one forward pass.
        threads: Images that are loaded at the same time.
        ahead_bytes: Encoded bytes of the rows from the first that is not loaded on; one row always may.
        at_once: Batches that the network computes side by side.
        most_pictures: Pictures that one row may bring.
    """

    batch_size: int
    threads: int
    ahead_bytes: int
    at_once: int = 1
    most_pictures: int = 1

    @property
    def batches(self) -> int:
        """Batches that are with the network: those that it computes, and the next."""
        return self.at_once + 1

    @property
    def ahead_rows(self) -> int:
        """Rows loading, and pictures ready or with the network: one more batch than it has, and work for each thread.

        Where a row may bring many pictures, only so many rows load that each thread has its next, so that no more than
        ``most_pictures`` of each of these come on top, and of the rows that the network has answered in part.
        """
        return (self.batches + 1) * self.batch_size + 2 * self.threads

    @property
    def reach_rows(self) -> int:
        """Rows from the first that is not loaded on, however slow that one is; each is a few hundred bytes."""
        return 32 * self.ahead_rows


@dataclass(eq=False, slots=True)
class OpenRows(Generic[T]):
    """Rows of which some are not answered yet.

    Attributes:
        item: See ``Rows``.
        cell: See ``Rows``; None once no cell is needed any more, so that the images may go.
        first: The position of their first row in the whole source.
        answers: Their answers as they come.
        unsettled: How many of them are not loaded yet.
        waiting: How many of them are not answered yet.
    """

    item: T
    cell: CellGetter | None
    first: int
    answers: Answers
    unsettled: int
    waiting: int


@dataclass(eq=False, slots=True)
class Row(Generic[T]):
    """One row on its way.

    Attributes:
        owner: The rows that it came with.
        row: Its position among them.
        size: Encoded bytes that it keeps alive.
        pixels: What the network takes, once it is loaded: (pictures, height, width, 3).
        crops: Where these pictures are the faces of one.
        error: Why it has no answer.
        digest: The hash of its encoded image, once it is known.
        answer: Its answer, where an equal image had one.
        settled: Whether it has failed, or can fail no more.
        queued: Whether it is to go to the network, or went.
        sent: How many of its pictures went.
        found: What the network says of its pictures, as it comes: float32 (pictures, labels).
        waiting: How many of its pictures have no answer yet, once one has.
    """

    owner: OpenRows[T]
    row: int
    size: int = 0
    pixels: NDArray[np.uint8] | None = None
    crops: Crops | None = None
    error: RowError | None = None
    digest: bytes | None = None
    answer: NDArray[np.float32] | None = None
    settled: bool = False
    queued: bool = False
    sent: int = 0
    found: NDArray[np.float32] | None = None
    waiting: int = 0

    def add(self, part: slice, answers: NDArray[np.float32]) -> bool:
        """Take the answers of some of its pictures; whether these were the last."""
        assert self.pixels is not None
        if self.found is None:
            self.found = np.empty((len(self.pixels), answers.shape[1]), np.float32)
            self.waiting = len(self.pixels)
        self.found[part] = answers
        self.waiting -= len(answers)
        return not self.waiting
