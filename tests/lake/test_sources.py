"""Which files a source names, where their outputs go, and what is refused before anything is written."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions, DatasetError, diff_datasets, enrich_dataset, verify_dataset
from emotion_ops.lake.sources.parquet_files import find_sources
from emotion_ops.lake.targets.folder import Folder

REGION = "?region=us-east-1"  # or Arrow asks the bucket for it


@pytest.fixture
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model)


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": [1, 2], "image": [jpeg(0, 40, 40), None]}), path)
    return path


def keys(source: str | list[str]) -> list[str]:
    return [file.key for file in find_sources(source)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"s3://bkt/data{REGION}", f"s3a://bkt/data/{REGION}"),
        (f"s3://bkt/data{REGION}", f"s3n://bkt/data{REGION}"),
        (f"s3://bkt/data{REGION}", f"s3://user:pw@bkt/data{REGION}"),
        (f"s3://bkt/data{REGION}", "s3://bkt/data?region=eu-west-1"),
        (f"s3://bkt/data{REGION}", "fsspec+s3://bkt/data"),
        (f"s3://bkt/data{REGION}", "fsspec+s3a://bkt/data"),
        ("memory://lake/data", "memory:///lake/./data/"),
        ("memory://lake/data", "fsspec+memory://lake/data"),
        ("/tmp/data", "file:///tmp/data"),
        ("/tmp/data", "FILE://localhost/tmp/x/../data/"),
        ("/tmp/data", "fsspec+file:///tmp/data"),
    ],
)
def test_all_spellings_of_a_place_have_one_identity(one: str, other: str) -> None:
    assert Folder(one).identity() == Folder(other).identity()
    assert Folder(one).identity("a/b.parquet") == Folder(other).child("a").identity("b.parquet")
    assert Folder(one).identity() != Folder(other).child("a").identity()


def test_another_spelling_of_the_source_is_refused_as_destination(operator: ClassifyEmotions, tmp_path: Path) -> None:
    before = put(tmp_path / "s" / "a.parquet").read_bytes()
    for destination, words in (
        (f"fsspec+file://{tmp_path}/s", "is both source and destination"),
        (f"fsspec+file://{tmp_path}/s/out", "is in the source"),
        (f"FILE://{tmp_path}/s/out", "is in the source"),
    ):
        with pytest.raises(DatasetError, match=words):
            enrich_dataset(tmp_path / "s", destination, operator, overwrite=True)
    assert [path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()] == [before]


def test_files_with_usual_parquet_names_are_found_and_a_warning_names_the_others(
    operator: ClassifyEmotions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.parquet", "b.PARQUET", "c.pq", "d.Parq", "000000_0", "_hidden"):
        put(tmp_path / "s" / name)
    (tmp_path / "s" / "empty").touch()
    with caplog.at_level(logging.WARNING, "emotion_ops"):
        assert keys(str(tmp_path / "s")) == ["a.parquet", "b.PARQUET", "c.pq", "d.Parq"]
    [warning] = caplog.records
    assert "1 file is left out" in warning.getMessage()
    assert "000000_0" in warning.getMessage()
    assert keys(f"{tmp_path}/s/0*") == ["000000_0"]
    assert enrich_dataset(tmp_path / "s", tmp_path / "out", operator).files == 4
    report = verify_dataset(tmp_path / "s", tmp_path / "out")
    assert (report.proven, report.files) == (True, 4)
    (tmp_path / "s" / "c.pq").unlink()
    assert enrich_dataset(tmp_path / "s", tmp_path / "out", operator).orphaned == ("c.pq",)


def test_two_stars_match_no_folder_too(tmp_path: Path) -> None:
    for name in ("top.parquet", "a/one.parquet", "a/b/two.parquet", "top.csv"):
        put(tmp_path / "s" / name)
    every = ["a/b/two.parquet", "a/one.parquet", "top.parquet"]
    assert keys(f"{tmp_path}/s/**/*.parquet") == every
    assert keys(f"{tmp_path}/s/*.parquet") == every
    assert keys(f"{tmp_path}/**/s/**/**/t*.parquet") == ["s/a/b/two.parquet", "s/top.parquet"]
    assert keys(f"{tmp_path}/s/a/**/two.parquet") == ["b/two.parquet"]


def test_a_hidden_file_needs_an_output_that_readers_see(operator: ClassifyEmotions, tmp_path: Path) -> None:
    hidden = put(tmp_path / "_a.parquet")
    with pytest.raises(DatasetError, match=r"_a\.parquet: has a name that readers skip.*; give the output a name"):
        enrich_dataset(hidden, tmp_path / "out", operator)
    assert not (tmp_path / "out").exists()
    assert enrich_dataset(hidden, tmp_path / "out" / "a.parquet", operator).files == 1


def test_files_named_in_a_partition_stay_in_it(
    operator: ClassifyEmotions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for year in (2023, 2024):
        put(tmp_path / "s" / f"year={year}" / "m=1" / "p.parquet")
    place = "year=2024/m=1/p.parquet"
    partition = f"{tmp_path}/s/year=2024"
    for source in (partition, f"{partition}/", f"{partition}/m=1/*.parquet", f"{tmp_path}/s/{place}"):
        assert keys(source) == [place]
    assert keys([partition, f"{tmp_path}/s/year=2023"]) == [place, "year=2023/m=1/p.parquet"]
    monkeypatch.chdir(tmp_path / "s")
    assert keys("year=2024") == [place]
    report = enrich_dataset(["year=2023", "year=2024"], tmp_path / "out", operator)
    assert report.files == 2
    assert enrich_dataset(tmp_path / "s", tmp_path / "out", operator).skipped == 2
    assert pq.read_table(tmp_path / "out").column("year").to_pylist() == [2023, 2023, 2024, 2024]
    differing = diff_datasets(tmp_path / "out" / "year=2023", tmp_path / "out" / "year=2024")
    assert (differing.files, differing.files_only_in_a, differing.changes) == (1, (), 0)


def test_a_bucket_is_not_a_partition() -> None:
    import fsspec

    with fsspec.filesystem("memory").open("/kind=lake/year=2024/p.parquet", "wb") as file:
        pq.write_table(pa.table({"id": [1]}), file)
    assert keys("memory://kind=lake/year=2024") == ["year=2024/p.parquet"]
    assert keys("memory://kind=lake") == ["year=2024/p.parquet"]


def test_file_uris_are_decoded(tmp_path: Path) -> None:
    path = put(tmp_path / "x y" / "50% ö.parquet")
    for uri in (
        path.as_uri(),
        path.as_uri().replace("file://", "FILE://localhost"),
        path.as_uri().replace("file://", "file:"),
        path.parent.as_uri(),
        f"{path.parent.as_uri()}/*.parquet",
    ):
        assert keys(uri) == [path.name]
    assert Folder(path.parent.as_uri()).uri == str(path.parent)
    with pytest.raises(DatasetError, match="names another machine"):
        find_sources("file://server/share/a.parquet")


def test_a_source_inside_the_destination_is_refused(operator: ClassifyEmotions, tmp_path: Path) -> None:
    rows = put(tmp_path / "o" / "raw" / "a.parquet")
    out = tmp_path / "o"
    for source, destination in ((out / "raw", out), (rows, out), (f"{out}/raw/*.parquet", out)):
        with pytest.raises(DatasetError, match=r"raw.* is in the destination"):
            enrich_dataset(source, destination, operator)
    with pytest.raises(DatasetError, match="is in the quarantine"):
        enrich_dataset(rows, tmp_path / "other", operator, quarantine=out)
    with pytest.raises(DatasetError, match="is in the quarantine"):
        enrich_dataset(rows, tmp_path / "around" / "other", operator, quarantine=tmp_path / "around")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [rows]
    (out / "raw").rename(out / "_raw")
    assert enrich_dataset(out / "_raw", out, operator).files == 1
    assert enrich_dataset(out / "_raw", tmp_path / "o" / "named.parquet", operator).files == 1
