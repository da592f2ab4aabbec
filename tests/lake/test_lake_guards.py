"""What a job must not do to files of others, and what it must notice before it computes a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import (
    ClassifyEmotions,
    DatasetError,
    DestinationConflictError,
    ErrorBudgetExceededError,
    OptionError,
    enrich_dataset,
    verify_dataset,
)
from emotion_ops.lake import run as module
from emotion_ops.testing import save_tiny_model


def write(path: Path, rows: int = 4, failed: int = 0, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [b"junk" if row < failed else jpeg(row, 40, 40) for row in range(rows)]
    pq.write_table(pa.table({"image": pa.array(images, pa.binary()), **columns}), path)
    return path


@pytest.fixture
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model)


@pytest.mark.parametrize("failed", [0, 2])
def test_a_quarantine_replaces_and_removes_only_its_own_files(
    operator: ClassifyEmotions, tmp_path: Path, failed: int
) -> None:
    source = write(tmp_path / "a.parquet", failed=failed)
    before = source.read_bytes()
    with pytest.raises(DatasetError, match=r"is a source or an output|is in the quarantine|the quarantine"):
        enrich_dataset(source, tmp_path / "out", operator, quarantine=tmp_path)
    theirs = write(tmp_path / "quarantine" / "a.parquet")
    content = theirs.read_bytes()
    with pytest.raises(DestinationConflictError, match="not a quarantine of this source and destination"):
        enrich_dataset(source, tmp_path / "out", operator, quarantine=tmp_path / "quarantine")
    assert (source.read_bytes(), theirs.read_bytes()) == (before, content)
    assert not (tmp_path / "out").exists()


def test_two_jobs_do_not_share_a_quarantine(operator: ClassifyEmotions, tmp_path: Path) -> None:
    for name, failed in (("one", 2), ("two", 0)):
        write(tmp_path / name / "a.parquet", failed=failed)
    enrich_dataset(tmp_path / "one", tmp_path / "first", operator, quarantine=tmp_path / "quarantine")
    with pytest.raises(DestinationConflictError):
        enrich_dataset(tmp_path / "two", tmp_path / "second", operator, quarantine=tmp_path / "quarantine")
    assert pq.read_metadata(tmp_path / "quarantine" / "a.parquet").num_rows == 2
    enrich_dataset(
        tmp_path / "one", tmp_path / "first", operator, quarantine=tmp_path / "quarantine", retry_errors=True
    )


def test_prune_removes_outputs_of_this_source_whose_file_is_gone_and_no_others(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for name in ("mon", "tue", "wed"):
        write(tmp_path / "source" / f"{name}.parquet")
    write(tmp_path / "other" / "thu.parquet")
    out = tmp_path / "out"
    enrich_dataset(tmp_path / "source", out, operator)
    enrich_dataset(tmp_path / "other", out, operator)
    (tmp_path / "source" / "wed.parquet").unlink()
    only = enrich_dataset(tmp_path / "source" / "tue.parquet", out, operator)
    assert only.orphaned == ("wed.parquet",)
    (tmp_path / "other" / "thu.parquet").unlink()
    assert enrich_dataset(tmp_path / "source" / "tue.parquet", out, operator, prune=True).pruned == ("wed.parquet",)
    assert sorted(path.name for path in out.glob("*.parquet")) == ["mon.parquet", "thu.parquet", "tue.parquet"]
    with pytest.raises(OptionError, match="run without shard"):
        enrich_dataset(tmp_path / "source", out, operator, prune=True, shard=(0, 2))


def test_an_output_that_changed_between_the_plan_and_the_lease_is_planned_again(
    operator: ClassifyEmotions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run overwrites the output after this one planned to retry its failed rows."""
    source, out = write(tmp_path / "source" / "a.parquet", rows=6, failed=1).parent, tmp_path / "out"
    enrich_dataset(source, out, operator)
    other = ClassifyEmotions(model=str(save_tiny_model(tmp_path / "other", seed=9)))
    plan_dataset = module.plan_dataset

    def overtaken(*arguments: Any, **options: Any) -> Any:
        planned = plan_dataset(*arguments, **options)
        monkeypatch.setattr(module, "plan_dataset", plan_dataset)
        enrich_dataset(source, out, other, overwrite=True)
        return planned

    monkeypatch.setattr(module, "plan_dataset", overtaken)
    with pytest.raises(DestinationConflictError, match="weights_sha256"):
        enrich_dataset(source, out, operator, retry_errors=True)
    values = pq.read_table(out / "a.parquet").column("emotion_sad").to_pylist()
    assert values == pytest.approx(
        other(pq.read_table(source / "a.parquet")).column("emotion_sad").to_pylist(), abs=1e-6
    )


