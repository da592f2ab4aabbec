"""Remove what dead runs left in a destination, and nothing else."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from emotion_ops.errors import DatasetError, DestinationBusyError
from emotion_ops.lake import lease
from emotion_ops.lake.audit.metadata_dir import Hidden, Leftover, look
from emotion_ops.lake.audit.outputs import open_destination
from emotion_ops.lake.journal import JOURNAL
from emotion_ops.lake.targets.folder import Folder


@dataclass(frozen=True)
class CleanReport:
    """What was removed, or under ``dry_run`` would be.

    Attributes:
        destination: The destination.
        removed: What was removed.
        kept: Journals of unfinished files, which a rerun goes on from.
        dry_run: Whether nothing was touched.
    """

    destination: str
    removed: tuple[Leftover, ...]
    kept: tuple[Leftover, ...]
    dry_run: bool

    @property
    def bytes(self) -> int:
        """What was freed."""
        return sum(one.bytes for one in self.removed)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {**plain, "bytes": self.bytes}


def clean_destination(
    destination: str | os.PathLike[str], *, journals: bool = False, dry_run: bool = False
) -> CleanReport:
    """Remove what dead runs left in the hidden folder of a destination; data files are never touched.

    Removed are spool files of dead processes, stale leases, journals of files that are finished, and empty
    folders among these. The journal of an unfinished file is kept, since a rerun goes on from it.

    Args:
        destination: As it was given to ``enrich_dataset``.
        journals: Remove journals of unfinished files too: their answers have to be computed again.
        dry_run: Say what would be removed, and touch nothing.

    Returns:
        What was removed.

    Raises:
        DatasetError: There is no such destination, or it cannot be written.
        DestinationBusyError: A living run is writing there.
    """
    folder, _ = open_destination(os.fspath(destination))
    hidden = look(folder)
    _refuse_the_living(folder, hidden)
    chosen = tuple(one for one in hidden.leftovers if journals or not one.resumable)
    if not dry_run and (chosen or _empty_folders(folder)):
        try:
            with lease.hold(folder, "") as held:  # no run begins meanwhile
                chosen = _remove(folder, chosen, held.key)
        except OSError as error:
            raise DatasetError(
                str(folder), f"cannot be written ({error})", "mend its permissions", retryable=True
            ) from error
    return CleanReport(
        destination=str(Folder(os.fspath(destination))),
        removed=chosen,
        kept=tuple(one for one in hidden.leftovers if one.resumable and not journals),
        dry_run=dry_run,
    )


def _remove(folder: Folder, chosen: tuple[Leftover, ...], mine: str) -> tuple[Leftover, ...]:
    """Remove what is still a leftover, now that the lease is held; those of the dead went when it was taken."""
    hidden = look(folder)
    hidden = replace(hidden, leases=tuple(found for found in hidden.leases if found.key != mine))
    left = {one.path for one in hidden.leftovers}
    removed = tuple(one for one in chosen if one.path in left or one.kind == "lease")
    for one in removed:
        if one.kind == "journal":
            folder.delete_folder(one.path)
        elif one.kind == "spool":
            folder.delete(one.path)
    for path in _empty_folders(folder):
        path.rmdir()
    return removed


def _refuse_the_living(folder: Folder, hidden: Hidden) -> None:
    for found in hidden.living:
        if found.lease is not None:
            raise DestinationBusyError(
                str(folder),
                f"process {found.lease.process} on {found.lease.host} is writing here",
                "wait until it is done, or end it; if it died, its lease ends soon after its last sign of life",
            )


def _empty_folders(folder: Folder) -> list[Path]:
    """Folders on a disk, below that of the journals, that hold nothing but such folders; the deepest first."""
    if not folder.is_local:
        return []
    empty: list[Path] = []
    for where, folders, files in os.walk(folder.local_path(JOURNAL), topdown=False):
        if not files and all(Path(where, name) in empty for name in folders):
            empty.append(Path(where))
    return empty
