"""A job in shards: how many there should be, and whether all of them together did everything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emotion_ops.errors import DatasetError
from emotion_ops.lake.audit.status import State, dataset_status
from emotion_ops.lake.audit.verify import verify_dataset
from emotion_ops.lake.manifest import Manifest, merge_manifests
from emotion_ops.lake.part import in_shard
from emotion_ops.lake.sources.parquet_files import find_sources
from emotion_ops.options import whole_number


def plan_shards(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, max_shards: int = 16, min_files: int = 1
) -> list[tuple[int, int]]:
    """Divide a job into shards: values of ``enrich_dataset(shard=…)``, one for each task or machine.

    Only names are listed; no file is opened. The name of a file decides its shard, so that shards differ in size.
    Empty shards are left out.

    Args:
        source: See ``enrich_dataset``.
        max_shards: Maximum number of shards; more than run at the same time are of no use.
        min_files: Minimum number of files in a shard, on average.

    Raises:
        DatasetError: There is no such source.
        OptionError: A number is below 1.
    """
    max_shards, min_files = whole_number("max_shards", max_shards), whole_number("min_files", min_files)
    uris = [os.fspath(one) for one in ([source] if isinstance(source, str | os.PathLike) else source)]
    keys = [file.key for file in find_sources(uris)]
    count = max(1, min(max_shards, len(keys) // min_files))
    shards = [(index, count) for index in range(count)]
    return [shard for shard in shards if any(in_shard(key, shard) for key in keys)]


def check_shards(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    destination: str | os.PathLike[str],
    manifests: Iterable[Mapping[str, Any]],
    *,
    verify: bool = False,
) -> Manifest:
    """Make sure that the shards of a job together did everything.

    Every source file must have an output that was made of its present content, with one operator. Only footers are
    read.

    Args:
        source: See ``enrich_dataset``.
        destination: See ``enrich_dataset``.
        manifests: What each shard did.
        verify: Also prove row by row that each source row has exactly its output row; this reads both datasets.

    Returns:
        The manifest of all shards together.

    Raises:
        DatasetError: The shards are not those of one job, or something is missing.
    """
    whole = merge_manifests(manifests)
    status = dataset_status(destination, source)
    expected = [file for file in status.files if file.state not in (State.WITHOUT_SOURCE, State.NOT_ENRICHED)]
    unfinished = [f"{file.file} ({file.state.value})" for file in expected if file.state is not State.DONE]
    if unfinished:
        named = ", ".join(unfinished[:5]) + (" …" if len(unfinished) > 5 else "")
        what = f"{len(unfinished):,} files are not done: {named}"
        raise DatasetError(status.destination, what, "run the shards again", retryable=True)
    other = [file.file for file in expected if file.lineage.get("recipe") != whole["fingerprint"]]
    if other:
        what = f"{other[0]} was made by another operator or with other options"
        raise DatasetError(status.destination, what, "run the shards again")
    reported = whole["files"] + whole["skipped"]
    if reported != len(expected):
        what = f"the shards reported {reported:,} files, and {len(expected):,} are there"
        hint = "files were added or removed, or a shard is missing: run again"
        raise DatasetError(status.destination, what, hint, retryable=True)
    if verify:
        proof = verify_dataset(source, destination)
        if not proof.proven:
            first = proof.problems[0]
            what = f"is not proven: {first.file}: {first.what}"
            raise DatasetError(status.destination, what, "emotion-ops verify lists all that is wrong")
    return {**whole, "verified": verify}
