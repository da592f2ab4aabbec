"""One run at a time in a destination: a lease that is renewed while its run lives, and goes stale when it dies.

The lease is a courtesy that keeps two runs from doing the same work; what keeps the files whole does not rest
on it. An output appears complete or not at all, and a journal belongs to one fingerprint, so that even two runs
that overlap can only do something twice, never mix it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from emotion_ops.errors import DestinationConflictError
from emotion_ops.lake.storage import HOME, Folder, lives

_RENEWED_EVERY = 10.0
_STALE_AFTER = 60.0


@dataclass(frozen=True)
class Lease:
    """Who is writing: written as JSON.

    Attributes:
        owner: A name that no other run has.
        host: Its machine.
        process: Its process on that machine.
        renewed_at: When it was last known to live, in seconds since 1970.
    """

    owner: str
    host: str
    process: int
    renewed_at: float

    def is_alive(self) -> bool:
        """Whether the run may still be going; on its own machine the process is asked."""
        if self.host == socket.gethostname() and not lives(self.process):
            return False
        return time.time() - self.renewed_at < _STALE_AFTER


@contextlib.contextmanager
def hold(destination: Folder, part: str) -> Iterator[None]:
    """Hold the lease of a destination for the length of the block.

    Args:
        destination: Where the run writes.
        part: What names the part of it that the run is about, one shard or one file; empty for all of it.

    Raises:
        DestinationConflictError: A living run holds it.
    """
    key = f"{HOME}/lease{part}.json"
    mine = Lease(uuid.uuid4().hex, socket.gethostname(), os.getpid(), time.time())
    other = read(destination, key)
    if other is not None and other.is_alive():
        raise _conflict(destination, other)
    _write(destination, key, mine)
    settled = read(destination, key)
    if settled is not None and settled.owner != mine.owner:  # two started at once, and the other wrote last
        raise _conflict(destination, settled)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEWED_EVERY):
            with contextlib.suppress(OSError):  # a lease that cannot be renewed goes stale, and the files stay whole
                _write(destination, key, Lease(mine.owner, mine.host, mine.process, time.time()))

    renewing = threading.Thread(target=renew, name="emotion-ops-lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with contextlib.suppress(OSError):
            destination.delete(key)


def read(destination: Folder, key: str) -> Lease | None:
    """The lease at a key; None where there is none that can be read."""
    data = destination.read(key)
    try:
        return None if data is None else Lease(**json.loads(data))
    except (ValueError, TypeError):
        return None


def _write(destination: Folder, key: str, lease: Lease) -> None:
    destination.publish_bytes(json.dumps(asdict(lease)).encode(), key)


def _conflict(destination: Folder, other: Lease) -> DestinationConflictError:
    return DestinationConflictError(
        str(destination),
        f"process {other.process} on {other.host} is writing here",
        f"wait for it; if it died, its lease ends {_STALE_AFTER:.0f} seconds after its last sign of life",
    )
