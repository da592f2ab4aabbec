"""The Parquet files that a source names: a file, a folder, a glob or a list of these."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from emotion_ops.errors import DatasetError
from emotion_ops.io.redact import redact_all
from emotion_ops.lake.targets.folder import Entry, Folder, is_parquet, plain, split

_log = logging.getLogger("emotion_ops")
_PARTITION = re.compile(r"[^._=][^=]*=.*")  # not what readers leave out
_NAMED = 3
_BROKEN = ("thrift", "Corrupt", "corruption", "CRC checksum", "page integrity", "decompress", "Unexpected end of")
"""What Arrow says of a broken file where it says it by an OSError."""


@dataclass(frozen=True)
class SourceFile:
    """A source file.

    Attributes:
        folder: The folder that the source names, or the one above its last ``key=value`` parts.
        entry: The file in it.
        swept: Whether it was found by listing the folder, rather than named.
        partition: Those parts, by which the output stays in its partition; empty where there are none.
    """

    folder: Folder
    entry: Entry
    swept: bool
    partition: str = ""

    @property
    def named(self) -> Folder:
        """The folder that the source names."""
        return self.folder.child(self.partition)

    @property
    def name(self) -> str:
        """Its place in that folder."""
        return self.key.removeprefix(f"{self.partition}/") if self.partition else self.key

    @property
    def key(self) -> str:
        """Its place in the folder, and its output's in the destination."""
        return self.entry.key

    @property
    def path(self) -> str:
        """Where it is, for messages."""
        return self.folder.path(self.key)


@contextlib.contextmanager
def open_parquet(folder: Folder, key: str) -> Iterator[pq.ParquetFile]:
    """Open a source file by its footer.

    Raises:
        DatasetError: It cannot be read, or is no whole Parquet file.
    """
    try:
        with folder.open(key) as opened, pq.ParquetFile(opened, coerce_int96_timestamp_unit="us") as file:
            yield file
    except (FileNotFoundError, PermissionError) as error:
        hint = "check that it is there and may be read, and run again"
        raise DatasetError(
            folder.path(key), f"cannot be opened ({redact_all(str(error))})", hint, retryable=True
        ) from error
    except MemoryError:  # Arrow's own is an ArrowException
        raise
    except (pa.ArrowException, OSError) as error:
        what = f"is no whole Parquet file ({redact_all(str(error))})"
        hint = "mend it, or move it away, and run again"
        raise DatasetError(folder.path(key), what, hint, retryable=not is_broken(error)) from error


def is_broken(error: Exception) -> bool:
    """Whether a file is broken, by what Arrow says of reading it, and not the way to it.

    Arrow says it by a ValueError, and at times by an OSError, as it does of a connection that breaks; that one has no
    number. Names of files, in quotes, are no signs.
    """
    if not isinstance(error, OSError):
        return isinstance(error, ValueError)
    text = re.sub(r"(?<!\w)'[^']*'", "", str(error))
    return error.errno is None and any(sign in text for sign in _BROKEN)


def find_sources(source: str | Sequence[str]) -> list[SourceFile]:
    """Every Parquet file of a source.

    Args:
        source: A file, a folder (every ``.parquet``, ``.parq`` and ``.pq`` at any depth; hive partitions), a glob
            (``*``, ``?``, ``[…]``, where ``*`` crosses folders too, and ``**/`` stands for none also), or a list
            of these, each a local path or a URI. What else lies in a folder is left out with a warning.

    Raises:
        DatasetError: There is nothing, or two sources would write one output.
    """
    found = [file for one in ([source] if isinstance(source, str) else source) for file in _find(one)]
    keys = [file.key for file in found]
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise DatasetError(twice, "two sources have a file of this name", "enrich them into two destinations")
    return found


def _find(source: str) -> list[SourceFile]:
    source = plain(source)
    folder, name = split(source)
    entry = folder.entry(name)
    base, question, options = source.partition("?") if "://" in source else (source, "", "")
    first_sign = re.search(r"[*?\[]", base)
    if entry is not None:
        files = _placed(folder, [entry], swept=False)
    elif first_sign and not Folder(source).is_folder():
        fixed = base[: first_sign.start()].rpartition("/")[0]
        top = Folder(f"{fixed or ('/' if base.startswith('/') else '.')}{question}{options}")
        patterns = _patterns(base[len(fixed) :].lstrip("/"))
        found = [entry for entry in top.entries() if any(fnmatch.fnmatchcase(entry.key, one) for one in patterns)]
        files = _placed(top, found, swept=True)
    else:
        top = Folder(source)
        there = top.entries()
        _warn_of([entry for entry in there if entry.size and not is_parquet(entry.key)], top)
        files = _placed(top, [entry for entry in there if is_parquet(entry.key)], swept=True)
    _check_loops(files)
    if not files:
        raise DatasetError(
            str(Folder(source)),
            "there is no such Parquet file, nor a folder with any",
            "check the path",
            retryable=True,
        )
    return files


def _placed(named: Folder, entries: Sequence[Entry], *, swept: bool) -> list[SourceFile]:
    """The files of a folder; its last ``key=value`` parts become the start of their keys."""
    folder, parts = named, list[str]()
    while True:
        above, name = split(folder.uri)
        if not _PARTITION.fullmatch(name) or _is_top(folder.uri):
            break
        folder, parts = above, [name, *parts]
    partition = "/".join(parts)
    placed = [replace(entry, key=f"{partition}/{entry.key}") for entry in entries] if partition else entries
    return [SourceFile(folder, entry, swept, partition) for entry in placed]


def _is_top(uri: str) -> bool:
    """Whether a URI has nothing but a bucket or a host, which is no part of a path."""
    _, is_uri, path = uri.partition("?")[0].partition("://")
    return bool(is_uri) and not path.rstrip("/").rpartition("/")[0].strip("/")


def _patterns(glob: str) -> list[str]:
    """A glob as patterns of fnmatch: ``**/`` stands for any folders and for none."""
    head, sign, rest = glob.partition("**/")
    if not sign:
        return [glob]
    between = ("*/", "") if not head or head.endswith("/") else ("**/",)
    return [f"{head}{one}{tail}" for tail in _patterns(rest) for one in between]


def _warn_of(left_out: Sequence[Entry], folder: Folder) -> None:
    """Name files that may be data under names of no dataset."""
    if not left_out:
        return
    count = "1 file is" if len(left_out) == 1 else f"{len(left_out):,} files are"
    names = ", ".join([*(entry.key for entry in left_out[:_NAMED]), *(["…"] if len(left_out) > _NAMED else [])])
    hint = "give a glob if that is Parquet"
    _log.warning("%s: %s left out, not named .parquet, .parq or .pq: %s; %s", folder, count, names, hint)


def _check_loops(files: Sequence[SourceFile]) -> None:
    """Refuse a symbolic link into a folder above itself, by which every file would be found again and again."""
    local = [file for file in files if file.swept and file.folder.is_local]
    for path in sorted({folder for file in local for folder in file.folder.local_path(file.key).parents}):
        if path.is_symlink() and path.resolve() in {above.resolve() for above in path.parents}:
            raise DatasetError(str(path), "is a symbolic link to a folder above itself", "remove it, and run again")
