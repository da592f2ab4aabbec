"""What a job would do and take is known before it starts; the schemas of files may differ."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import (
    ClassifyEmotions,
    ColumnExistsError,
    ColumnNotFoundError,
    ColumnTypeError,
    OptionError,
    Resources,
    Row,
    TableOperator,
    enrich_dataset,
)
from emotion_ops.operators.run import Run
from emotion_ops.operators.session import Session


@pytest.fixture
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three files of 20 rows, a quarter of each broken."""
    (tmp_path / "source").mkdir()
    cells = [b"broken" if row % 4 == 0 else jpeg(row, 40, 40) for row in range(20)]
    for name in "abc":
        pq.write_table(pa.table({"image": cells}), tmp_path / "source" / f"{name}.parquet")
    return tmp_path / "source"


def test_a_dry_run_computes_a_sample_and_estimates_what_the_job_takes(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    report = enrich_dataset(source, tmp_path / "out", operator, dry_run=True, sample_rows=24)
    estimate = report.estimate
    assert estimate is not None
    assert (estimate.rows, estimate.sampled, estimate.failed) == (60, 24, {"unsupported": 6})
    assert estimate.error_rate == 0.25
    assert estimate.bytes == sum(path.stat().st_size for path in source.iterdir())
    rates = {
        "reading": estimate.reading_rows_per_second,
        "preparing": estimate.preparing_rows_per_second,
        "computing": estimate.computing_rows_per_second,
    }
    slowest = min(rates, key=lambda name: rates[name] or 0.0)
    assert estimate.limit == ("loading" if estimate.loading_seconds > estimate.seconds / 2 else slowest)
    assert estimate.rows_per_second <= rates[slowest]
    assert estimate.seconds >= estimate.loading_seconds + 0.9 * estimate.rows / estimate.rows_per_second
    assert estimate.memory_bytes > operator.resources.memory
    assert report.to_dict()["estimate"]["sampled"] == 24
    assert not (tmp_path / "out").exists()


@dataclass(frozen=True)
class Slow(TableOperator):
    """Waits in one of its steps."""

    step: str = "prepare"

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("id",)

    def output_fields(self) -> list[pa.Field]:
        return [pa.field("double", pa.int64()), pa.field("double_error", pa.string())]

    def start(self, run: Run) -> Session:
        self.wait("start", 0.5)
        return super().start(run)

    def prepare(self, row: Row) -> int:
        self.wait("prepare", 0.1)
        return int(row["id"])

    def compute(self, items: Sequence[int]) -> list[int]:
        self.wait("compute", 0.02 * len(items))
        return [2 * item for item in items]

    def wait(self, step: str, seconds: float) -> None:
        if self.step == step:
            time.sleep(seconds)


@pytest.mark.parametrize(
    ("step", "limit", "max_pace"), [("prepare", "preparing", 20.0), ("compute", "computing", 50.0), ("start", "", 0.0)]
)
def test_an_estimate_names_the_step_that_limits_the_job(step: str, limit: str, max_pace: float, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(20)}), tmp_path / "a.parquet")
    operator = Slow(step=step, batch_size=4, resources=Resources(threads=2))
    estimate = enrich_dataset(tmp_path / "a.parquet", tmp_path / "out", operator, dry_run=True).estimate
    assert estimate is not None
    assert estimate.loading_seconds >= (0.5 if step == "start" else 0.0)
    assert estimate.seconds >= estimate.loading_seconds + 0.9 * 20 / estimate.rows_per_second
    if max_pace:
        assert estimate.rows_per_second <= max_pace
        assert estimate.limit == limit


def test_without_a_sample_or_without_work_there_is_no_estimate(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    assert enrich_dataset(source, tmp_path / "out", operator, dry_run=True, sample_rows=0).estimate is None
    enrich_dataset(source, tmp_path / "out", operator)
    assert enrich_dataset(source, tmp_path / "out", operator, dry_run=True).estimate is None


def test_there_is_an_estimate_with_on_error_raise_and_for_failed_rows_only(
    source: Path, tiny_model: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"image": [b"x", None]}), tmp_path / "broken.parquet")
    strict = ClassifyEmotions(model=tiny_model, on_error="raise")
    estimate = enrich_dataset(tmp_path / "broken.parquet", tmp_path / "out", strict, dry_run=True).estimate
    assert estimate is not None
    assert (estimate.error_rate, estimate.failed) == (1.0, {"missing": 1, "unsupported": 1})
    assert estimate.computing_rows_per_second is None
    assert estimate.limit != "computing"


