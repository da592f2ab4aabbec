"""Answers of images in a file that outlives the process: an SQLite database that several processes may share."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import OptionError

ROWS = 8 * 2**20
"""Answers that a file holds at the most, a hundred bytes each; the oldest tenth goes where there are more."""

_NAME = "answers-1.sqlite"  # another number where the layout is another
_BUSY = 10.0  # seconds that another process may take for one transaction
_CHECK = 8
_SPAN = "SELECT (SELECT min(number) FROM answers), (SELECT max(number) FROM answers)"  # together they would scan it

_log = logging.getLogger("emotion_ops")


class AnswerFile:
    """The answers of images by their digests, for one set of options; may be used by one thread at a time.

    It is killed at any instant without harm: SQLite's write-ahead log sees to that. What was read is proved by a hash,
    since a disk may give back other bytes than it was given. Where it fails later on, the job goes on without it.

    Args:
        folder: Where it lies; made where it is not there. A local disk: SQLite's locks need one.
        options: A digest of all that changes an answer but for the image.

    Raises:
        OptionError: It cannot be made or opened, or is no database.
    """

    def __init__(self, folder: str, options: bytes) -> None:
        self._options, self._path = options, Path(folder) / _NAME
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database: sqlite3.Connection | None = sqlite3.connect(
                self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last answers, not the file
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS answers (number INTEGER PRIMARY KEY, image BLOB UNIQUE, answer BLOB)"
            )
        except (sqlite3.Error, OSError) as error:
            raise OptionError(
                "answer_cache_dir",
                folder,
                f"{self._path} cannot be used ({error}); remove it if it is broken, or name another folder on a local "
                "disk that can be written",
            ) from None

    def get(self, digest: bytes) -> NDArray[np.float32] | None:
        """The answer of an image; None where there is none that can be trusted."""
        if self._database is None:
            return None
        key = self._key(digest)
        try:
            found = self._database.execute("SELECT answer FROM answers WHERE image = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        if found is None or not isinstance(found[0], bytes):
            return None
        check, answer = found[0][:_CHECK], found[0][_CHECK:]
        return np.frombuffer(answer, "<f4").astype(np.float32) if check == _check(key, answer) else None

    def put(self, answers: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep the answers of images, by digest."""
        if self._database is None:
            return
        rows = []
        for digest, answer in answers.items():
            key, encoded = self._key(digest), answer.astype("<f4").tobytes()
            rows.append((key, _check(key, encoded) + encoded))
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "INSERT INTO answers (image, answer) VALUES (?, ?) "
                "ON CONFLICT (image) DO UPDATE SET answer = excluded.answer",
                rows,
            )
            first, last = self._database.execute(_SPAN).fetchone()
            if last - first >= ROWS:
                self._database.execute("DELETE FROM answers WHERE number <= ?", (last - ROWS + ROWS // 10,))
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        """Let go of it."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _key(self, digest: bytes) -> bytes:
        return hashlib.sha256(self._options + digest).digest()[:16]

    def _give_up(self, error: sqlite3.Error) -> None:
        _log.warning(
            "%s cannot be used any more (%s), and the job goes on without it; remove it if it is broken",
            self._path,
            error,
        )
        self.close()


def _check(key: bytes, answer: bytes) -> bytes:
    return hashlib.sha256(struct.pack("<I", len(answer)) + key + answer).digest()[:_CHECK]
