"""Where a job may write: nothing that it writes may be read as a part of its source, and the reverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emotion_ops.errors import DatasetError
from emotion_ops.lake.sources.parquet_files import SourceFile
from emotion_ops.lake.targets.folder import Folder, is_hidden, split_uri


def open_destination(destination: str, files: Sequence[SourceFile]) -> tuple[Folder, str | None, list[str]]:
    """The folder that outputs go to, the name of the output if the destination is one file, and the outputs' keys.

    Args:
        destination: A folder; or a file ending in ``.parquet``, for a single source file.
        files: The source files.

    Raises:
        DatasetError: A source file is hidden, and its output would be hidden too.
    """
    folder, name = split_destination(destination)
    if name is not None and len(files) == 1:
        return folder, name, [name]
    hidden = next((file for file in files if is_hidden(file.key)), None)
    if hidden is not None:
        what = "has a name that readers skip, and its output would have it too"
        raise DatasetError(hidden.path, what, "give the output a name: a destination that ends in .parquet")
    return Folder(destination), None, [file.key for file in files]


def split_destination(destination: str) -> tuple[Folder, str | None]:
    """A destination as its folder, and the name of the output if it is one file: it ends in ``.parquet``."""
    if destination.endswith(".parquet") and not Folder(destination).is_folder():
        return split_uri(destination)
    return Folder(destination), None


def check_places(
    files: Sequence[SourceFile], folder: Folder, name: str | None, keys: Sequence[str], quarantine: Folder | None
) -> None:
    """Refuse places that overlap.

    Args:
        files: The source files.
        folder: The destination's folder.
        name: The output's name if the destination is one file.
        keys: The keys of the outputs.
        quarantine: Where failed rows go.

    Raises:
        DatasetError: A place is in another one, or is the same.
    """
    outputs = {folder.identity(key) for key in keys}
    for file in files:
        if file.folder.identity(file.key) in outputs:
            raise DatasetError(file.path, "is both source and destination", "give another destination")
    listed = {file.named.identity(): str(file.named) for file in files if file.listed}
    named = {file.folder.identity(file.key): file.path for file in files if not file.listed}
    _check_not_inside(folder, listed, "the source")
    if name is None:  # else readers open the file, not the folder
        _check_not_around(folder, listed | named, "the destination")
    if quarantine is None:
        return
    _check_not_inside(quarantine, listed, "the source")
    _check_not_around(quarantine, listed | named, "the quarantine")
    _check_not_inside(quarantine, {folder.identity(): str(folder)}, "the destination")
    if name is None:
        _check_not_around(quarantine, {folder.identity(): str(folder)}, "the quarantine")
    taken = outputs | {file.folder.identity(file.key) for file in files}
    for key in keys:
        if quarantine.identity(key) in taken:
            hint = "give the quarantine a separate folder"
            raise DatasetError(quarantine.path(key), "is a source or an output", hint)


def is_below(place: str, other: str) -> bool:
    """Whether a place is another one, or is in it; both are identities of folders."""
    return f"{place.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")


def _check_not_inside(folder: Folder, others: Mapping[str, str], what: str) -> None:
    """Refuse to write into something else; others are paths by identity."""
    for identity, path in others.items():
        if is_below(folder.identity(), identity):
            hint = "give another place, so that it is not read as a part of it"
            raise DatasetError(str(folder), f"is in {what} {path}", hint)


def _check_not_around(folder: Folder, others: Mapping[str, str], what: str) -> None:
    """Refuse to write around something else that readers do not skip; others are paths by identity."""
    home = folder.identity()
    for identity, path in others.items():
        if is_below(identity, home) and not is_hidden(identity[len(home) :].lstrip("/")):
            hint = "give another place, so that its rows are not read twice"
            raise DatasetError(path, f"is in {what} {folder}", hint)