def test_the_sample_counts_failed_rows_of_all_files_with_any_types(operator: ClassifyEmotions, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    good = [jpeg(row, 40, 40) for row in range(8)]
    (tmp_path / "face.jpg").write_bytes(good[0])
    tables = [
        pa.table({"id": range(8)}),
        pa.table({"image": pa.array(good, pa.binary())}),
        pa.table({"image": pa.array(good, pa.large_binary())}),
        pa.table({"image": [str(tmp_path / "face.jpg")] * 4 + [str(tmp_path / "none.jpg")] * 4}),
    ]
    for name, table in zip("abcd", tables, strict=True):
        pq.write_table(table, tmp_path / "source" / f"{name}.parquet")
    estimate = enrich_dataset(tmp_path / "source", tmp_path / "out", operator, dry_run=True, sample_rows=32).estimate
    assert estimate is not None
    assert (estimate.sampled, estimate.failed) == (32, {"missing": 8, "not_found": 4})
    rates = (estimate.reading_rows_per_second, estimate.preparing_rows_per_second, estimate.computing_rows_per_second)
    assert estimate.rows_per_second <= min(rate for rate in rates if rate is not None)


def test_files_that_differ_are_read_as_pyarrow_dataset_reads_them(operator: ClassifyEmotions, tmp_path: Path) -> None:
    """Files have different columns, and paths or bytes; a file without the image column has nulls there."""
    folder = tmp_path / "source"
    folder.mkdir()
    (tmp_path / "face.jpg").write_bytes(jpeg(0, 40, 40))
    pq.write_table(pa.table({"id": [1, 2], "image": [jpeg(0, 40, 40)] * 2, "extra": ["x", "y"]}), folder / "a.parquet")
    pq.write_table(pa.table({"id": pa.array([3], pa.int32())}), folder / "b.parquet")
    pq.write_table(pa.table({"image": [str(tmp_path / "face.jpg")], "id": [4]}), folder / "c.parquet")
    report = enrich_dataset(folder, tmp_path / "out", operator, columns=["id", "extra"])
    assert (report.files, report.errors) == (3, {"missing": 1})
    read = ds.dataset(tmp_path / "out").to_table()
    assert read.column("id").to_pylist() == [1, 2, 3, 4]
    assert read.column("extra").to_pylist() == ["x", "y", None, None]
    assert read.column("emotion").null_count == 1
    labels = read.column("emotion").to_pylist()
    assert labels[0] == labels[1] == labels[3]


def test_a_file_whose_schema_does_not_fit_is_named_before_any_work(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    with pytest.raises(ColumnNotFoundError, match=r"a.parquet: no column 'photo' in the table \(it has 'image'\)"):
        enrich_dataset(source, tmp_path / "out", ClassifyEmotions("photo", model=operator.model))
    with pytest.raises(ColumnNotFoundError, match="nothing"):
        enrich_dataset(source, tmp_path / "out", operator, columns=["nothing"])
    pq.write_table(pa.table({"image": [1]}), source / "numbers.parquet")
    with pytest.raises(ColumnTypeError, match=r"numbers.parquet: column 'image' holds int64"):
        enrich_dataset(source, tmp_path / "out", operator)
    pq.write_table(pa.table({"image": [b""], "emotion_sad": [1.0]}), source / "numbers.parquet")
    with pytest.raises(ColumnExistsError, match=r"numbers.parquet: the table already has 'emotion_sad'"):
        enrich_dataset(source, tmp_path / "out", operator)
    with pytest.raises(OptionError, match="sample_rows"):
        enrich_dataset(source, tmp_path / "out", operator, sample_rows=-1)
    assert not (tmp_path / "out").exists()
