"""A Parquet dataset in, the same dataset with columns appended out; outputs are skipped, replaced or refused."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import (
    Access,
    ClassifyEmotions,
    ColumnNotFoundError,
    ColumnTypeError,
    DatasetError,
    DestinationConflictError,
    ErrorBudgetExceededError,
    Limits,
    OptionError,
    RowFailedError,
    enrich_dataset,
)
from emotion_ops.lake.lease import Lease
from emotion_ops.lake.provenance import FINGERPRINT_KEY, LINEAGE_KEY

CELLS = [jpeg(0, 40, 40), None, jpeg(1, 40, 40), b"broken", jpeg(2, 40, 40), jpeg(3, 40, 40), jpeg(4, 40, 40)]


def table() -> pa.Table:
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), metadata={"unit": "none"}),
            ("image", pa.binary()),
            ("kind", pa.dictionary(pa.int8(), pa.string())),
        ],
        metadata={"owner": "x"},
    )
    return pa.table(
        {
            "id": range(7),
            "image": CELLS,
            "kind": pa.array(["a", "b", None, "a", "b", "a", "a"])
            .dictionary_encode()
            .cast(pa.dictionary(pa.int8(), pa.string())),
        },
        schema=schema,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for part in ("day=1", "day=2"):
        (tmp_path / "source" / part).mkdir(parents=True)
        pq.write_table(table(), tmp_path / "source" / part / "rows.parquet", row_group_size=3)
    (tmp_path / "source" / "_SUCCESS").touch()
    (tmp_path / "source" / ".hidden.parquet").write_bytes(b"not a file of the dataset")
    return tmp_path / "source"


@pytest.fixture
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model)


def test_every_file_gets_an_output_in_the_same_place_with_the_values_of_the_operator(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    report = enrich_dataset(source, tmp_path / "out", operator)
    assert (report.files, report.rows, report.good_rows) == (2, 14, 10)
    assert report.errors == {"missing": 2, "unsupported": 2}
    expected = operator(table())
    for part in ("day=1", "day=2"):
        out = pq.ParquetFile(tmp_path / "out" / part / "rows.parquet")
        assert out.schema_arrow.equals(operator.output_schema(table().schema), check_metadata=False)
        read = out.read()
        exact = [name for name in read.column_names if not pa.types.is_floating(read.schema.field(name).type)]
        assert read.select(exact).equals(expected.select(exact))
        for name in operator.output_columns().probabilities:
            assert read.column(name).to_pylist() == pytest.approx(expected.column(name).to_pylist(), abs=1e-6)
        assert read.schema.field("id").metadata[b"unit"] == b"none"
        assert out.metadata.metadata[b"owner"] == b"x"
        assert json.loads(out.metadata.metadata[LINEAGE_KEY])["revision"] == report.lineage["revision"]
        assert FINGERPRINT_KEY in out.metadata.metadata


def test_arrow_pandas_and_polars_read_the_output_as_one_dataset_without_the_metadata_folder(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    import pandas as pd

    enrich_dataset(source, tmp_path / "out", operator, columns=["-kind"])
    assert (tmp_path / "out" / "_emotion_ops" / "report.json").exists()
    assert ds.dataset(tmp_path / "out", partitioning="hive").count_rows() == 14
    assert len(pd.read_parquet(tmp_path / "out")) == 14
    assert pl.scan_parquet(tmp_path / "out" / "**" / "*.parquet", hive_partitioning=True).collect().height == 14


def test_a_second_run_skips_finished_outputs_and_enriches_new_and_changed_files(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    enrich_dataset(source, out, operator)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    again = enrich_dataset(source, out, operator)
    assert (again.files, again.skipped, again.rows) == (0, 2, 0)
    pq.write_table(table().slice(0, 2), source / "day=2" / "rows.parquet")
    pq.write_table(table(), source / "new.parquet")
    third = enrich_dataset(source, out, operator)
    assert (third.files, third.skipped, third.rows) == (2, 1, 9)
    assert {file.action for file in third.planned} == {"skip", "changed", "new"}
    assert pq.read_metadata(out / "day=2" / "rows.parquet").num_rows == 2
    first = out / "day=1" / "rows.parquet"
    assert first.stat().st_mtime_ns == stamps[first]


def test_another_option_is_refused_by_name_and_overwrite_replaces_the_output(
    source: Path, operator: ClassifyEmotions, tiny_model: str, tmp_path: Path
) -> None:
    enrich_dataset(source, tmp_path / "out", operator)
    other = ClassifyEmotions(model=tiny_model, limits=Limits(max_pixels=900))
    with pytest.raises(DestinationConflictError, match="max_pixels: 100000000 there, 900 now"):
        enrich_dataset(source, tmp_path / "out", other)
    report = enrich_dataset(source, tmp_path / "out", other, overwrite=True)
    assert report.errors == {"missing": 2, "too_large": 10, "unsupported": 2}


def test_new_weights_with_the_same_name_are_refused_too(source: Path, tmp_path: Path) -> None:
    from emotion_ops.testing import save_tiny_model

    model = save_tiny_model(tmp_path / "model")
    enrich_dataset(source, tmp_path / "out", ClassifyEmotions(model=str(model)))
    save_tiny_model(model, seed=8)
    with pytest.raises(DestinationConflictError, match="weights_sha256"):
        enrich_dataset(source, tmp_path / "out", ClassifyEmotions(model=str(model)))


def test_a_file_that_this_package_did_not_write_is_not_replaced(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    (tmp_path / "out" / "day=1").mkdir(parents=True)
    theirs = tmp_path / "out" / "day=1" / "rows.parquet"
    pq.write_table(pa.table({"mine": [1]}), theirs)
    with pytest.raises(DestinationConflictError, match="not written by this package"):
        enrich_dataset(source, tmp_path / "out", operator)
    assert pq.read_table(theirs).column_names == ["mine"]
    assert not (tmp_path / "out" / "day=2").exists()


def test_an_orphaned_output_is_reported_and_removed_only_by_prune(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    enrich_dataset(source, out, operator)
    pq.write_table(pa.table({"mine": [1]}), out / "theirs.parquet")
    (source / "day=2" / "rows.parquet").unlink()
    report = enrich_dataset(source, out, operator)
    assert (report.orphaned, report.pruned) == (("day=2/rows.parquet",), ())
    assert (out / "day=2" / "rows.parquet").exists()
    assert enrich_dataset(source, out, operator, prune=True).pruned == ("day=2/rows.parquet",)
    assert not (out / "day=2" / "rows.parquet").exists()
    assert (out / "theirs.parquet").exists()


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ("all", ["id", "image", "kind"]),
        ("none", []),
        (["kind", "id"], ["id", "kind"]),
        ("-image", ["id", "kind"]),
        (["-id", "-kind"], ["image"]),
    ],
)
def test_columns_chooses_what_passes_through(
    source: Path, operator: ClassifyEmotions, tmp_path: Path, columns: Any, names: list[str]
) -> None:
    enrich_dataset(source, tmp_path / "out", operator, columns=columns)
    out = pq.read_table(tmp_path / "out" / "day=1" / "rows.parquet", partitioning=None)
    assert out.column_names == [*names, *operator.appended_schema().names]
    assert out.num_rows == 7


def test_columns_that_do_not_exist_are_refused_before_any_work(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for columns in (["nothing"], "-nothing"):
        with pytest.raises(ColumnNotFoundError, match="nothing"):
            enrich_dataset(source, tmp_path / "out", operator, columns=columns)
    with pytest.raises(OptionError, match="not both"):
        enrich_dataset(source, tmp_path / "out", operator, columns=["id", "-image"])
    assert not (tmp_path / "out").exists()


def test_each_file_of_a_sharded_job_is_enriched_once(source: Path, operator: ClassifyEmotions, tmp_path: Path) -> None:
    for number in range(40):
        pq.write_table(table().slice(0, 2), source / f"{number}.parquet")
    reports = [enrich_dataset(source, tmp_path / "out", operator, shard=(i, 3)) for i in range(3)]
    assert sum(report.files for report in reports) == 42
    assert all(0 < report.files < 42 for report in reports)
    whole = enrich_dataset(source, tmp_path / "out", operator)
    assert (whole.skipped, whole.files, whole.orphaned) == (42, 0, ())


def test_a_glob_and_a_list_and_a_single_file_are_sources_too(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    assert enrich_dataset(f"{source}/day=*/r*.parquet", tmp_path / "glob", operator).files == 2
    (source / "day=2" / "rows.parquet").rename(source / "day=2" / "other.parquet")
    listed = enrich_dataset([source / "day=1", source / "day=2" / "other.parquet"], tmp_path / "list", operator)
    outputs = sorted(path.relative_to(tmp_path / "list").as_posix() for path in (tmp_path / "list").rglob("*.parquet"))
    assert outputs == ["day=1/rows.parquet", "day=2/other.parquet"]
    assert listed.files == 2
    (source / "day=2" / "other.parquet").rename(source / "day=2" / "rows.parquet")
    report = enrich_dataset(source / "day=1" / "rows.parquet", tmp_path / "one" / "named.parquet", operator)
    assert report.files == 1
    assert pq.read_metadata(tmp_path / "one" / "named.parquet").num_rows == 7
    with pytest.raises(DatasetError, match="two sources have a file of this name"):
        enrich_dataset([source / "day=1", source / "day=1" / "rows.parquet"], tmp_path / "twice", operator)


def test_a_dry_run_plans_and_writes_nothing(source: Path, operator: ClassifyEmotions, tmp_path: Path) -> None:
    report = enrich_dataset(source, tmp_path / "out", operator, dry_run=True)
    assert [(file.action, file.rows) for file in report.planned] == [("new", 7), ("new", 7)]
    assert report.dry_run
    assert not (tmp_path / "out").exists()


def test_limit_stops_after_so_many_files_and_the_next_run_continues(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    assert enrich_dataset(source, tmp_path / "out", operator, limit=1).files == 1
    rest = enrich_dataset(source, tmp_path / "out", operator)
    assert (rest.files, rest.skipped) == (1, 1)


def test_an_impossible_source_or_destination_is_refused_before_any_work(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    whole = (source / "day=1" / "rows.parquet").read_bytes()
    (tmp_path / "torn" / "rows.parquet").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"image": [1, 2]}), tmp_path / "numbers.parquet")
    for bad, words in (
        (tmp_path / "nowhere", "no such Parquet file"),
        (tmp_path / "empty", "no such Parquet file"),
        (tmp_path / "torn", "not a complete Parquet file"),
    ):
        with pytest.raises(DatasetError, match=words):
            enrich_dataset(bad, tmp_path / "out", operator)
    with pytest.raises(ColumnTypeError):
        enrich_dataset(tmp_path / "numbers.parquet", tmp_path / "out", operator)
    with pytest.raises(DatasetError, match="is both source and destination"):
        enrich_dataset(source / "day=1" / "rows.parquet", source, operator)
    with pytest.raises(DatasetError, match="is in the source"):
        enrich_dataset(source, source / "out", operator)
    assert not (tmp_path / "out").exists()


def test_over_the_error_budget_the_job_stops_and_its_results_stay_in_the_journal(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for budget in ({"max_errors": 1}, {"max_error_rate": 0.1}):
        out = tmp_path / str(budget)
        with pytest.raises(ErrorBudgetExceededError, match=r"of [\d,]+ rows failed"):
            enrich_dataset(source, out, operator, **budget)
        entries = len(list(out.rglob("*.arrow")))
        assert entries > 0
        report = enrich_dataset(source, out, operator)
        assert report.rows_from_journal > 0
        assert report.rows == 14 - 7 * report.skipped
        assert not list(out.rglob("*.arrow"))


def test_on_error_raise_names_the_file_the_row_group_and_the_row(source: Path, tiny_model: str, tmp_path: Path) -> None:
    with pytest.raises(RowFailedError, match=r"day=1/rows.parquet, row group 0, row 1 of column 'image': missing"):
        enrich_dataset(source, tmp_path / "out", ClassifyEmotions(model=tiny_model, on_error="raise"))
    assert not list((tmp_path / "out").glob("day=*/*.parquet"))


def test_on_error_drop_leaves_the_failed_rows_out_and_counts_them(
    source: Path, tiny_model: str, tmp_path: Path
) -> None:
    report = enrich_dataset(source, tmp_path / "out", ClassifyEmotions(model=tiny_model, on_error="drop"))
    assert report.errors == {"missing": 2, "unsupported": 2}
    assert pq.read_table(tmp_path / "out" / "day=1" / "rows.parquet", columns=["id"]).column("id").to_pylist() == [
        0,
        2,
        4,
        5,
        6,
    ]


def test_files_without_rows_are_enriched_too(operator: ClassifyEmotions, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    pq.write_table(table().slice(0, 0), tmp_path / "source" / "none.parquet")
    report = enrich_dataset(tmp_path / "source", tmp_path / "out", operator)
    assert (report.files, report.rows) == (1, 0)
    assert pq.read_table(tmp_path / "out" / "none.parquet").schema.names == operator.output_schema(table().schema).names
    assert enrich_dataset(tmp_path / "source", tmp_path / "out", operator).skipped == 1


def test_the_lease_of_a_living_run_is_respected_and_that_of_a_dead_run_is_not(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    import time
    from dataclasses import asdict, replace

    home = tmp_path / "out" / "_emotion_ops" / "leases"
    home.mkdir(parents=True)
    mine = Lease.create("", os.getppid())
    path = home / "000001.json"
    for living in (mine, replace(mine, host="elsewhere", machine="elsewhere/boot/namespace", process=2**22 - 1)):
        path.write_text(json.dumps(asdict(living)))
        with pytest.raises(DestinationConflictError, match=f"process {living.process} on {living.host} is writing"):
            enrich_dataset(source, tmp_path / "out", operator)
    for dead, age in (
        (replace(mine, process=2**22 - 1), 0),  # there is no such process
        (replace(mine, process_start="1"), 0),  # its number belongs to another process by now
        (replace(mine, machine="elsewhere/boot/namespace"), 61),  # no sign of life, by the clock of the disk
        (replace(mine, renewed_at=time.time() + 9999), 61),  # its own clock counts for nothing
    ):
        path.write_text(json.dumps(asdict(dead)))
        os.utime(path, (time.time() - age, time.time() - age))
        enrich_dataset(source, tmp_path / "out", operator)
        assert list(home.iterdir()) == []


def test_a_filesystem_of_fsspec_gives_the_same_outputs(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(source / "day=1"), "/lake/day=1", recursive=True)
    report = enrich_dataset("memory://lake", "memory://enriched", operator)
    assert report.files == 1
    with memory.open("/enriched/day=1/rows.parquet") as file:
        assert pq.read_table(file).num_rows == 7
    assert enrich_dataset("memory://lake", "memory://enriched", operator).skipped == 1
    assert not [path for path in memory.find("/enriched") if path.endswith((".arrow", ".tmp"))]


def test_a_slow_store_does_not_delay_rows_that_were_read(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    first_result = threading.Event()

    class Slow(MemoryFileSystem):
        """Opens a second source to be read only when row groups of the first are first_result."""

        protocol = "slow"
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return MemoryFileSystem._strip_protocol(path.removeprefix("slow:/"))

        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            if threading.current_thread().name.startswith("emotion-ops-read") and "day=2" in path:
                assert first_result.wait(60), "no row group was finished while the second file was slow"
            return super()._open(path, mode, **options)

    fsspec.register_implementation("slow", Slow, clobber=True)
    fsspec.filesystem("slow").put(str(source), "/lake", recursive=True)
    operator = replace(operator, batch_size=2)  # the images of its first row group fill one
    report = enrich_dataset("slow://lake", tmp_path / "out", operator, on_progress=lambda _: first_result.set())
    assert report.files == 2
    assert pq.read_table(tmp_path / "out" / "day=2" / "rows.parquet").num_rows == 7


def test_no_secret_of_a_root_is_written_into_a_footer(source: Path, tiny_model: str, tmp_path: Path) -> None:
    operator = ClassifyEmotions(
        model=tiny_model, access=Access(root="s3://key:sesame-4711@bucket/images?secret_key=sesame-4711")
    )
    enrich_dataset(source, tmp_path / "out", operator)
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"sesame-4711" not in path.read_bytes()
    assert enrich_dataset(source, tmp_path / "out", operator).skipped == 2


def test_an_output_can_be_a_source_and_its_footer_is_not_copied(
    source: Path, operator: ClassifyEmotions, tiny_model: str, tmp_path: Path
) -> None:
    enrich_dataset(source, tmp_path / "first", operator)
    second = ClassifyEmotions(model=tiny_model, prefix="second")
    enrich_dataset(tmp_path / "first", tmp_path / "second", second)
    for name in ("first", "second"):
        assert (
            enrich_dataset(
                source if name == "first" else tmp_path / "first",
                tmp_path / name,
                operator if name == "first" else second,
            ).skipped
            == 2
        )
    footer = pq.read_metadata(tmp_path / "second" / "day=1" / "rows.parquet").metadata
    assert json.loads(footer[FINGERPRINT_KEY])["operator"]["prefix"] == "second"


def test_two_jobs_for_single_files_in_one_folder_do_not_touch_each_others_journals(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    rows = source / "day=1" / "rows.parquet"
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(rows, tmp_path / "out" / "a.parquet", operator, max_errors=0)
    entries = len(list(tmp_path.glob("out/_emotion_ops/journal/*/*/*.arrow")))
    assert entries > 0
    enrich_dataset(rows, tmp_path / "out" / "b.parquet", operator)
    assert len(list(tmp_path.glob("out/_emotion_ops/journal/*/*/*.arrow"))) == entries
    assert enrich_dataset(rows, tmp_path / "out" / "a.parquet", operator).rows_from_journal > 0


def test_wildcards_in_an_existing_name_are_part_of_the_name(operator: ClassifyEmotions, tmp_path: Path) -> None:
    (tmp_path / "[old]").mkdir()
    pq.write_table(table(), tmp_path / "[old]" / "what?.parquet")
    assert enrich_dataset(tmp_path / "[old]", tmp_path / "out", operator).files == 1
    assert enrich_dataset(tmp_path / "[old]" / "what?.parquet", tmp_path / "out", operator).skipped == 1
