"""The Parquet files that a source names: a file, a folder, a glob or a list of these."""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from emotion_ops.errors import DatasetError
from emotion_ops.images.location import redact_all
from emotion_ops.lake.storage import Entry, Folder, split


@dataclass(frozen=True)
class SourceFile:
    """A source file.

    Attributes:
        folder: The folder that the source names.
        entry: The file in it.
        swept: Whether it was found by listing the folder, rather than named.
    """

    folder: Folder
    entry: Entry
    swept: bool

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
        cure = "check that it is there and may be read, and run again"
        raise DatasetError(folder.path(key), f"cannot be opened ({redact_all(str(error))})", cure) from error
    except (pa.ArrowException, OSError) as error:
        what = f"is no whole Parquet file ({redact_all(str(error))})"
        raise DatasetError(folder.path(key), what, "mend it, or move it away, and run again") from error


def find_sources(source: str | Sequence[str]) -> list[SourceFile]:
    """Every Parquet file of a source.

    Args:
        source: A file, a folder (at any depth; hive partitions), a glob (``*``, ``?``, ``[…]``, where ``*``
            crosses folders too), or a list of these, each a local path or a URI.

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
    folder, name = split(source)
    entry = folder.entry(name)
    base, question, options = source.partition("?") if "://" in source else (source, "", "")
    first_sign = re.search(r"[*?\[]", base)
    if entry is not None:
        files = [SourceFile(folder, entry, swept=False)]
    elif first_sign and not Folder(source).is_folder():
        fixed = base[: first_sign.start()].rpartition("/")[0]
        top = Folder(f"{fixed or ('/' if base.startswith('/') else '.')}{question}{options}")
        pattern = base[len(fixed) :].lstrip("/")
        found = (entry for entry in top.entries() if fnmatch.fnmatchcase(entry.key, pattern))
        files = [SourceFile(top, entry, swept=True) for entry in found]
    else:
        top = Folder(source)
        files = [SourceFile(top, entry, swept=True) for entry in top.entries() if entry.key.endswith(".parquet")]
    _check_loops(files)
    if not files:
        raise DatasetError(
            str(Folder(source)), "there is no such Parquet file, nor a folder with any", "check the path"
        )
    return files


def _check_loops(files: Sequence[SourceFile]) -> None:
    """Refuse a symbolic link into a folder above itself, by which every file would be found again and again."""
    local = [file for file in files if file.swept and file.folder.is_local]
    for path in sorted({folder for file in local for folder in file.folder.local_path(file.key).parents}):
        if path.is_symlink() and path.resolve() in {above.resolve() for above in path.parents}:
            raise DatasetError(str(path), "is a symbolic link to a folder above itself", "remove it, and run again")
