"""Which Parquet files a source holds, and where each goes in the destination."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emotion_ops.errors import DatasetError


@dataclass(frozen=True)
class FilePair:
    """One source file and the output file that mirrors it."""

    source: Path
    destination: Path


def plan_files(source: Path, destination: Path, *, overwrite: bool = False) -> list[FilePair]:
    """Pair each Parquet file of the source with its place in the destination.

    A source file goes to the destination itself, or into it where that is a folder; the files of a source
    folder go to the same relative places. Files and folders whose names begin with ``.`` or ``_`` are nobody's
    data and left out, as every Parquet reader does.

    Args:
        source: A Parquet file, or a folder of them at any depth (hive partitions too).
        destination: A file for a file, a folder for a folder; need not exist.
        overwrite: Whether output files may exist.

    Raises:
        DatasetError: No such source, no Parquet file in it, the destination would write over its source, or
            output files exist and ``overwrite`` is false. Nothing was written.
    """
    if source.is_file():
        into = destination / source.name if destination.is_dir() else destination
        pairs = [FilePair(source, into)]
    elif source.is_dir():
        if destination.is_file():
            raise DatasetError(
                str(destination), "is a file, but the source is a folder", "give a folder as destination"
            )
        if destination.resolve().is_relative_to(source.resolve()):
            raise DatasetError(
                str(destination),
                f"lies inside the source {source}",
                "give a destination outside of it, lest it be read again",
            )
        found = sorted(
            path for path in source.rglob("*.parquet") if path.is_file() and not _hidden(path.relative_to(source))
        )
        if not found:
            raise DatasetError(str(source), "the folder holds no .parquet file", "check the path")
        pairs = [FilePair(path, destination / path.relative_to(source)) for path in found]
    else:
        raise DatasetError(
            str(source), "no such file or folder", f"check the path (the working directory is {Path.cwd()})"
        )
    for pair in pairs:
        if pair.destination.exists():
            if pair.destination.samefile(pair.source):
                raise DatasetError(str(pair.destination), "is the source itself", "give another destination")
            if not overwrite:
                raise DatasetError(
                    str(pair.destination), "exists already", "give another destination, or overwrite to replace it"
                )
    return pairs


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)
