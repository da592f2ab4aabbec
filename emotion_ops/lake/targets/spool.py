"""Spool files: local files that are written completely before they are published.

    <home>/<machine>-<process>-<start of the process>-<random>.tmp

For a destination on a disk, the home is in the destination, on the same file system. For an object store, it is a
folder of this user in the temporary folder. The names say which process writes a file, so that a later run can remove
those of killed runs.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import hashlib
import os
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emotion_ops.errors import DatasetError
from emotion_ops.lake.processes import Process, this_machine

_DAY = 86_400.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def spool_file(home: Path) -> Iterator[Path]:
    """A new local file to write into; it is removed after the block.

    Args:
        home: The folder; it is created.
    """
    home.mkdir(parents=True, exist_ok=True)
    process = Process.current()
    name = "-".join([_machine_digest(), str(process.number), process.start or "0", uuid.uuid4().hex])
    path = home / f"{name}.tmp"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_spool_file() -> Iterator[Path]:
    """The same in the temporary folder.

    Raises:
        DatasetError: The temporary folder is full or cannot be used.
    """
    home = temporary_home()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(home)
        with spool_file(home) as path:
            yield path
    except OSError as error:
        if error.errno not in _FULL:
            raise
        hint = "free some space there, or set TMPDIR to another folder, and run again"
        raise DatasetError(str(home), f"the temporary folder is full ({error})", hint, retryable=True) from error


def temporary_home() -> Path:
    """The folder of this user's spool files in the temporary folder."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return Path(tempfile.gettempdir()) / f"emotion-ops-spool-{user}"


@dataclass(frozen=True)
class SpoolFile:
    """A spool file.

    Attributes:
        path: Where it is.
        bytes: Its size.
        in_use: Whether the process that writes it may still be running. Those of other machines count as in use for a
            day after their last change.
    """

    path: Path
    bytes: int
    in_use: bool


def find_spools(home: Path) -> list[SpoolFile]:
    """The spool files in a folder."""
    found = []
    for path in sorted(home.glob("*.tmp")):
        with contextlib.suppress(FileNotFoundError):  # published or removed since it was listed
            status = path.lstat()
            found.append(SpoolFile(path, status.st_size, _may_be_in_use(path.stem, time.time() - status.st_mtime)))
    return found


def _may_be_in_use(name: str, age: float) -> bool:
    machine, number, start, *_ = [*name.split("-"), "", "", ""]
    if machine == _machine_digest() and number.isdigit():
        process = Process(this_machine(), int(number), None if start in ("", "0") else start)
        if not process.may_run():
            return False
    return age <= _DAY


def _machine_digest() -> str:
    return hashlib.sha256(this_machine().encode()).hexdigest()[:16]


def _check_owner(home: Path) -> None:
    """Refuse a folder that another user made: everyone can write into the temporary folder."""
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        hint = "remove it, or set TMPDIR to another folder"
        raise DatasetError(str(home), "exists, and is not a folder of this user", hint)
