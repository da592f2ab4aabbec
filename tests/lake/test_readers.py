"""All readers of an enriched dataset see the same rows, also after a job was killed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from kills import Killer
from pictures import jpeg

from emotion_ops import ClassifyEmotions, enrich_dataset

PARTS = ("year=2024/month=1", "year=2024/month=2", "year=2025/month=1")
pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
Read = Callable[[Path], pa.Table]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three partitions two levels deep, two files in each, rows that fail in every file."""
    folder = tmp_path_factory.mktemp("source")
    number = 0
    for part in PARTS:
        (folder / part).mkdir(parents=True)
        for name in ("a", "b"):
            cells = [jpeg(number, 40, 40), None, b"broken", jpeg(number + 1, 40, 40)]
            rows = {
                "id": pa.array(range(number, number + 4), pa.int64()),
                "name": pa.array([f"né {number}", None, "", "日本"]),
                "size": pa.array([1.5, None, -0.0, 2.0], pa.float32()),
                "image": pa.array(cells, pa.binary()),
            }
            pq.write_table(pa.table(rows), folder / part / f"{name}.parquet", row_group_size=2)
            number += 4
    return folder


@pytest.fixture(scope="module")
def killed(source: Path, tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A destination whose job was killed when it published its fourth file: three outputs, a spool file and journals."""
    folder = tmp_path_factory.mktemp("killed")
    killer = Killer(source, tiny_model)
    steps = killer(folder / "whole")["steps"]
    fourth = [number for number, step in enumerate(steps, 1) if step == "folder.publish b.parquet call"][1]
    assert killer(folder / "out", step=fourth)["killed"]
    killer.close()
    return folder / "out"


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none here")
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.driver.memory", "1g")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def by_arrow(folder: Path) -> pa.Table:
    return ds.dataset(folder, partitioning="hive").to_table()


def by_pandas(folder: Path) -> pa.Table:
    frame = pd.read_parquet(folder)
    assert {str(frame[name].dtype) for name in frame if name.startswith("emotion_") and name != "emotion_error"} == {
        "float32"
    }
    return pa.Table.from_pandas(frame, preserve_index=False)


def by_polars(folder: Path) -> pa.Table:
    return pl.scan_parquet(folder / "**" / "*.parquet", hive_partitioning=True).collect().to_arrow()


def by_duckdb(folder: Path) -> pa.Table:
    query = f"select * from read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    with duckdb.connect() as connection:
        return connection.sql(query).to_arrow_table()


READERS = {"pyarrow": by_arrow, "pandas": by_pandas, "polars": by_polars, "duckdb": by_duckdb}


@pytest.fixture(params=[*READERS, pytest.param("spark", marks=pytest.mark.spark)])
def read(request: pytest.FixtureRequest) -> Read:
    if request.param != "spark":
        return READERS[request.param]
    session = request.getfixturevalue("spark")
    return lambda folder: session.read.parquet(str(folder)).toArrow()


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows by id, independent of the order of columns and of the reader's types and nulls."""
    plain = [
        {
            name: None if value is None or (isinstance(value, float) and math.isnan(value)) else value
            for name, value in row.items()
        }
        for row in table.to_pylist()
    ]
    return sorted(plain, key=lambda row: row.get("id", 0))


def expected(source: Path, destination: Path) -> pa.Table:
    """The files one by one, with the values that their folders name."""
    tables = []
    for path in sorted(destination.glob("year=*/month=*/*.parquet")):
        year, month = (part.partition("=")[2] for part in path.relative_to(destination).parts[:2])
        table = pq.ParquetFile(path).read().append_column("year", pa.array([int(year)] * 4))
        tables.append(table.append_column("month", pa.array([int(month)] * 4)))
        assert table.num_rows == pq.read_metadata(source / path.relative_to(destination)).num_rows
    return pa.concat_tables(tables)


@pytest.mark.parametrize("columns", ["all", "-image", "none"])
def test_every_reader_sees_the_same_rows_and_partitions_and_no_hidden_file(
    columns: str, read: Read, source: Path, tiny_model: str, tmp_path: Path
) -> None:
    operator = ClassifyEmotions(model=tiny_model)
    assert enrich_dataset(source, tmp_path / "out", operator, columns=columns).rows == 24
    table, right = read(tmp_path / "out"), expected(source, tmp_path / "out")
    assert set(table.column_names) == set(right.column_names)
    for name in operator.output_columns().probabilities:
        assert table.schema.field(name).type == pa.float32()
    if columns == "none":  # nothing to order the rows by
        assert sorted(map(repr, right.to_pylist())) == sorted(
            repr({name: row[name] for name in right.column_names}) for row in rows(table)
        )
    else:
        assert rows(table) == rows(right)
    assert {(row["year"], row["month"]) for row in rows(table)} == {(2024, 1), (2024, 2), (2025, 1)}
    errors = [row["emotion_error"] for row in rows(table)]
    assert sum(error is None for error in errors) == 12
    assert all((row["emotion"] is None) == (row["emotion_error"] is not None) for row in rows(table))


@pytest.mark.kills
def test_after_a_kill_every_reader_sees_the_complete_files_only(read: Read, source: Path, killed: Path) -> None:
    left = {path.suffix for path in (killed / "_emotion_ops").rglob("*") if path.is_file()}
    assert {".tmp", ".arrow", ".json"} <= left
    table = read(killed)
    assert table.num_rows == 12
    assert rows(table) == rows(expected(source, killed))


@pytest.mark.kills
def test_no_file_in_the_metadata_folder_is_named_like_a_parquet_file(killed: Path) -> None:
    """Polars and DuckDB look at names only, and their globs enter hidden folders."""
    assert not list((killed / "_emotion_ops").rglob("*.parquet"))