def test_equal_choices_of_columns_are_equal_and_a_changed_source_is_enriched_again(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    source = write(tmp_path / "source" / "a.parquet", id=range(4), kind=["x"] * 4).parent
    enrich_dataset(source, tmp_path / "out", operator, columns="-image")
    for same in (["-image"], ("-image",)):
        assert enrich_dataset(source, tmp_path / "out", operator, columns=same).skipped == 1
    write(source / "a.parquet", rows=5, id=range(5), kind=["x"] * 5)
    report = enrich_dataset(source, tmp_path / "out", operator, columns=["-image"])
    assert [file.action for file in report.planned] == ["changed"]
    enrich_dataset(source, tmp_path / "none", operator, columns=[])
    assert pq.read_schema(tmp_path / "none" / "a.parquet").names == operator.appended_schema().names


def test_another_image_processor_or_network_configuration_is_another_fingerprint(tmp_path: Path) -> None:
    model, source = save_tiny_model(tmp_path / "model"), write(tmp_path / "source" / "a.parquet").parent
    enrich_dataset(source, tmp_path / "out", ClassifyEmotions(model=str(model)))
    for name, key, value in (
        ("preprocessor_config.json", "image_mean", [0.1, 0.1, 0.1]),
        ("config.json", "layer_norm_eps", 0.5),
    ):
        path = model / name
        text = path.read_text()
        path.write_text(json.dumps({**json.loads(text), key: value}))
        with pytest.raises(DestinationConflictError, match="settings_sha256"):
            enrich_dataset(source, tmp_path / "out", ClassifyEmotions(model=str(model)))
        path.write_text(text)
    assert enrich_dataset(source, tmp_path / "out", ClassifyEmotions(model=str(model))).skipped == 1


def test_int96_timestamps_of_any_century_pass_through(operator: ClassifyEmotions, tmp_path: Path) -> None:
    import datetime

    when = [
        datetime.datetime(9999, 12, 31),
        datetime.datetime(1, 1, 1),
        None,
        datetime.datetime(2026, 1, 1, 1, 2, 3, 4),
    ]
    table = pa.table({"image": [jpeg(row, 40, 40) for row in range(4)], "when": pa.array(when, pa.timestamp("us"))})
    (tmp_path / "source").mkdir()
    pq.write_table(table, tmp_path / "source" / "a.parquet", use_deprecated_int96_timestamps=True)
    enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert pq.read_table(tmp_path / "out" / "a.parquet").column("when").to_pylist() == when
    assert verify_dataset(tmp_path / "source", tmp_path / "out").proven


def test_damaged_and_foreign_files_in_a_journal_are_computed_again(operator: ClassifyEmotions, tmp_path: Path) -> None:
    source, out = write(tmp_path / "source" / "a.parquet", failed=2).parent, tmp_path / "out"
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(source, out, operator, max_errors=0)
    [entry] = out.rglob("*.arrow")
    for content in (b"", entry.read_bytes()[:100]):
        entry.write_bytes(content)
        (entry.parent / ".DS_Store").write_bytes(b"x")
        with pytest.raises(ErrorBudgetExceededError):
            enrich_dataset(source, out, operator, max_errors=0)
    assert enrich_dataset(source, out, operator).rows_from_journal == 4


def test_an_error_rate_counts_existing_outputs_so_that_reruns_do_not_pass_it(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for number in range(4):
        write(tmp_path / "source" / f"{number}.parquet", rows=60, failed=60)
    published = []
    for _ in range(3):
        with pytest.raises(ErrorBudgetExceededError):
            enrich_dataset(tmp_path / "source", tmp_path / "out", operator, max_error_rate=0.01)
        published.append(len(list((tmp_path / "out").glob("*.parquet"))))
    assert published[0] == published[-1] <= 1


def test_an_unknown_compression_is_refused_before_any_work(operator: ClassifyEmotions, tmp_path: Path) -> None:
    source = write(tmp_path / "a.parquet")
    for name in ("foo", "lzo"):
        with pytest.raises(OptionError, match="give one of 'zstd', 'snappy'"):
            enrich_dataset(source, tmp_path / "out", operator, compression=name)
    assert not (tmp_path / "out").exists()
    assert enrich_dataset(source, tmp_path / "out", operator, compression="none").files == 1
