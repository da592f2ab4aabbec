"""A destination is proven against its source, and each kind of damage is found, with its place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from enriched import in_order, rewrite, table, with_cell, write_source

from emotion_ops import ClassifyEmotions, DatasetError, OptionError, enrich_dataset, verify_dataset
from emotion_ops.lake.audit.proof import DROPPED, NO_COLUMNS, NOT_INSTALLED
from emotion_ops.lake.fingerprint import Fingerprint
from emotion_ops.lake.provenance import FINGERPRINT_KEY, LINEAGE_KEY
from emotion_ops.operators.base import METADATA_KEY
from emotion_ops.testing.operators import ImageStatistics

FILE = "day=1/rows.parquet"


@pytest.fixture(scope="module")
def made(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source and its outputs under several options, made once."""
    home = tmp_path_factory.mktemp("verify")
    source = write_source(home / "source")
    enrich_dataset(source, home / "all", ClassifyEmotions(model=tiny_model))
    enrich_dataset(source, home / "some", ClassifyEmotions(model=tiny_model), columns=["-image", "-boxes"])
    enrich_dataset(source, home / "none", ClassifyEmotions(model=tiny_model, prefix="e"), columns="none")
    enrich_dataset(source, home / "drop", ClassifyEmotions(model=tiny_model, on_error="drop"), row_group_rows=2)
    enrich_dataset(source / "day=1", home / "one.parquet", ClassifyEmotions(model=tiny_model))
    return home


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy with the times of the files, which are part of a source's identity."""
    for name in ("source", "all", "drop"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("destination", "rows", "unproven"),
    [("all", 14, {}), ("some", 14, {}), ("none", 14, {NO_COLUMNS: 2}), ("drop", 10, {DROPPED: 2})],
)
def test_what_enrich_wrote_is_proven_and_the_report_says_what_cannot_be(
    made: Path, destination: str, rows: int, unproven: dict[str, int]
) -> None:
    report = verify_dataset(made / "source", made / destination)
    assert report.proven, report.problems
    assert (report.files, report.rows, report.unproven) == (2, rows, unproven)
    assert report.dropped == 14 - rows
    assert report.errors == ({} if destination == "drop" else {"missing": 2, "unsupported": 2})
    assert set(report.lineage) == {"operator", "package_version", "model", "revision"}
    assert json.loads(json.dumps(report.to_dict()))["proven"] is True


def test_a_single_output_file_a_glob_and_files_without_rows_are_proven_too(
    made: Path, tiny_model: str, tmp_path: Path
) -> None:
    assert verify_dataset(made / "source" / "day=1" / "rows.parquet", made / "one.parquet").proven
    assert verify_dataset(f"{made}/source/day=*/rows.parquet", made / "all").proven
    (tmp_path / "source").mkdir()
    pq.write_table(table().slice(0, 0), tmp_path / "source" / "none.parquet")
    enrich_dataset(tmp_path / "source", tmp_path / "out", ClassifyEmotions(model=tiny_model))
    report = verify_dataset(tmp_path / "source", tmp_path / "out")
    assert (report.proven, report.files, report.rows) == (True, 1, 0)


def test_a_filesystem_of_fsspec_is_verified_by_its_uri(made: Path, tiny_model: str) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(made / "source" / "day=1"), "/verify-source/day=1", recursive=True)
    enrich_dataset("memory://verify-source", "memory://verify-out", ClassifyEmotions(model=tiny_model))
    assert verify_dataset("memory://verify-source", "memory://verify-out").proven
    memory.rm(f"/verify-out/{FILE}")
    assert verify_dataset("memory://verify-source", "memory://verify-out").counts == {"missing_output": 1}


def without(column: str) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.drop_columns([column])


def swapped_labels(rows: pa.Table) -> pa.Table:
    labels = rows.column("emotion").to_pylist()
    other = next(name for name in ("sad", "happy") if name != labels[0])
    return with_cell("emotion", 0, other)(rows)


