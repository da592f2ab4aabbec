"""What the footer of an output says about its origin."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from emotion_ops.lake.fingerprint import Fingerprint
from emotion_ops.lake.parquet import read_key_values
from emotion_ops.lake.targets.folder import Folder
from emotion_ops.reports.findings import Findings

FINGERPRINT_KEY = b"emotion_ops.fingerprint"
"""Everything that decides the content, as JSON; see ``Fingerprint``."""
LINEAGE_KEY = b"emotion_ops.lineage"
"""What made it, for people, as JSON."""
SOURCE_KEY = b"emotion_ops.source"
"""See ``place_id``."""
SUMMARY_KEY = b"emotion_ops.summary"
"""What the results say, failed rows that were dropped included, as JSON; see ``Findings``."""
OUR_KEYS = (FINGERPRINT_KEY, LINEAGE_KEY, SOURCE_KEY, SUMMARY_KEY)
"""The keys of this package; if an output is a source, they are not copied into the next output."""

READ_CONCURRENCY = 16
"""Footers that are read at the same time; an object store answers many requests in the time of one."""


def place_id(folder: Folder) -> str:
    """The identity of a folder as footers and marks store it: the same for one place, and without secrets."""
    return hashlib.sha256(folder.identity().encode()).hexdigest()[:32]


def read_fingerprint(folder: Folder, key: str) -> Fingerprint | None:
    """The fingerprint of an output; None if it has none or is not a Parquet file.

    Raises:
        DatasetError: The store did not answer.
    """
    text = read_key_values(folder, key).get(FINGERPRINT_KEY)
    return Fingerprint.from_json(text) if text else None


def read_findings(key_values: Mapping[bytes, bytes]) -> Findings:
    """What the results of an output say, by the key-value pairs of its footer; empty if that is not known."""
    try:
        return Findings.from_json(key_values.get(SUMMARY_KEY, b""))
    except ValueError:
        return Findings()


def orphaned_outputs(folder: Folder, planned: set[str], sources: Mapping[str, Folder]) -> tuple[str, ...]:
    """Outputs whose source file is gone.

    Args:
        folder: The destination.
        planned: Keys of outputs whose source exists.
        sources: The source folders by ``place_id``; outputs of other sources do not count.

    Raises:
        DatasetError: The destination did not answer.
    """
    keys = [entry.key for entry in folder.entries() if entry.key not in planned]

    def is_orphaned(key: str) -> bool:
        made_of = read_key_values(folder, key).get(SOURCE_KEY)
        source = None if made_of is None else sources.get(made_of.decode())
        return source is not None and source.entry(key) is None

    with ThreadPoolExecutor(READ_CONCURRENCY) as pool:
        return tuple(key for key, orphaned in zip(keys, pool.map(is_orphaned, keys), strict=True) if orphaned)
