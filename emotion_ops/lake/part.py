"""The part of a destination that one run is about: everything, one file, one shard, or one shard of one file.

A part is a suffix for the names of its lease and its report: empty for everything, else ``-a.parquet`` or ``-0-of-4``.
"""

from __future__ import annotations

import hashlib
import re

_PART = re.compile(r"(-(?P<file>.+\.parquet))?(-(?P<shard>\d+)-of-(?P<shards>\d+))?")


def part_suffix(file: str | None, shard: tuple[int, int] | None) -> str:
    """The suffix of a part.

    Args:
        file: The name of the output, if the destination is one file.
        shard: ``(i, n)`` for shard ``i`` of ``n``; None for all.
    """
    return "".join(f"-{one}" for one in (file, shard and "{}-of-{}".format(*shard)) if one)


def in_shard(key: str, shard: tuple[int, int] | None) -> bool:
    """Whether a file belongs to shard ``i`` of ``n``: by its key alone, so that machines need not communicate."""
    if shard is None:
        return True
    return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16) % shard[1] == shard[0]


def may_share_files(part: str, other: str) -> bool:
    """Whether two parts may have a file in common: not if they are two files, or two shards of one division."""
    (file, shard), (other_file, other_shard) = _parse(part), _parse(other)
    if file and other_file and file != other_file:
        return False
    return not (shard and other_shard and file == other_file and shard[1] == other_shard[1] and shard != other_shard)


def covers(part: str, key: str) -> bool:
    """Whether an output file belongs to a part."""
    file, shard = _parse(part)
    return file in (None, key) and in_shard(key, shard)


def _parse(part: str) -> tuple[str | None, tuple[int, int] | None]:
    match = _PART.fullmatch(part)
    if match is None:
        return None, None
    return match["file"], (int(match["shard"]), int(match["shards"])) if match["shard"] else None
