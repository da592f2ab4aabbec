"""The folder that an output waits in until it has passed a gate, and how it is let through.

_emotion_ops/candidate.json    whose candidate this is, and what of it has passed and is on its way
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion_ops.errors import DatasetError, DestinationBusyError, DestinationConflictError
from emotion_ops.lake import lease
from emotion_ops.lake.plan import fingerprint_of, home_of
from emotion_ops.lake.targets.folder import HOME, Entry, Folder

MARK = f"{HOME}/candidate.json"


@dataclass(frozen=True)
class Candidate:
    """The outputs of a destination that may not be seen there yet.

    Attributes:
        folder: Where they lie meanwhile. It is of one destination, for good.
        destination: Where they go.
    """

    folder: Folder
    destination: Folder

    def claim(self, keys: Iterable[str]) -> None:
        """Make sure that nothing is lost by writing into the folder, and mark it as this destination's.

        Args:
            keys: What will be written.

        Raises:
            DestinationConflictError: It holds what no gate put there, or the candidate of another destination.
        """
        hint = "give an empty folder, which is of this destination alone"
        mark, held = self._mark(), {entry.key for entry in self.folder.entries()}
        if not mark and held:
            what = f"has files already, {min(held)} say, that are no candidate's and would be replaced"
            raise DestinationConflictError(str(self.folder), what, hint)
        if mark and mark.get("of") != home_of(self.destination):
            raise DestinationConflictError(str(self.folder), "is the candidate of another destination", hint)
        for key in sorted(held & set(keys)):
            if fingerprint_of(self.folder, key) is None:
                what = "was not written by this package, and would be replaced"
                raise DestinationConflictError(self.folder.path(key), what, "move it away")
        if not mark:
            self._write_mark(passed=None)

    def digest(self, keys: Iterable[str], limits: Mapping[str, Any]) -> str:
        """What changes whenever one of its files does, or what they are held against."""
        entries = {entry.key: entry for entry in self.folder.entries()}
        told = [[key, entry.size, entry.version] for key in sorted(keys) if (entry := entries.get(key))]
        return hashlib.sha256(json.dumps([told, dict(limits)], sort_keys=True).encode()).hexdigest()

    def has_passed(self, digest: str) -> bool:
        """Whether this has passed, and did not get through to its last file."""
        return self._mark().get("passed") == digest

    def promote(self, keys: Sequence[str], standing: Mapping[str, Entry], digest: str, wait: float) -> int:
        """Publish the files in the destination, each at once and whole.

        Killed between two of them, the next time goes on from there, unasked; for the destination is neither the
        previous output then nor the new one.

        Args:
            keys: The files.
            standing: What lay in the destination when the decision was made to replace it.
            digest: What has passed.
            wait: Seconds to wait for another run that is writing there.

        Returns:
            How many were published; those that stand there, made of the same, are left.

        Raises:
            DestinationBusyError: Another run is writing there.
            DestinationConflictError: Another run has written there since the decision.
            OSError: One did not land; those before it did.
        """
        deadline = time.monotonic() + wait
        self._write_mark(passed=digest)
        while True:
            try:
                with lease.hold(self.destination, "") as held:
                    published = 0
                    for key in keys:
                        held.check()
                        published += self._publish(key, standing.get(key))
                    self._write_mark(passed=None)
                    return published
            except DestinationBusyError:
                if not lease.wait_for(self.destination, "", deadline - time.monotonic()):
                    raise

    def _publish(self, key: str, planned: Entry | None) -> int:
        made_of = fingerprint_of(self.folder, key)
        if made_of is None:
            raise DatasetError(self.folder.path(key), "is gone, or is no output any more", "run again", retryable=True)
        place, now = self.destination.path(key), self.destination.entry(key)
        if now is not None:
            stands = fingerprint_of(self.destination, key)
            if stands is not None and stands.digest == made_of.digest:
                return 0
        hint = "run again: what it holds by then is looked at anew"
        if now != planned:
            raise DestinationConflictError(place, "changed since this run planned to replace it", hint, retryable=True)
        with self.destination.spool() as spooled:
            _fetch(self.folder, key, spooled)
            try:
                self.destination.publish(spooled, key, new=now is None)
            except FileExistsError as error:
                raise DestinationConflictError(
                    place, "was published by another run meanwhile", hint, retryable=True
                ) from error
        return 1

    def _mark(self) -> dict[str, Any]:
        data = self.folder.read(MARK)
        mark: dict[str, Any] = json.loads(data) if data else {}
        return mark

    def _write_mark(self, *, passed: str | None) -> None:
        mark = {"of": home_of(self.destination), "passed": passed}
        self.folder.publish_bytes(json.dumps(mark).encode(), MARK)


def _fetch(folder: Folder, key: str, target: os.PathLike[str]) -> None:
    """A file of a folder as a local file: another name for it where that is possible, else a copy."""
    if folder.is_local:
        try:
            os.link(folder.local_path(key), target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(folder.local_path(key), target)
        return
    with folder.open(key) as opened, open(target, "wb") as copy:  # noqa: PTH123
        shutil.copyfileobj(opened, copy, 8 * 2**20)
