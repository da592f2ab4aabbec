"""One run at a time in a destination: a lease that is renewed while its run lives, and goes stale when it dies.

    _emotion_ops/leases/<number><part>.json

To take a lease is to create the file of the next number: on a disk and where the store has conditional uploads
one alone creates it. Then whoever took one lists all, and withdraws if another came meanwhile; that alone keeps
two apart where the store has no condition, for of two who write first and list afterwards at least one sees the
other. A dead run's lease is not written over but followed by the next number, so that of several successors one
wins, and the dead one, should it only have slept, finds that it was followed.

What keeps the files whole does not rest on the lease. An output appears complete or not at all, a first one only
where none is, and a journal belongs to one fingerprint, so that even two runs that overlap can only do something
twice, never mix it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from emotion_ops.errors import DestinationBusyError
from emotion_ops.lake.targets.folder import HOME, Folder, lives, machine

LEASES = f"{HOME}/leases"
RENEWED_EVERY = 10.0
STALE_AFTER = 60.0
_LOOKS_EVERY = 1.0
_TIES = 8
_CLOCK = ".clock"
_PART = re.compile(r"(-(?P<file>.+\.parquet))?(-(?P<shard>\d+)-of-(?P<shards>\d+))?")


@dataclass(frozen=True)
class Lease:
    """Who is writing what: written as JSON.

    Attributes:
        owner: A name that no other run has.
        part: The shard or the file that the run is about, as in the report's name; empty for all of it.
        host: Its machine's name.
        process: Its process there.
        machine: What tells one machine's processes from another's: its name, boot and process namespace.
        began: When the process began, as its machine counts; None where that is not told.
        renewed_at: When it was last known to live, by its own clock, in seconds since 1970. For people; whether
            it lives is judged by the store's clock.
    """

    owner: str
    part: str
    host: str
    process: int
    machine: str
    began: str | None
    renewed_at: float

    @classmethod
    def mine(cls, part: str, process: int | None = None) -> Lease:
        """A new one, of this process, or of another of this machine."""
        process = os.getpid() if process is None else process
        return cls(uuid.uuid4().hex, part, socket.gethostname(), process, machine(), _began(process), time.time())


@dataclass(frozen=True)
class Found:
    """A lease that lies in a destination.

    Attributes:
        key: Where.
        lease: What it says; None where it cannot be read.
        bytes: Its size.
        living: Whether its run may still be going. On its own machine the process is asked, and a number that
            another process has been given since does not count; everywhere it must have been renewed lately.
    """

    key: str
    lease: Lease | None
    bytes: int
    living: bool

    @property
    def number(self) -> int:
        """Its place in the order."""
        digits = self.key.removeprefix(f"{LEASES}/")[:6]
        return int(digits) if digits.isdigit() else 0

    @property
    def part(self) -> str:
        """The part of the destination that it is about; all of it where it cannot be read."""
        return self.lease.part if self.lease else ""


def find(destination: Folder, *, now: float | None = None) -> list[Found]:
    """Every lease in a destination, of the living and the dead.

    Args:
        destination: The folder.
        now: The time by the store's clock, in seconds since 1970; None takes this machine's for it.
    """
    found = []
    for key in _keys(destination, ".json"):
        data, written = destination.read(key), destination.modified(key)
        if data is not None:  # else it ended since it was listed
            lease = _parse(data)
            if written is None:
                written = lease.renewed_at if lease else 0.0
            fresh = (time.time() if now is None else now) - written < STALE_AFTER
            found.append(Found(key, lease, len(data), fresh and (lease is None or _may_live(lease))))
    return found


def _keys(destination: Folder, suffix: str) -> list[str]:
    entries = destination.child(LEASES).entries(hidden=True)
    return [f"{LEASES}/{entry.key}" for entry in entries if entry.key.endswith(suffix)]


class Hold:
    """A lease that is held.

    Attributes:
        key: Where it lies.
    """

    def __init__(self, destination: Folder, key: str, lease: Lease) -> None:
        self.key = key
        self._destination, self._lease = destination, lease
        self._ended, self._lost = threading.Event(), threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="emotion-ops-lease", daemon=True)

    def check(self) -> None:
        """Make sure that it is still held; asked before anything is published.

        Raises:
            DestinationBusyError: This run was taken for dead, by suspension say, and another took over.
            OSError: The destination cannot be asked.
        """
        if self._lost.is_set() or self._followed():
            self._lost.set()
            raise DestinationBusyError(
                str(self._destination),
                f"this run gave no sign of life for {STALE_AFTER:.0f} seconds, and another took its place",
                "let the other finish and run again: what was answered is kept",
            )

    def start(self) -> None:
        """Renew it from now on."""
        self._renewing.start()

    def end(self) -> None:
        """Let it go."""
        self._ended.set()
        self._renewing.join()
        if not self._lost.is_set():
            with contextlib.suppress(OSError):
                self._destination.delete(self.key)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_EVERY):
            with contextlib.suppress(OSError):  # a lease that cannot be renewed goes stale, and the files stay whole
                if self._followed():
                    self._lost.set()
                    return
                renewed = {**asdict(self._lease), "renewed_at": time.time()}
                self._destination.publish_bytes(json.dumps(renewed).encode(), self.key)

    def _followed(self) -> bool:
        found = find(self._destination)
        mine = next((one for one in found if one.lease and one.lease.owner == self._lease.owner), None)
        return mine is None or any(one.part == mine.part and one.number > mine.number for one in found)


class LeaseConflict(Exception):  # noqa: N818  (it is told of nobody)
    """Two came at the same instant, and neither knows that the other withdraws."""

    def __init__(self, other: Found) -> None:
        self.other = other


@contextlib.contextmanager
def hold(destination: Folder, part: str) -> Iterator[Hold]:
    """Hold the lease of a destination for the length of the block.

    Args:
        destination: Where the run writes.
        part: What names the part of it that the run is about, one shard or one file; empty for all of it.

    Raises:
        DestinationBusyError: A living run holds it, or that of a part which may have files in common.
    """
    for ties in range(1, _TIES + 1):
        try:
            held = Hold(destination, *_take(destination, part))
            break
        except LeaseConflict as tied:
            if ties == _TIES:
                raise _busy(destination, tied.other) from None
            time.sleep(random.uniform(0.05, 0.4))
    held.start()
    try:
        yield held
    finally:
        held.end()


def wait_for(destination: Folder, part: str, seconds: float) -> bool:
    """Wait until no living run is in the way of a part.

    Returns:
        Whether that came to be in this time.
    """
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(_LOOKS_EVERY, left))
        if not any(one.living for one in _in_the_way(find(destination), part)):
            return True
    return False


def _take(destination: Folder, part: str) -> tuple[str, Lease]:
    """Take the lease, or say who is in the way."""
    others = _in_the_way(find(destination), part)
    if others:
        now = _now(destination)
        others = _in_the_way(find(destination, now=now), part)
        for other in others:
            if other.living:
                raise _busy(destination, other)
    lease = Lease.mine(part)
    number = 1 + max((other.number for other in others), default=0)
    name = f"{number:06d}{part}" if destination.creates else f"{number:06d}{part}-{lease.owner}"
    key = f"{LEASES}/{name}.json"
    try:
        destination.publish_bytes(json.dumps(asdict(lease)).encode(), key, new=True)
    except FileExistsError:
        taken = next((one for one in find(destination) if one.key == key), None)
        raise _busy(destination, taken) from None
    dead = {(other.key, other.lease) for other in others}
    came = [one for one in _in_the_way(find(destination), part) if one.key != key and (one.key, one.lease) not in dead]
    if came:
        destination.delete(key)
        raise LeaseConflict(came[0])
    for left in [*(other.key for other in others), *_keys(destination, _CLOCK)]:
        destination.delete(left)
    return key, lease


def _in_the_way(found: list[Found], part: str) -> list[Found]:
    return [one for one in found if _may_share_files(one.part, part)]


def _may_share_files(part: str, other: str) -> bool:
    """Two parts have no file in common where they are about two files, or are two shards of one cut."""
    (file, shard, shards), (other_file, other_shard, other_shards) = _parsed(part), _parsed(other)
    if file and other_file and file != other_file:
        return False
    return not (shard and file == other_file and shards == other_shards and shard != other_shard)


def _parsed(part: str) -> tuple[str | None, str | None, str | None]:
    match = _PART.fullmatch(part)
    return (match["file"], match["shard"], match["shards"]) if match else (None, None, None)


def _now(destination: Folder) -> float:
    """The time by the clock of the store, which no machine's own need agree with."""
    key = f"{LEASES}/{uuid.uuid4().hex}{_CLOCK}"
    destination.publish_bytes(b"-", key)
    written = destination.modified(key)
    destination.delete(key)
    return time.time() if written is None else written


def _may_live(lease: Lease) -> bool:
    if lease.machine != machine():
        return True
    return lives(lease.process) and lease.began in (None, _began(lease.process))


def _began(process: int) -> str | None:
    """When a process of this machine began, in ticks since it booted; None where the system does not tell."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def _parse(data: bytes) -> Lease | None:
    try:
        return Lease(**json.loads(data))
    except (ValueError, TypeError):
        return None


def _busy(destination: Folder, other: Found | None) -> DestinationBusyError:
    who = f"process {other.lease.process} on {other.lease.host}" if other and other.lease else "another run"
    part = f" ({other.part.removeprefix('-')})" if other and other.part else ""
    return DestinationBusyError(
        str(destination),
        f"{who}{part} is writing here",
        f"wait for it; if it died, its lease ends {STALE_AFTER:.0f} seconds after its last sign of life",
    )
