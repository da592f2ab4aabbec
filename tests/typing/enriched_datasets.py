"""Datasets: each function's report has its own type."""

from pathlib import Path
from typing import assert_type

from emotion_ops import (
    ClassifyEmotions,
    CleanReport,
    DatasetStatus,
    DiffReport,
    EnrichReport,
    VerifyReport,
    clean_destination,
    dataset_status,
    diff_datasets,
    enrich_dataset,
    verify_dataset,
)


def reports(source: Path, destination: Path) -> None:
    operator = ClassifyEmotions("image", model="demo")
    assert_type(enrich_dataset(source, destination, operator), EnrichReport)
    assert_type(enrich_dataset([source], destination, operator, columns=["id"], shard=(0, 4)), EnrichReport)
    assert_type(verify_dataset(source, destination), VerifyReport)
    assert_type(dataset_status(destination), DatasetStatus)
    assert_type(diff_datasets(source, destination, max_changes=3), DiffReport)
    assert_type(clean_destination(destination, dry_run=True), CleanReport)


def refused(source: Path, destination: Path) -> None:
    enrich_dataset(source, destination, "demo")  # type: ignore[arg-type]  # a table operator, not its name
    enrich_dataset(source, destination, ClassifyEmotions(), contact_sheet="yes")  # type: ignore[arg-type]
    enrich_dataset(source, destination, ClassifyEmotions(), [])  # type: ignore[call-arg]  # options go by name
