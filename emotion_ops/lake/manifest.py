"""A report in short, as plain JSON: small enough for any scheduler to keep, whatever the number of files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emotion_ops.errors import DatasetError
from emotion_ops.lake.fingerprint import Recipe
from emotion_ops.lake.plan import Action
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.reports.report import EnrichReport

Manifest = dict[str, Any]

_LONG = 500  # a source may be a list of thousands
_SAME = ("destination", "fingerprint", "model", "revision", "weights_sha256", "columns")
_SUMS = ("files", "skipped", "rows", "rows_skipped", "failed_skipped", "rows_from_journal", "rows_retried",
         "images", "unsure", "bytes_read", "bytes_written", "seconds")  # fmt: skip


def manifest_of(
    report: EnrichReport,
    operator: ClassifyEmotions,
    *,
    columns: str | Sequence[str] = "all",
    shard: tuple[int, int] | None = None,
) -> Manifest:
    """What a job did, in some 25 values; of failed rows the numbers alone, for they may hold names of people's files.

    Args:
        report: What the job did.
        operator: Its options.
        columns: Which columns passed through.
        shard: The part of the source that it was about.
    """
    recipe = Recipe.of(operator.pinned(), columns)
    skipped = sum(file.rows for file in report.planned if file.action == Action.SKIP)
    return _with_rates(
        {
            "outcome": report.outcome,
            "source": report.source if len(report.source) <= _LONG else f"{report.source[:_LONG]}…",
            "destination": report.destination,
            "shard": list(shard) if shard else None,
            "files": report.files,
            "skipped": report.skipped,
            "rows": report.rows,
            "rows_skipped": skipped,
            "failed_skipped": report.failed_skipped,
            "rows_from_journal": report.rows_from_journal,
            "rows_retried": report.rows_retried,
            "images": report.images,
            "unsure": report.unsure,
            "errors": dict(report.errors),
            "emotions": dict(report.labels),
            "columns": list(operator.output_columns().names),
            "bytes_read": report.bytes_read,
            "bytes_written": report.bytes_written,
            "seconds": report.seconds,
            "limit": report.limit,
            "started_at": report.started_at,
            "model": report.model,
            "revision": report.revision,
            "weights_sha256": report.weights_sha256,
            "fingerprint": hashlib.sha256(json.dumps(recipe.parts, sort_keys=True).encode()).hexdigest(),
            "version": report.version,
            "report": report.page,
        }
    )


def merged(manifests: Iterable[Mapping[str, Any]]) -> Manifest:
    """The manifest of all shards of one job together.

    Args:
        manifests: One of each shard, in any order.

    Raises:
        DatasetError: They are of different models, options or destinations, or shards are missing or there twice.
    """
    parts = [dict(one) for one in manifests]
    if not parts:
        raise DatasetError("the shards", "there are none", "give the manifests of the mapped tasks")
    first = parts[0]
    for name in _SAME:
        values = {json.dumps(part.get(name)) for part in parts}
        if len(values) > 1:
            what = f"their shards differ in {name}: {', '.join(sorted(values))}"
            raise DatasetError(first["destination"], what, "run all shards with equal options")
    _check_shards([part["shard"] for part in parts], first["destination"])
    errors, emotions = Counter[str](), Counter[str](dict.fromkeys(first["emotions"], 0))
    for part in parts:
        errors.update(part["errors"])
        emotions.update(part["emotions"])
    sums = {name: sum(part[name] for part in parts) for name in _SUMS}
    return _with_rates(
        {
            **first,
            **sums,
            "outcome": next((part["outcome"] for part in parts if part["outcome"] != "finished"), "finished"),
            "limit": max(parts, key=lambda part: part["seconds"])["limit"],
            "seconds": round(sums["seconds"], 3),
            "shard": None,
            "shards": len(parts),
            "errors": dict(sorted(errors.items())),
            "emotions": dict(emotions),
            "started_at": min(part["started_at"] for part in parts),
            "report": "",
            "reports": [part["report"] for part in parts if part["report"]],
        }
    )


def _check_shards(shards: Sequence[Sequence[int] | None], destination: str) -> None:
    cut = {shard[1] for shard in shards if shard}
    numbers = sorted(shard[0] for shard in shards if shard)
    if None in shards or len(cut) != 1 or len(set(numbers)) < len(numbers):
        what = f"shards {[list(shard) if shard else None for shard in shards]} are not the parts of one cut"
        raise DatasetError(destination, what, "give one manifest of each shard")


def _with_rates(manifest: Manifest) -> Manifest:
    rows, seconds = manifest["rows"], manifest["seconds"]
    failed = sum(manifest["errors"].values())
    computed = rows - manifest["rows_from_journal"]
    every, failed_of_all = rows + manifest["rows_skipped"], failed + manifest["failed_skipped"]
    return {
        **manifest,
        "failed": failed,
        "error_rate": round(failed_of_all / every, 6) if every else 0.0,
        "images_per_second": round(computed / seconds, 1) if seconds else 0.0,
    }
