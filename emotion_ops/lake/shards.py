"""A job in shards: how many there should be, and whether all of them together did all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emotion_ops.errors import DatasetError, OptionError
from emotion_ops.lake.audit.status import State, dataset_status
from emotion_ops.lake.audit.verify import verify_dataset
from emotion_ops.lake.manifest import Manifest, merge_manifests
from emotion_ops.lake.plan import in_shard
from emotion_ops.lake.sources.parquet_files import find_sources


def plan_shards(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, max_shards: int = 16, min_files: int = 1
) -> list[tuple[int, int]]:
    """Cut a job into shards: the values of ``enrich_dataset(shard=…)``, one for each task or machine.

    Only names are listed, no file is opened. A file's shard follows from its name alone, so that shards differ in
    size; those that no file falls into are left out.

    Args:
        source: As for ``enrich_dataset``.
        max_shards: The most shards: no more than run at once are of use.
        min_files: At least so many files in a shard, in the mean.

    Raises:
        DatasetError: There is no such source.
        OptionError: A number is below 1.
    """
    for name, value in (("max_shards", max_shards), ("min_files", min_files)):
        if value < 1:
            raise OptionError(name, value, "give a whole number of at least 1")
    uris = [os.fspath(one) for one in ([source] if isinstance(source, str | os.PathLike) else source)]
    keys = [file.key for file in find_sources(uris)]
    count = max(1, min(max_shards, len(keys) // min_files))
    cut = [(index, count) for index in range(count)]
    return [shard for shard in cut if any(in_shard(key, shard) for key in keys)]


def check_shards(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    destination: str | os.PathLike[str],
    manifests: Iterable[Mapping[str, Any]],
    *,
    verify: bool = False,
) -> Manifest:
    """Make sure that the shards of a job together did all of it.

    Every source file must have an output that was made of it as it is now, by one model; footers are read, and no
    more.

    Args:
        source: As for ``enrich_dataset``.
        destination: Likewise.
        manifests: What each shard did.
        verify: Prove row by row, too, that each source row has exactly its output row; it reads both datasets.

    Returns:
        The manifest of all shards together.

    Raises:
        DatasetError: The shards are not those of one job, or something is missing.
    """
    whole = merge_manifests(manifests)
    status = dataset_status(destination, source)
    awaited = [file for file in status.files if file.state not in (State.WITHOUT_SOURCE, State.NOT_ENRICHED)]
    open_ = [f"{file.file} ({file.state.value})" for file in awaited if file.state is not State.DONE]
    if open_:
        named = ", ".join(open_[:5]) + (" …" if len(open_) > 5 else "")
        what = f"{len(open_):,} files are not done: {named}"
        raise DatasetError(status.destination, what, "run the shards again", retryable=True)
    other = [file.file for file in awaited if file.lineage.get("weights_sha256") != whole["weights_sha256"]]
    if other:
        raise DatasetError(status.destination, f"{other[0]} was made by another model", "run the shards again")
    told = whole["files"] + whole["skipped"]
    if told != len(awaited):
        what = f"the shards tell of {told:,} files, and {len(awaited):,} stand there"
        hint = "files came or went meanwhile, or a shard is missing: run again"
        raise DatasetError(status.destination, what, hint, retryable=True)
    if verify:
        proof = verify_dataset(source, destination)
        if not proof.proven:
            first = proof.problems[0]
            what = f"is not proven: {first.file}: {first.what}"
            raise DatasetError(status.destination, what, "emotion-ops verify lists all that is wrong")
    return {**whole, "verified": verify}
