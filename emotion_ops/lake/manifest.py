"""A report in short, as plain JSON: small enough for any scheduler to store, whatever the number of files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emotion_ops.errors import DatasetError
from emotion_ops.lake.fingerprint import Recipe
from emotion_ops.operators.base import TableOperator
from emotion_ops.reports.report import EnrichReport

Manifest = dict[str, Any]

_MAX_LENGTH = 500  # a source may be a list of thousands
_EQUAL = ("destination", "operator", "lineage", "fingerprint", "columns")
_SUMS = ("files", "skipped", "rows", "rows_skipped", "failed_skipped", "rows_from_journal", "rows_retried",
         "rows_cached", "good_rows", "bytes_read", "bytes_written", "seconds")  # fmt: skip


def build_manifest(
    report: EnrichReport,
    operator: TableOperator,
    *,
    columns: str | Sequence[str] = "all",
    shard: tuple[int, int] | None = None,
) -> Manifest:
    """What a job did, in about 25 values; of failed rows only the numbers, because they may have names of files.

    Args:
        report: What the job did.
        operator: The operator.
        columns: Which columns passed through.
        shard: The part of the source that it was about.
    """
    return _with_rates(
        {
            "outcome": report.outcome,
            "source": report.source if len(report.source) <= _MAX_LENGTH else f"{report.source[:_MAX_LENGTH]}…",
            "destination": report.destination,
            "shard": list(shard) if shard else None,
            "files": report.files,
            "skipped": report.skipped,
            "rows": report.rows,
            "rows_skipped": report.dataset.rows - report.rows,
            "failed_skipped": report.dataset.failed - report.failed,
            "rows_from_journal": report.rows_from_journal,
            "rows_retried": report.rows_retried,
            "rows_cached": report.rows_cached,
            "good_rows": report.good_rows,
            "errors": dict(report.errors),
            "summary": {one.name: dict(one.values) for one in report.summary if not one.per_row},
            "inputs": list(operator.inputs),
            "columns": {field.name: str(field.type) for field in operator.appended_schema()},
            "bytes_read": report.bytes_read,
            "bytes_written": report.bytes_written,
            "seconds": report.seconds,
            "limit": report.limit,
            "started_at": report.started_at,
            "operator": report.operator,
            "lineage": dict(report.lineage),
            "fingerprint": Recipe.create(operator.pinned(), columns).digest,
            "report": report.page,
        }
    )


def merge_manifests(manifests: Iterable[Mapping[str, Any]]) -> Manifest:
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
    for name in _EQUAL:
        values = {json.dumps(part.get(name)) for part in parts}
        if len(values) > 1:
            what = f"their shards differ in {name}: {', '.join(sorted(values))}"
            raise DatasetError(first["destination"], what, "run all shards with equal options")
    _check_shards([part["shard"] for part in parts], first["destination"])
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
            "errors": dict(sorted(_add_counts(part["errors"] for part in parts).items())),
            "summary": _merge_summaries([part["summary"] for part in parts]),
            "started_at": min(part["started_at"] for part in parts),
            "report": "",
            "reports": [part["report"] for part in parts if part["report"]],
        }
    )


def _merge_summaries(summaries: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for summary in summaries for name in summary)
    return {name: _add_counts(summary.get(name, {}) for summary in summaries) for name in names}


def _add_counts(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total


def _check_shards(shards: Sequence[Sequence[int] | None], destination: str) -> None:
    counts = {shard[1] for shard in shards if shard}
    numbers = sorted(shard[0] for shard in shards if shard)
    if None in shards or len(counts) != 1 or len(set(numbers)) < len(numbers):
        what = f"shards {[list(shard) if shard else None for shard in shards]} are not the parts of one job"
        raise DatasetError(destination, what, "give one manifest of each shard")


def _with_rates(manifest: Manifest) -> Manifest:
    rows, seconds = manifest["rows"], manifest["seconds"]
    failed = sum(manifest["errors"].values())
    computed = rows - manifest["rows_from_journal"]
    all_rows, all_failed = rows + manifest["rows_skipped"], failed + manifest["failed_skipped"]
    return {
        **manifest,
        "failed": failed,
        "error_rate": round(all_failed / all_rows, 6) if all_rows else 0.0,
        "rows_per_second": round(computed / seconds, 1) if seconds else 0.0,
    }
