"""The Parquet files that a source names: a file, a folder, a glob or a list of these."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from emotion_ops.errors import DatasetError
from emotion_ops.lake.targets.folder import Entry, Folder, is_parquet, local_path_of, split_uri

_log = logging.getLogger("emotion_ops")
_PARTITION = re.compile(r"[^._=][^=]*=.*")  # readers skip names that begin with "." or "_"
_MAX_NAMED = 3


@dataclass(frozen=True)
class SourceFile:
    """A source file.

    Attributes:
        folder: The folder that the source names, or the one above its last ``key=value`` parts.
        entry: The file in it.
        listed: Whether it was found by listing the folder; else the source names it.
        partition: Those ``key=value`` parts, so that the output stays in its partition; empty if there are none.
    """

    folder: Folder
    entry: Entry
    listed: bool
    partition: str = ""

    @property
    def named(self) -> Folder:
        """The folder that the source names."""
        return self.folder.child(self.partition)

    @property
    def name(self) -> str:
        """Its key in that folder."""
        return self.key.removeprefix(f"{self.partition}/") if self.partition else self.key

    @property
    def key(self) -> str:
        """Its key in ``folder``, and its output's in the destination."""
        return self.entry.key

    @property
    def path(self) -> str:
        """Where it is, for messages."""
        return self.folder.path(self.key)


def find_sources(source: str | Sequence[str]) -> list[SourceFile]:
    """Every Parquet file of a source.

    Args:
        source: A file, a folder (every ``.parquet``, ``.parq`` and ``.pq`` at any depth; hive partitions), a glob
            (``*``, ``?``, ``[…]``; ``*`` matches across folders too, and ``**/`` also matches no folder), or a list of
            these, each a local path or a URI. A warning names other files of a folder, which are left out.

    Raises:
        DatasetError: There is no file, or two sources would write one output.
    """
    found = [file for one in ([source] if isinstance(source, str) else source) for file in _find(one)]
    keys = [file.key for file in found]
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise DatasetError(twice, "two sources have a file of this name", "enrich them into two destinations")
    return found


def _find(source: str) -> list[SourceFile]:
    source = local_path_of(source)
    folder, name = split_uri(source)
    entry = folder.entry(name)
    base, question, options = source.partition("?") if "://" in source else (source, "", "")
    first_wildcard = re.search(r"[*?\[]", base)
    if entry is not None:
        files = _in_partition(folder, [entry], listed=False)
    elif first_wildcard and not Folder(source).is_folder():
        fixed = base[: first_wildcard.start()].rpartition("/")[0]
        top = Folder(f"{fixed or ('/' if base.startswith('/') else '.')}{question}{options}")
        patterns = _patterns(base[len(fixed) :].lstrip("/"))
        found = [entry for entry in top.entries() if any(fnmatch.fnmatchcase(entry.key, one) for one in patterns)]
        files = _in_partition(top, found, listed=True)
    else:
        top = Folder(source)
        entries = top.entries()
        _warn_about([entry for entry in entries if entry.size and not is_parquet(entry.key)], top)
        files = _in_partition(top, [entry for entry in entries if is_parquet(entry.key)], listed=True)
    _check_loops(files)
    if not files:
        what = "there is no such Parquet file, and no folder with Parquet files"
        raise DatasetError(str(Folder(source)), what, "check the path", retryable=True)
    return files


def _in_partition(named: Folder, entries: Sequence[Entry], *, listed: bool) -> list[SourceFile]:
    """The files of a folder; its last ``key=value`` parts become the start of their keys."""
    folder, parts = named, list[str]()
    while True:
        above, name = split_uri(folder.uri)
        if not _PARTITION.fullmatch(name) or _is_top(folder.uri):
            break
        folder, parts = above, [name, *parts]
    partition = "/".join(parts)
    placed = [replace(entry, key=f"{partition}/{entry.key}") for entry in entries] if partition else entries
    return [SourceFile(folder, entry, listed, partition) for entry in placed]


def _is_top(uri: str) -> bool:
    """Whether a URI is only a bucket or a host, whose name is not a partition."""
    _, is_uri, path = uri.partition("?")[0].partition("://")
    return bool(is_uri) and not path.rstrip("/").rpartition("/")[0].strip("/")


def _patterns(glob: str) -> list[str]:
    """A glob as patterns of fnmatch: ``**/`` matches any folders, and none."""
    head, sign, rest = glob.partition("**/")
    if not sign:
        return [glob]
    between = ("*/", "") if not head or head.endswith("/") else ("**/",)
    return [f"{head}{one}{tail}" for tail in _patterns(rest) for one in between]


def _warn_about(skipped: Sequence[Entry], folder: Folder) -> None:
    """Name files that may be data although their names do not say so."""
    if not skipped:
        return
    count = "1 file is" if len(skipped) == 1 else f"{len(skipped):,} files are"
    names = ", ".join([*(entry.key for entry in skipped[:_MAX_NAMED]), *(["…"] if len(skipped) > _MAX_NAMED else [])])
    hint = "give a glob if that is Parquet"
    _log.warning("%s: %s left out, not named .parquet, .parq or .pq: %s; %s", folder, count, names, hint)


def _check_loops(files: Sequence[SourceFile]) -> None:
    """Refuse a symbolic link to a folder above itself: every file would be found again and again."""
    local = [file for file in files if file.listed and file.folder.is_local]
    for path in sorted({folder for file in local for folder in file.folder.local_path(file.key).parents}):
        if path.is_symlink() and path.resolve() in {above.resolve() for above in path.parents}:
            raise DatasetError(str(path), "is a symbolic link to a folder above itself", "remove it, and run again")
