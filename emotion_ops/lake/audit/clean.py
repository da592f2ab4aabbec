"""Remove what killed runs left in a destination, and nothing else."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from emotion_ops.errors import DatasetError, DestinationBusyError
from emotion_ops.lake.audit.metadata_dir import Leftover, MetadataDir, read_metadata_dir
from emotion_ops.lake.audit.outputs import open_output_folder
from emotion_ops.lake.journal import JOURNAL
from emotion_ops.lake.lease import hold_lease
from emotion_ops.lake.targets.folder import Folder


@dataclass(frozen=True)
class CleanReport:
    """What was removed, or with ``dry_run`` would be.

    Attributes:
        destination: The destination.
        removed: What was removed.
        remaining: Journals of unfinished files, from which the next run continues.
        dry_run: Whether nothing was changed.
    """

    destination: str
    removed: tuple[Leftover, ...]
    remaining: tuple[Leftover, ...]
    dry_run: bool

    @property
    def bytes(self) -> int:
        """Bytes that were freed."""
        return sum(one.bytes for one in self.removed)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {**plain, "bytes": self.bytes}


def clean_destination(
    destination: str | os.PathLike[str], *, journals: bool = False, dry_run: bool = False
) -> CleanReport:
    """Remove what killed runs left in the metadata folder of a destination; data files are never changed.

    Removed are spool files of killed processes (for an object store those in the temporary folder of this machine),
    stale leases, journals of finished files, and empty folders among these. The journal of an unfinished file stays,
    because the next run continues from it.

    Args:
        destination: As it was given to ``enrich_dataset``.
        journals: Also remove journals of unfinished files: their rows have to be computed again.
        dry_run: Say what would be removed, and change nothing.

    Returns:
        What was removed.

    Raises:
        DatasetError: There is no such destination, or it cannot be written.
        DestinationBusyError: A run is writing there.
    """
    folder, _ = open_output_folder(os.fspath(destination))
    found = read_metadata_dir(folder)
    _refuse_running(folder, found)
    chosen = tuple(one for one in found.leftovers if journals or not one.resumable)
    if not dry_run and (chosen or _empty_folders(folder)):
        try:
            with hold_lease(folder, "") as lease:  # no run begins at the same time
                chosen = _remove(folder, chosen, lease.key)
        except OSError as error:
            hint = "correct its permissions"
            raise DatasetError(str(folder), f"cannot be written ({error})", hint, retryable=True) from error
    return CleanReport(
        destination=str(Folder(os.fspath(destination))),
        removed=chosen,
        remaining=tuple(one for one in found.leftovers if one.resumable and not journals),
        dry_run=dry_run,
    )


def _remove(folder: Folder, chosen: tuple[Leftover, ...], own_lease: str) -> tuple[Leftover, ...]:
    """Remove what is still a leftover, now that this run has the lease; stale leases went when it was taken."""
    found = read_metadata_dir(folder)
    found = replace(found, leases=tuple(one for one in found.leases if one.key != own_lease))
    left = {one.path for one in found.leftovers}
    removed = tuple(one for one in chosen if one.path in left or one.kind == "lease")
    for one in removed:
        if one.kind == "journal":
            folder.delete_folder(one.path)
        elif one.kind == "spool":
            found.spools[one.path].path.unlink(missing_ok=True)
    for path in _empty_folders(folder):
        path.rmdir()
    return removed


def _refuse_running(folder: Folder, found: MetadataDir) -> None:
    for one in found.living:
        if one.lease is not None:
            what = f"process {one.lease.process} on {one.lease.host} is writing here"
            hint = "wait until it is done, or end it; if it was killed, its lease becomes stale after a minute"
            raise DestinationBusyError(str(folder), what, hint)


def _empty_folders(folder: Folder) -> list[Path]:
    """Folders on a disk, below that of the journals, that have nothing but such folders in them; the deepest first."""
    if not folder.is_local:
        return []
    empty: list[Path] = []
    for where, folders, files in os.walk(folder.local_path(JOURNAL), topdown=False):
        if not files and all(Path(where, name) in empty for name in folders):
            empty.append(Path(where))
    return empty
