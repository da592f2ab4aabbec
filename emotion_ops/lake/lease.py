"""One run at a time in a destination: a lease that its run renews, and that is stale once the run is dead.

    _emotion_ops/leases/<number><part>.json

A run takes the lease by creating the file of the next number. On a disk, and in a store with conditional uploads,
exactly one run can create it. Then the run lists all leases, and withdraws if another run came at the same time. In a
store without conditions this listing alone keeps two runs apart: if two write first and list afterwards, at least one
of them sees the other. The lease of a dead run is not overwritten. The next number follows it, so that of several
successors one wins, and the dead run, if it was only suspended, finds that another run followed.

Complete files do not depend on the lease. An output appears complete or not at all, a first one only where there is no
file, and a journal belongs to one fingerprint. So two runs at the same time can do work twice, but cannot mix results.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from emotion_ops.errors import DestinationBusyError
from emotion_ops.io.redact import reason
from emotion_ops.lake.part import may_share_files
from emotion_ops.lake.processes import Process
from emotion_ops.lake.targets.folder import METADATA_DIR, Folder

LEASES = f"{METADATA_DIR}/leases"
RENEW_EVERY = 10.0
"""Seconds between two renewals."""
RETRY_EVERY = 2.0
"""Seconds until a renewal that failed is tried again."""
STALE_AFTER = 60.0
"""Seconds without a renewal, after which another run may follow."""

_POLL_EVERY = 1.0
_MAX_CONFLICTS = 8
_END_PATIENCE = 5.0  # seconds that the end waits for a renewal in flight: a store may not respond
_CLOCK = ".clock"
_log = logging.getLogger("emotion_ops")
_held: set[str] = set()  # owners of the leases that this process holds


@dataclass(frozen=True)
class Lease:
    """Which run is writing what; stored as JSON.

    Attributes:
        owner: A name that no other run has.
        part: The part of the destination, see ``lake.part``.
        host: The name of its machine.
        process: The number of its process there.
        machine: See ``Process``.
        process_start: See ``Process``.
        renewed_at: When it was last renewed, in seconds since 1970 by its machine's clock. It is shown to people only;
            whether a lease is stale is decided by the store's clock.
    """

    owner: str
    part: str
    host: str
    process: int
    machine: str
    process_start: str | None
    renewed_at: float

    @classmethod
    def create(cls, part: str, process: int | None = None) -> Lease:
        """A new one, of this process or of another process of this machine."""
        of = Process.current() if process is None else Process.of_this_machine(process)
        return cls(uuid.uuid4().hex, part, socket.gethostname(), of.number, of.machine, of.start, time.time())

    def may_be_held(self) -> bool:
        """Whether its run may still be running, as far as this machine can see."""
        process = Process(self.machine, self.process, self.process_start)
        return self.owner in _held if process == Process.current() else process.may_run()


@dataclass(frozen=True)
class FoundLease:
    """A lease in a destination.

    Attributes:
        key: Its key.
        lease: Its content; None if it cannot be read.
        bytes: Its size.
        living: Whether its run may still be running. It must have been renewed lately, and on its own machine its
            process must exist.
    """

    key: str
    lease: Lease | None
    bytes: int
    living: bool

    @property
    def number(self) -> int:
        """Its number in the order."""
        digits = self.key.removeprefix(f"{LEASES}/")[:6]
        return int(digits) if digits.isdigit() else 0

    @property
    def part(self) -> str:
        """The part of the destination; everything if it cannot be read."""
        return self.lease.part if self.lease else ""


def find_leases(destination: Folder, *, now: float | None = None) -> list[FoundLease]:
    """Every lease in a destination, of living and of dead runs.

    Args:
        destination: The folder.
        now: The time by the store's clock, in seconds since 1970; None uses this machine's clock.

    Raises:
        DatasetError: The folder cannot be listed.
        OSError: A lease cannot be read.
    """
    found = []
    for key in _keys(destination, ".json"):
        data, written = destination.read(key), destination.modified(key)
        if data is not None:  # else it ended since it was listed
            lease = _parse(data)
            if written is None:
                written = lease.renewed_at if lease else 0.0
            age = (time.time() if now is None else now) - written
            is_fresh = abs(age) < STALE_AFTER  # a time in the future comes from a wrong clock
            found.append(FoundLease(key, lease, len(data), is_fresh and (lease is None or lease.may_be_held())))
    return found


def _keys(destination: Folder, suffix: str) -> list[str]:
    entries = destination.child(LEASES).entries(hidden=True)
    return [f"{LEASES}/{entry.key}" for entry in entries if entry.key.endswith(suffix)]


class HeldLease:
    """A lease that this run holds. A thread renews it.

    Attributes:
        key: Its key.
    """

    def __init__(self, destination: Folder, key: str, lease: Lease) -> None:
        self.key = key
        self._destination, self._lease = destination, lease
        self._ended, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._renew_until_ended, name="emotion-ops-lease", daemon=True)

    def check(self) -> None:
        """Make sure that this run still holds it; called before anything is published.

        Raises:
            DestinationBusyError: This run did not renew it in time, for example while it was suspended, and another
                run took over.
            DatasetError: The destination cannot be listed.
            OSError: The destination did not answer.
        """
        if self._lost.is_set() or self._was_followed():
            self._lost.set()
            raise DestinationBusyError(
                str(self._destination),
                f"this run could not renew its lease for {STALE_AFTER:.0f} seconds, and another run took over",
                "let the other run finish and run again: finished row groups are kept",
            )

    def start(self) -> None:
        """Renew it from now on."""
        self._thread.start()

    def end(self) -> None:
        """Release it."""
        self._ended.set()
        self._thread.join(_END_PATIENCE)
        _held.discard(self._lease.owner)
        if not self._lost.is_set():
            with contextlib.suppress(Exception):  # a lease that cannot be removed becomes stale
                self._destination.delete(self.key)

    def _renew_until_ended(self) -> None:
        pause = RENEW_EVERY
        while not self._ended.wait(pause):
            try:
                if self._was_followed():
                    self._lost.set()
                    return
                renewed = {**asdict(self._lease), "renewed_at": time.time()}
                self._destination.publish_bytes(json.dumps(renewed).encode(), self.key)
            except Exception as error:  # whatever a store raises: it may answer again before the lease is stale
                if pause == RENEW_EVERY:
                    _log.warning("%s: the lease could not be renewed: %s", self._destination, reason(error))
                pause = RETRY_EVERY
            else:
                pause = RENEW_EVERY

    def _was_followed(self) -> bool:
        found = find_leases(self._destination)
        mine = next((one for one in found if one.lease and one.lease.owner == self._lease.owner), None)
        return mine is None or any(one.part == mine.part and one.number > mine.number for one in found)


class LeaseConflict(Exception):  # noqa: N818  (not an error: it is caught in this module)
    """Two runs came at the same instant, and neither knows whether the other withdraws."""

    def __init__(self, other: FoundLease) -> None:
        self.other = other


@contextlib.contextmanager
def hold_lease(destination: Folder, part: str) -> Iterator[HeldLease]:
    """Hold the lease of a part of a destination for the length of the block.

    Args:
        destination: The folder that the run writes into.
        part: See ``lake.part``.

    Raises:
        DestinationBusyError: A living run holds it, or that of a part which may have files in common.
    """
    for attempt in range(1, _MAX_CONFLICTS + 1):
        try:
            held = HeldLease(destination, *_take(destination, part))
            break
        except LeaseConflict as conflict:
            if attempt == _MAX_CONFLICTS:
                raise _busy(destination, conflict.other) from None
            time.sleep(random.uniform(0.05, 0.4))
    held.start()
    try:
        yield held
    finally:
        held.end()


def wait_for_lease(destination: Folder, part: str, seconds: float) -> bool:
    """Wait until no living run holds a lease that is in the way of a part.

    Returns:
        Whether that happened within this time.
    """
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(_POLL_EVERY, left))
        if not any(one.living for one in _in_the_way(find_leases(destination), part)):
            return True
    return False


def _take(destination: Folder, part: str) -> tuple[str, Lease]:
    """Create the next lease.

    Raises:
        DestinationBusyError: A living run is in the way.
        LeaseConflict: Another run came at the same instant.
    """
    others = _in_the_way(find_leases(destination), part)
    if others:
        now = _store_time(destination)
        others = _in_the_way(find_leases(destination, now=now), part)
        for other in others:
            if other.living:
                raise _busy(destination, other)
    lease = Lease.create(part)
    number = 1 + max((other.number for other in others), default=0)
    name = f"{number:06d}{part}" if destination.has_exclusive_create else f"{number:06d}{part}-{lease.owner}"
    key = f"{LEASES}/{name}.json"
    _held.add(lease.owner)
    try:
        destination.publish_bytes(json.dumps(asdict(lease)).encode(), key, new=True)
        known = {(other.key, other.lease) for other in others}
        came = [
            one
            for one in _in_the_way(find_leases(destination), part)
            if one.key != key and (one.key, one.lease) not in known
        ]
        if came:
            destination.delete(key)
            raise LeaseConflict(came[0])
        for leftover in [*(other.key for other in others), *_keys(destination, _CLOCK)]:
            destination.delete(leftover)
    except FileExistsError:
        _held.discard(lease.owner)
        taken = next((one for one in find_leases(destination) if one.key == key), None)
        raise _busy(destination, taken) from None
    except BaseException:
        _held.discard(lease.owner)
        raise
    return key, lease


def _in_the_way(found: list[FoundLease], part: str) -> list[FoundLease]:
    return [one for one in found if may_share_files(one.part, part)]


def _store_time(destination: Folder) -> float:
    """The time by the store's clock, which may differ from every machine's."""
    key = f"{LEASES}/{uuid.uuid4().hex}{_CLOCK}"
    destination.publish_bytes(b"-", key)
    written = destination.modified(key)
    destination.delete(key)
    return time.time() if written is None else written


def _parse(data: bytes) -> Lease | None:
    try:
        return Lease(**json.loads(data))
    except (ValueError, TypeError):
        return None


def _busy(destination: Folder, other: FoundLease | None) -> DestinationBusyError:
    who = f"process {other.lease.process} on {other.lease.host}" if other and other.lease else "another run"
    part = f" ({other.part.removeprefix('-')})" if other and other.part else ""
    return DestinationBusyError(
        str(destination),
        f"{who}{part} is writing here",
        f"wait for it; if it is dead, its lease ends {STALE_AFTER:.0f} seconds after the last renewal",
    )
