"""Answers of images that were met before: the same picture is not computed twice.

    encoded image ──▶ digest ──▶ memory of this process ──▶ file of earlier runs ──▶ else decoded and computed

An image is known by the hash of its encoded bytes, whose answer is the same under the same options. Errors are not
remembered: that a decoder was killed or a disk was full says nothing of the image.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from emotion_ops.operators.answer_file import AnswerFile

DIGEST = 16
"""Bytes of a digest."""

_WAYS = 8


class AnswerMemory:
    """The answers of images, by their digests, in a table of fixed size; may be used from many threads.

    A digest has eight places that it may stand at, and takes that of the one of them that came first where all are
    taken. A Python dictionary would take about five times the memory. Pages that are never touched take none.

    Args:
        rows: How many answers it holds at the most; it takes 16 bytes and 4 a label for each.
        labels: How many numbers an answer is.
    """

    def __init__(self, rows: int, labels: int) -> None:
        self._lock = threading.Lock()
        self._ways = min(rows, _WAYS)
        self._sets = rows // self._ways if rows else 0
        self._digests = np.zeros(self._sets * self._ways * DIGEST, np.uint8).data
        self._answers = np.zeros((self._sets * self._ways, labels), np.float32)
        self._oldest = np.zeros(self._sets, np.uint8)

    def get(self, digest: bytes) -> NDArray[np.float32] | None:
        """The answer of an image; None where it is not remembered."""
        with self._lock:
            place = self._find(digest)
            return None if place is None else self._answers[place].copy()

    def put(self, digest: bytes, answer: NDArray[np.float32]) -> None:
        """Remember the answer of an image, in place of an older one where there is no room."""
        with self._lock:
            if self._sets and self._find(digest) is None:
                home = self._home(digest)
                place = home * self._ways + int(self._oldest[home])
                self._oldest[home] = (self._oldest[home] + 1) % self._ways
                self._digests[place * DIGEST : (place + 1) * DIGEST] = digest
                self._answers[place] = answer

    def _home(self, digest: bytes) -> int:
        return int.from_bytes(digest[:8], "little") % self._sets

    def _find(self, digest: bytes) -> int | None:
        if not self._sets:
            return None
        first = self._home(digest) * self._ways
        for place in range(first, first + self._ways):
            if self._digests[place * DIGEST : (place + 1) * DIGEST] == digest:
                return place
        return None


class Recall:
    """What one stream knows of images: those of the process, those of earlier runs, and those on their way.

    May be used from many threads.

    Args:
        memory: Answers of this process.
        file: Answers of earlier runs; None where there is none.
    """

    def __init__(self, memory: AnswerMemory, file: AnswerFile | None = None) -> None:
        self._memory, self._file = memory, file
        self._lock = threading.Lock()
        self._coming: set[bytes] = set()

    def claim(self, digest: bytes) -> tuple[NDArray[np.float32] | None, bool]:
        """Ask for the answer of an image, or undertake to compute it.

        Returns:
            The answer, or None; and whether it was undertaken, so that ``keep`` or ``drop`` must be told of it.
            Neither where somebody else has undertaken it.
        """
        with self._lock:
            if digest in self._coming:
                return None, False
            answer = self._memory.get(digest)
            if answer is None and self._file is not None:
                answer = self._file.get(digest)
                if answer is not None:
                    self._memory.put(digest, answer)
            if answer is None:
                self._coming.add(digest)
            return answer, answer is None

    def is_coming(self, digest: bytes) -> bool:
        """Whether somebody has undertaken to compute an image's answer."""
        with self._lock:
            return digest in self._coming

    def keep(self, answers: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Remember the answers of images, by digest."""
        with self._lock:
            for digest, answer in answers.items():
                self._memory.put(digest, answer)
            if self._file is not None:
                self._file.put(answers)
            self._coming.difference_update(answers)

    def drop(self, digest: bytes) -> None:
        """Hear that an image has no answer."""
        with self._lock:
            self._coming.discard(digest)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            with self._lock:
                self._file.close()


_memories: WeakKeyDictionary[Any, dict[Hashable, AnswerMemory]] = WeakKeyDictionary()
_making = threading.Lock()


def memory_of(engine: object, options: Hashable, rows: int, labels: int) -> AnswerMemory:
    """The memory that all streams of an engine and of equal options share in this process.

    Args:
        engine: What computes the answers; with it they are forgotten.
        options: Whatever else changes them.
        rows: See ``AnswerMemory``.
        labels: See ``AnswerMemory``.
    """
    with _making:
        memories = _memories.setdefault(engine, {})
        if (options, rows) not in memories:
            memories[options, rows] = AnswerMemory(rows, labels)
        return memories[options, rows]


def _forget() -> None:
    """In a forked child: a thread of the parent may have held a lock, and is not there to let go of it."""
    global _memories, _making
    _memories, _making = WeakKeyDictionary(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
