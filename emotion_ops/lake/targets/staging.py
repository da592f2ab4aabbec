"""A staging folder: an output is there until it has passed a gate, and is then published in its destination.

_emotion_ops/staging.json    whose staging folder this is, and which output has passed and is being published
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
from emotion_ops.lake.lease import hold_lease, wait_for_lease
from emotion_ops.lake.provenance import place_id, read_fingerprint
from emotion_ops.lake.targets.folder import METADATA_DIR, Entry, Folder

MARK = f"{METADATA_DIR}/staging.json"


@dataclass(frozen=True)
class Staging:
    """The outputs of a destination that are not visible there yet.

    Attributes:
        folder: Where they are. It belongs to one destination.
        destination: Where they go.
    """

    folder: Folder
    destination: Folder

    def claim(self, keys: Iterable[str]) -> None:
        """Make sure that writing into the folder loses nothing, and mark it as this destination's.

        Args:
            keys: What will be written.

        Raises:
            DestinationConflictError: It has files that no gate put there, or belongs to another destination.
        """
        hint = "give an empty folder, for this destination only"
        mark, existing = self._read_mark(), {entry.key for entry in self.folder.entries()}
        if not mark and existing:
            what = f"has other files already, for example {min(existing)}, which would be replaced"
            raise DestinationConflictError(str(self.folder), what, hint)
        if mark and mark.get("of") != place_id(self.destination):
            raise DestinationConflictError(str(self.folder), "is the staging folder of another destination", hint)
        for key in sorted(existing & set(keys)):
            if read_fingerprint(self.folder, key) is None:
                what = "was not written by this package, and would be replaced"
                raise DestinationConflictError(self.folder.path(key), what, "move it away")
        if not mark:
            self._write_mark(passed=None)

    def digest(self, keys: Iterable[str], limits: Mapping[str, Any]) -> str:
        """A text that differs whenever one of the files or a limit does."""
        entries = {entry.key: entry for entry in self.folder.entries()}
        files = [[key, entry.size, entry.version] for key in sorted(keys) if (entry := entries.get(key))]
        return hashlib.sha256(json.dumps([files, dict(limits)], sort_keys=True).encode()).hexdigest()

    def has_passed(self, digest: str) -> bool:
        """Whether this output has passed already, and was not published completely."""
        return self._read_mark().get("passed") == digest

    def promote(self, keys: Sequence[str], existing: Mapping[str, Entry], digest: str, wait: float) -> int:
        """Publish the files in the destination, each at once.

        If this is killed between two files, the next run continues without another comparison: the destination is then
        neither the previous output nor the new one.

        Args:
            keys: The files.
            existing: The destination's files when it was decided to replace them.
            digest: What has passed.
            wait: Seconds to wait for another run that writes there.

        Returns:
            How many were published; files that are there already with the same fingerprint are left.

        Raises:
            DestinationBusyError: Another run writes there.
            DestinationConflictError: Another run has written there since the decision.
            OSError: A file did not land; those before it did.
        """
        deadline = time.monotonic() + wait
        self._write_mark(passed=digest)
        while True:
            try:
                with hold_lease(self.destination, "") as lease:
                    published = 0
                    for key in keys:
                        lease.check()
                        published += self._publish(key, existing.get(key))
                    self._write_mark(passed=None)
                    return published
            except DestinationBusyError:
                if not wait_for_lease(self.destination, "", deadline - time.monotonic()):
                    raise

    def _publish(self, key: str, planned: Entry | None) -> int:
        made_of = read_fingerprint(self.folder, key)
        if made_of is None:
            raise DatasetError(self.folder.path(key), "is gone, or is not an output", "run again", retryable=True)
        place, now = self.destination.path(key), self.destination.entry(key)
        if now is not None:
            there = read_fingerprint(self.destination, key)
            if there is not None and there.digest == made_of.digest:
                return 0
        hint = "run again: the new content of the destination is compared"
        if now != planned:
            raise DestinationConflictError(place, "changed since this run planned to replace it", hint, retryable=True)
        with self.destination.spool() as spooled:
            _fetch(self.folder, key, spooled)
            try:
                self.destination.publish(spooled, key, new=now is None)
            except FileExistsError as error:
                raise DestinationConflictError(place, "was published by another run", hint, retryable=True) from error
        return 1

    def _read_mark(self) -> dict[str, Any]:
        data = self.folder.read(MARK)
        mark: dict[str, Any] = json.loads(data) if data else {}
        return mark

    def _write_mark(self, *, passed: str | None) -> None:
        mark = {"of": place_id(self.destination), "passed": passed}
        self.folder.publish_bytes(json.dumps(mark).encode(), MARK)


def _fetch(folder: Folder, key: str, target: os.PathLike[str]) -> None:
    """A file of a folder as a local file: another name for it if possible, else a copy."""
    if folder.is_local:
        try:
            os.link(folder.local_path(key), target)
        except OSError:  # another disk, or one without hard links
            shutil.copyfile(folder.local_path(key), target)
        return
    with folder.open(key) as opened, open(target, "wb") as copy:  # noqa: PTH123  (target may be any path-like)
        shutil.copyfileobj(opened, copy, 8 * 2**20)