def without_field_metadata(rows: pa.Table) -> pa.Table:
    return rows.set_column(0, pa.field("id", pa.int64()), rows.column(0))


BYTE = bytearray(table().column("image")[4].as_py())
BYTE[200] ^= 1
DAMAGES: dict[str, tuple[Callable[[pa.Table], pa.Table], dict[str, int], int | None, str]] = {
    "a row is lost": (in_order(0, 1, 2, 4, 5, 6), {"rows": 1, "content": 1}, None, "has 6 rows, its source 7"),
    "the last row is lost": (in_order(0, 1, 2, 3, 4, 5), {"rows": 1}, None, "has 6 rows, its source 7"),
    "a row is doubled": (in_order(0, 1, 2, 2, 3, 4, 5, 6), {"rows": 1, "content": 1}, None, "has 8 rows"),
    "two rows are swapped": (in_order(0, 1, 2, 3, 5, 4, 6), {"content": 2}, 4, "differs from the source's row in 'id'"),
    "one bit of an image": (with_cell("image", 4, bytes(BYTE)), {"content": 1}, 4, "source's row in 'image'"),
    "a zero lost its sign": (with_cell("weight", 1, 0.0), {"content": 1}, 1, "source's row in 'weight'"),
    "a null became NaN": (with_cell("weight", 3, float("nan")), {"content": 1}, 3, "source's row in 'weight'"),
    "a null became empty": (with_cell("boxes", 2, []), {"content": 1}, 2, "source's row in 'boxes'"),
    "deep in a list": (with_cell("boxes", 0, [[1.0, 1.0]]), {"content": 1}, 0, "source's row in 'boxes'"),
    "deep in a struct": (with_cell("who", 2, {"name": "", "age": 2}), {"content": 1}, 2, "source's row in 'who'"),
    "deep in a map": (with_cell("tags", 3, [("b", 0)]), {"content": 1}, 3, "source's row in 'tags'"),
    "a word of a dictionary": (with_cell("kind", 5, "b"), {"content": 1}, 5, "source's row in 'kind'"),
    "a probability of 1.2": (with_cell("emotion_sad", 2, 1.2), {"results": 1}, 2, "emotion_sad is 1.2, which is not a p"),
    "a probability below 0": (with_cell("emotion_fear", 2, -0.1), {"results": 1}, 2, "emotion_fear is -0.1, which is not"),
    "a probability is NaN": (with_cell("emotion_sad", 2, float("nan")), {"results": 1}, 2, "emotion_sad is nan, which is not"),
    "a probability is null": (with_cell("emotion_sad", 2, None), {"results": 1}, 2, "neither a whole result nor an error"),
    "they do not sum to 1": (with_cell("emotion_happy", 2, 0.5), {"results": 1}, 2, "the probabilities sum to 1."),
    "a label is another": (swapped_labels, {"results": 1}, 0, "but its result gives"),
    "a label is none of them": (with_cell("emotion", 0, "bored"), {"results": 1}, 0, "emotion is 'bored', but its result"),
    "a label is null": (with_cell("emotion", 0, None), {"results": 1}, 0, "emotion is None, but its result gives"),
    "a good row has an error": (with_cell("emotion_error", 0, "missing: it"), {"results": 1}, 0, "has a value next to its error"),
    "a failed row has a label": (with_cell("emotion", 1, "sad"), {"results": 1}, 1, "has a value next to its error"),
    "a failed row says nothing": (with_cell("emotion_error", 1, None), {"results": 1}, 1, "neither a whole result"),
    "a code that is none": (with_cell("emotion_error", 1, "lost: it"), {"results": 1}, 1, "unknown code 'lost'"),
    "a column is gone": (without("weight"), {"schema": 1}, None, "instead of ['id', 'image', 'weight'"),
    "a result is gone": (without("emotion_sad"), {"schema": 1}, None, "not those of its fingerprint"),
    "metadata is gone": (lambda rows: rows.replace_schema_metadata(None), {"schema": 1}, None, "metadata is not that"),
    "a field's metadata is gone": (without_field_metadata, {"schema": 1}, None, "column 'id' is int64, in the source"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_to_the_rows_is_found_and_nothing_else(copy: Path, name: str) -> None:
    change, counts, row, words = DAMAGES[name]
    rewrite(copy / "all" / FILE, change)
    report = verify_dataset(copy / "source", copy / "all")
    assert report.counts == counts, report.problems
    assert not report.proven
    assert {problem.file for problem in report.problems} == {FILE}
    found = [problem for problem in report.problems if words in problem.what]
    assert found, report.problems
    assert found[0].row == row


@pytest.mark.parametrize(
    ("footer", "counts", "words"),
    [
        ({FINGERPRINT_KEY: None}, {"not_enriched": 1}, "no fingerprint in its footer"),
        ({LINEAGE_KEY: None}, {"lineage": 6}, "model is None in its lineage"),
        ({b"revision": b"a" * 40}, {"lineage": 2}, f"revision is {'a' * 40!r}"),
        ({b"package_version": b"0.0.9"}, {"lineage": 2}, "package_version is '0.0.9'"),
        ({b"recipe": b"0" * 64}, {"lineage": 1}, "recipe is '000"),
        ({b"weights_sha256": b"0" * 64}, {"lineage": 2}, "weights_sha256 is '000"),
        ({b"max_pixels": b"5"}, {"lineage": 2}, "max_pixels is 5, of most files 100000000"),
        ({b"source_size": b"5"}, {"source_changed": 1}, "source_size 5, now"),
        ({b"source_rows": b"8"}, {"source_changed": 1}, "source_rows 8, now 7"),
    ],
)  # fmt: skip
def test_each_part_of_a_footer_that_was_replaced_is_found(
    copy: Path, tiny_model: str, footer: dict[bytes, bytes | None], counts: dict[str, int], words: str
) -> None:
    shutil.copytree(copy / "source" / "day=1", copy / "source" / "day=3")  # most files are made of the same
    enrich_dataset(copy / "source", copy / "all", ClassifyEmotions(model=tiny_model))
    path = copy / "all" / FILE
    stored = pq.read_metadata(path).metadata
    for name, value in list(footer.items()):
        if not name.startswith(b"emotion_ops."):
            key = LINEAGE_KEY if name in (b"revision", b"package_version", b"recipe") else FINGERPRINT_KEY
            parts = json.loads(stored[key])
            assert value is not None
            named = parts["operator"] if key == FINGERPRINT_KEY and not name.startswith(b"source_") else parts
            named[name.decode()] = int(value) if len(value) == 1 else value.decode()
            footer = {key: json.dumps(parts).encode()}
    rewrite(path, lambda rows: rows, footer)
    report = verify_dataset(copy / "source", copy / "all")
    assert report.counts == counts, report.problems
    assert any(words in problem.what for problem in report.problems), report.problems
    assert {problem.file for problem in report.problems} == {FILE}


@pytest.mark.parametrize(
    ("change", "results", "row", "words"),
    [
        (lambda rows: rows, 0, None, ""),
        (with_cell("width", 1, 5), 1, 1, "failed, and has a value next to its error"),
        (with_cell("image_error", 1, "lost: it"), 1, 1, "unknown code 'lost'"),
    ],
)
def test_outputs_of_any_operator_are_proven_as_far_as_it_says(
    change: Callable[[pa.Table], pa.Table], results: int, row: int | None, words: str, made: Path, tmp_path: Path
) -> None:
    enrich_dataset(made / "source", tmp_path / "out", ImageStatistics())
    rewrite(tmp_path / "out" / FILE, change)
    report = verify_dataset(made / "source", tmp_path / "out")
    assert (report.counts, report.unproven) == ({"results": results} if results else {}, {})
    assert [(problem.row, words in problem.what) for problem in report.problems] == [(row, True)] * results
    assert report.lineage["operator"] == "image_statistics"


def test_without_their_operator_only_the_general_check_runs_and_the_report_says_so(copy: Path) -> None:
    def rename(path: Path, name: str) -> None:
        stored = pq.read_metadata(path).metadata
        fingerprint, lineage = json.loads(stored[FINGERPRINT_KEY]), json.loads(stored[LINEAGE_KEY])
        fingerprint["operator"]["operator"] = lineage["operator"] = name
        lineage["recipe"] = Fingerprint(fingerprint).recipe_digest

        def rename_in_schema(rows: pa.Table) -> pa.Table:
            place = rows.schema.get_field_index("emotion")
            field = rows.schema.field(place)
            metadata = {**json.loads(field.metadata[METADATA_KEY]), "operator": name}
            field = field.with_metadata({METADATA_KEY: json.dumps(metadata).encode()})
            return rows.set_column(place, field, rows.column(place))

        footer = {FINGERPRINT_KEY: json.dumps(fingerprint).encode(), LINEAGE_KEY: json.dumps(lineage).encode()}
        rewrite(path, rename_in_schema, footer)

    files = [copy / "all" / f"day={day}" / "rows.parquet" for day in (1, 2)]
    for path in files:
        rename(path, "not_installed")
    report = verify_dataset(copy / "source", copy / "all")
    assert (report.counts, report.unproven) == ({}, {NOT_INSTALLED: 2})
    assert report.errors == {"missing": 2, "unsupported": 2}
    rewrite(files[0], with_cell("emotion_sad", 2, 1.2))  # only the operator knows that it is wrong
    rewrite(files[1], with_cell("emotion_sad", 1, 1.2))  # a failed row has no value, whatever the operator
    report = verify_dataset(copy / "source", copy / "all")
    assert [(problem.check.value, problem.file, problem.row) for problem in report.problems] == [
        ("results", "day=2/rows.parquet", 1)
    ]


def test_a_column_of_another_type_is_found(copy: Path) -> None:
    def widen(rows: pa.Table) -> pa.Table:
        place = rows.schema.get_field_index("emotion_sad")
        return rows.set_column(place, "emotion_sad", rows.column(place).cast(pa.float64()))

    rewrite(copy / "all" / FILE, widen)
    report = verify_dataset(copy / "source", copy / "all")
    assert report.counts == {"schema": 1}
    assert "emotion_sad: double" in report.problems[0].what


def test_two_columns_of_one_name_are_proven_by_their_place(tiny_model: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    names = ["image", "id", "id"]
    columns = [table().column("image"), pa.array(range(7)), pa.array(range(7, 14))]
    pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "source" / "rows.parquet")
    enrich_dataset(tmp_path / "source", tmp_path / "out", ClassifyEmotions(model=tiny_model))
    assert verify_dataset(tmp_path / "source", tmp_path / "out").unproven == {}
    assert verify_dataset(tmp_path / "source", tmp_path / "out").proven
    rewrite(tmp_path / "out" / "rows.parquet", lambda rows: rows.set_column(2, rows.schema.field(2), rows.column(1)))
    report = verify_dataset(tmp_path / "source", tmp_path / "out")
    assert report.counts == {"content": 7}


def test_missing_outputs_and_files_without_a_source_are_different_problems(copy: Path) -> None:
    (copy / "all" / FILE).unlink()
    pq.write_table(pa.table({"mine": [1]}), copy / "all" / "stranger.parquet")
    report = verify_dataset(copy / "source", copy / "all")
    assert report.counts == {"missing_output": 1, "without_source": 1}
    assert {(problem.check.value, problem.file) for problem in report.problems} == {
        ("missing_output", FILE),
        ("without_source", "stranger.parquet"),
    }
    pq.write_table(pa.table({"mine": [1]}), copy / "all" / FILE)
    assert verify_dataset(copy / "source", copy / "all").counts == {"not_enriched": 1, "without_source": 1}


def test_a_source_that_was_replaced_or_is_gone_is_found(copy: Path) -> None:
    (copy / "source" / "day=2" / "rows.parquet").unlink()
    path = copy / "source" / FILE
    time = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(time, time))
    report = verify_dataset(copy / "source", copy / "all")
    assert report.counts == {"source_changed": 1, "without_source": 1}
    assert f"now '{time}'" in report.problems[0].what


@pytest.mark.parametrize("side", ["source", "all"])
def test_a_damaged_file_is_one_problem_and_the_other_files_are_proven(copy: Path, side: str) -> None:
    path = copy / side / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    report = verify_dataset(copy / "source", copy / "all")
    assert report.counts == {"unreadable": 1}
    assert "not a complete Parquet file" in report.problems[0].what
    path.write_bytes(whole[:4] + bytes(300) + whole[304:])
    report = verify_dataset(copy / "source", copy / "all")
    assert "unreadable" in report.counts
    assert {problem.file for problem in report.problems} == {FILE}


@pytest.mark.parametrize(
    ("change", "row"),
    [
        (in_order(0, 2, 1, 3, 4), 2),
        (with_cell("id", 3, 99), 3),
        (with_cell("image", 4, bytes(BYTE)), 4),
        (in_order(0, 1, 2, 3, 4, 4), 5),
    ],
)
def test_if_rows_were_dropped_the_others_are_compared_with_the_source_in_their_order(
    copy: Path, change: Callable[[pa.Table], pa.Table], row: int
) -> None:
    rewrite(copy / "drop" / FILE, change)
    report = verify_dataset(copy / "source", copy / "drop")
    assert report.counts == {"content": 1}
    assert (report.problems[0].row, report.unproven) == (row, {DROPPED: 2})
    assert "nowhere in the source after the row before it" in report.problems[0].what


def test_problems_are_listed_up_to_the_limit_of_each_check_and_all_of_them_counted(copy: Path) -> None:
    rewrite(copy / "all" / FILE, in_order(6, 5, 4, 3, 2, 1, 0))
    (copy / "all" / "day=2" / "rows.parquet").unlink()
    report = verify_dataset(copy / "source", copy / "all", max_problems=2)
    assert report.counts == {"content": 6, "missing_output": 1}
    assert [problem.check.value for problem in report.problems] == ["content", "content", "missing_output"]


def test_what_cannot_be_verified_is_one_clear_error(copy: Path) -> None:
    for source, destination, words in (
        (copy / "nowhere", copy / "all", "no such Parquet file"),
        (copy / "source", copy / "nowhere", "no such folder"),
        (copy / "source", copy / "all" / FILE, "is one file, for 2 sources"),
    ):
        with pytest.raises(DatasetError, match=words):
            verify_dataset(source, destination)
    with pytest.raises(OptionError, match="max_problems"):
        verify_dataset(copy / "source", copy / "all", max_problems=-1)


def test_the_exit_code_is_0_if_it_is_proven_and_1_with_each_problem_if_it_is_not(copy: Path) -> None:
    def verify(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "emotion_ops", "verify", "source", "all", *options]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=60, check=False)

    done = verify()
    assert (done.returncode, done.stderr) == (0, "")
    assert "Proven: every source row has exactly its output row." in done.stdout
    rewrite(copy / "all" / FILE, in_order(0, 1, 2, 3, 5, 4, 6))
    done = verify()
    assert done.returncode == 1
    assert "Found wrong: content 2." in done.stdout
    report: dict[str, Any] = json.loads(verify("--json").stdout)
    assert report["counts"] == {"content": 2}
    assert report["problems"][0]["row"] == 4
