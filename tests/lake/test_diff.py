"""Two enriched outputs are compared row by row, and a limit fails on what is over it."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from enriched import in_order, rewrite, with_cell, write_source
from hypothesis import given, settings, strategies as st

from emotion_ops import ClassifyEmotions, DatasetError, DiffReport, OptionError, diff_datasets, enrich_dataset
from emotion_ops.operators.base import METADATA_KEY
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.hooks import FAILED
from emotion_ops.testing import save_tiny_model
from emotion_ops.testing.operators import ImageStatistics

FILE = "day=1/rows.parquet"
LABELS = ("sad", "happy", "fear")
Row = tuple[float, float, float] | None


def write(
    path: Path, rows: list[Row], *, labels: tuple[str, ...] = LABELS, prefix: str = "emotion", group: int = 9
) -> Path:
    """An enriched file of these probabilities, a row of None having failed."""
    columns = OutputColumns(labels, prefix)
    lineage = {"operator": "classify_emotions", "model": "m", "revision": "r", "columns": columns.names}
    first, *others = columns.fields()
    schema = pa.schema([first.with_metadata({METADATA_KEY: json.dumps(lineage).encode()}), *others])
    arrays = [
        pa.array([None if row is None else labels[row.index(max(row))] for row in rows], pa.string()),
        *(
            pa.array([None if row is None else row[place] for row in rows], pa.float32())
            for place in range(len(labels))
        ),
        pa.array(["missing: the cell is null" if row is None else None for row in rows], pa.string()),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, row_group_size=group)
    return path


@pytest.fixture(scope="module")
def made(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("diff")
    source = write_source(home / "source")
    other = str(
        save_tiny_model(
            home / "other", tuple(reversed(("sad", "disgust", "angry", "neutral", "fear", "surprise", "joy"))), seed=5
        )
    )
    enrich_dataset(source, home / "a", ClassifyEmotions(model=tiny_model))
    enrich_dataset(source, home / "b", ClassifyEmotions(model=other, prefix="other"), columns="none", row_group_rows=2)
    return home


def test_two_models_are_compared_by_label_whatever_their_prefix_order_of_labels_and_row_groups(made: Path) -> None:
    report = diff_datasets(made / "a", made / "b", rows=3)
    one, other = (pq.read_table(made / side / FILE, partitioning=None).to_pydict() for side in "ab")
    labels = ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy")
    drifts = {
        (row, label): abs(one[f"emotion_{label}"][row] - other[f"other_{label}"][row])
        for row in range(7)
        for label in labels
        if one["emotion"][row] is not None
    }
    assert report.columns == labels
    assert report.drift.largest == pytest.approx(max(drifts.values()), abs=1e-9)
    assert report.drift.largest > 0.01
    assert report.drift.mean == pytest.approx(sum(drifts.values()) / len(drifts), abs=1e-9)
    assert report.drift_by_column["sad"].largest == pytest.approx(
        max(drifts[row, "sad"] for row in (0, 2, 4, 5, 6)), abs=1e-9
    )
    assert report.largest[0].drift == report.drift.largest
    assert [row.drift for row in report.largest] == sorted((row.drift for row in report.largest), reverse=True)
    assert (report.files, report.rows, report.good_rows, report.coverage, len(report.largest)) == (2, 14, 10, 1.0, 3)
    assert report.errors_a == report.errors_b == {"missing": 2, "unsupported": 2}
    assert report.categories[FAILED] == {FAILED: 4}
    assert report.lineage_a[0] != report.lineage_b[0]


def test_an_output_does_not_differ_from_itself_and_is_within_the_strictest_limits(made: Path) -> None:
    report = diff_datasets(
        made / "a", made / "a", max_changes=0, max_change_rate=0, max_drift=0, max_mean_drift=0, min_coverage=1
    )
    assert (report.changes, report.drift.largest, report.largest, report.exceeded) == (0, 0.0, (), ())
    assert sum(count for row in report.categories.values() for count in row.values()) == 14


probability = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])
results = st.none() | st.tuples(probability, probability, probability)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(results, results), max_size=40), st.integers(1, 7), st.integers(1, 7))
def test_a_diff_is_what_a_loop_over_the_rows_gives_and_the_reverse_from_the_other_side(
    pairs: list[tuple[Row, Row]], group_a: int, group_b: int
) -> None:
    with tempfile.TemporaryDirectory() as home:
        a = write(Path(home, "a.parquet"), [one for one, _ in pairs], group=group_a)
        b = write(Path(home, "b.parquet"), [other for _, other in pairs], group=group_b)
        there, back, same = diff_datasets(a, b, rows=100), diff_datasets(b, a, rows=100), diff_datasets(a, a)

    def label(row: Row) -> str:
        return FAILED if row is None else LABELS[row.index(max(row))]

    matrix = Counter((label(one), label(other)) for one, other in pairs)
    assert {(one, other): count for one, row in there.categories.items() for other, count in row.items()} == dict(
        matrix
    )
    drifts = [max(abs(x - y) for x, y in zip(one, other, strict=True)) for one, other in pairs if one and other]
    assert [row.drift for row in there.largest] == sorted((drift for drift in drifts if drift), reverse=True)
    assert there.changes == back.changes == sum(count for (one, other), count in matrix.items() if one != other)
    assert there.categories == {
        one: dict(sorted(row.items())) for one, row in sorted(transposed(back.categories).items())
    }
    assert (there.drift, there.drift_by_column) == (back.drift, back.drift_by_column)
    assert (there.good_only_in_a, there.good_only_in_b) == (back.good_only_in_b, back.good_only_in_a)
    assert (same.changes, same.drift.largest, same.drift.mean, same.good_only_in_a) == (0, 0.0, 0.0, 0)


def transposed(matrix: Any) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for one, row in matrix.items():
        for other, count in row.items():
            out.setdefault(other, {})[one] = count
    return out


def test_files_and_rows_that_only_one_side_has_are_named_and_counted(made: Path, tmp_path: Path) -> None:
    for side in "ab":
        shutil.copytree(made / "a", tmp_path / side)
    shutil.copy(made / "a" / FILE, tmp_path / "a" / "more.parquet")
    shutil.copy(made / "a" / FILE, tmp_path / "b" / "other.parquet")
    rewrite(tmp_path / "b" / FILE, in_order(0, 1, 2, 3))
    pq.write_table(pa.table({"mine": [1, 2]}), tmp_path / "a" / "none.parquet")
    pq.write_table(pa.table({"mine": [1]}), tmp_path / "b" / "none.parquet")
    report = diff_datasets(tmp_path / "a", tmp_path / "b", min_coverage=0.9)
    assert (report.files, report.files_only_in_a, report.files_only_in_b) == (1, ("more.parquet",), ("other.parquet",))
    assert [(one.file, one.rows_a, one.rows_b) for one in report.unmatched] == [(FILE, 7, 4), ("none.parquet", 2, 1)]
    assert report.unmatched[0].reason == "the row counts differ"
    assert "a/none.parquet does not have the appended columns" in report.unmatched[1].reason
    assert (report.rows, report.rows_only_in_a, report.rows_only_in_b) == (7, 7 + 7 + 2, 7 + 4 + 1)
    assert report.coverage == 7 / 35
    assert report.exceeded == ("0.2 of the rows were compared, less than 0.9",)


def test_of_label_sets_that_differ_the_common_ones_are_compared(tmp_path: Path) -> None:
    a = write(tmp_path / "a.parquet", [(0.5, 0.25, 0.25)])
    b = write(tmp_path / "b.parquet", [(0.75, 0.0, 0.25)], labels=("bored", "sad", "happy"))
    report = diff_datasets(a, b)
    assert (report.columns, report.columns_only_in_a, report.columns_only_in_b) == (
        ("sad", "happy"),
        ("fear",),
        ("bored",),
    )
    assert {label: drift.largest for label, drift in report.drift_by_column.items()} == {"sad": 0.5, "happy": 0.0}
    assert report.categories == {"sad": {"bored": 1}}
    write(b, [(0.75, 0.0, 0.25)], labels=("x", "y", "z"))
    assert diff_datasets(a, b).exceeded == ()
    assert "no drift was measured" in diff_datasets(a, b, max_drift=1).exceeded[0]


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_probability_that_only_one_side_has_drifted_by_1_and_one_that_no_side_has_did_not(
    tmp_path: Path, value: float | None
) -> None:
    for side in "ab":
        write(tmp_path / f"{side}.parquet", [(0.5, 0.25, 0.25), (0.5, 0.25, 0.25)])
    rewrite(tmp_path / "b.parquet", with_cell("emotion_happy", 1, value))
    report = diff_datasets(tmp_path / "a.parquet", tmp_path / "b.parquet", max_drift=0.5)
    assert [(row.row, row.column, row.drift) for row in report.largest] == [(1, "happy", 1.0)]
    assert report.exceeded == ("a number drifted by 1, more than 0.5",)
    assert diff_datasets(tmp_path / "b.parquet", tmp_path / "b.parquet").drift.largest == 0


@pytest.mark.parametrize(
    ("limit", "passes", "fails", "words"),
    [
        ("max_changes", 2, 1, "2 rows changed their category, more than 1"),
        ("max_change_rate", 0.5, 0.4, "0.5 of the rows changed their category, more than 0.4"),
        ("max_drift", 0.5, 0.4, "a number drifted by 0.5, more than 0.4"),
        ("max_mean_drift", 0.17, 0.16, "numbers drifted by 0.166667 on average, more than 0.16"),
        ("min_coverage", 1, None, ""),
    ],
)
def test_each_limit_passes_at_its_value_and_fails_beyond_it(
    tmp_path: Path, limit: str, passes: float, fails: float | None, words: str
) -> None:
    a = write(tmp_path / "a.parquet", [(0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.0, 0.0, 1.0), None])
    b = write(tmp_path / "b.parquet", [(0.0, 0.75, 0.25), (0.25, 0.5, 0.25), None, None])

    def gate(**limits: Any) -> DiffReport:
        return diff_datasets(a, b, **limits)

    assert gate(**{limit: passes}).exceeded == ()
    if fails is not None:
        assert gate(**{limit: fails}).exceeded == (words,)
    with pytest.raises(OptionError, match=limit):
        gate(**{limit: -1})
    with pytest.raises(OptionError, match=limit):
        gate(**{limit: math.nan})


def test_if_no_row_was_compared_every_limit_is_exceeded(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.parquet", [None])
    write(tmp_path / "b" / "y.parquet", [None])
    report = diff_datasets(tmp_path / "a", tmp_path / "b", max_changes=10)
    assert report.exceeded == ("no row of A has a counterpart in B: nothing was compared",)
    assert diff_datasets(tmp_path / "a", tmp_path / "b").exceeded == ()


def test_outputs_of_any_operator_are_compared_by_their_columns(made: Path, tmp_path: Path) -> None:
    for side in "ab":
        enrich_dataset(made / "source", tmp_path / side, ImageStatistics())
    rewrite(tmp_path / "b" / FILE, with_cell("width", 2, 43))
    report = diff_datasets(tmp_path / "a", tmp_path / "b", max_drift=2.5)
    assert report.columns == ("brightness", "width", "height")
    assert [(row.row, row.column, row.drift) for row in report.largest] == [(2, "width", 3.0)]
    assert report.categories == {"failed": {"failed": 4}, "good": {"good": 10}}
    assert report.exceeded == ("a number drifted by 3, more than 2.5",)
    rewrite(tmp_path / "b" / FILE, with_cell("width", 2, None))
    lost = diff_datasets(tmp_path / "a", tmp_path / "b")
    assert (lost.drift.largest, lost.to_dict()["drift"]["largest"]) == (math.inf, None)


def test_outputs_of_different_operators_are_compared_by_their_columns(made: Path, tmp_path: Path) -> None:
    enrich_dataset(made / "source", tmp_path / "b", ImageStatistics())
    report = diff_datasets(made / "a", tmp_path / "b")
    assert (report.files, report.rows, report.columns, report.columns_only_in_b) == (
        2, 14, (), ("brightness", "width", "height"),
    )  # fmt: skip
    assert sum(report.categories[FAILED].values()) == 4


def test_tables_that_were_written_without_a_dataset_job_are_compared_too(
    made: Path, tiny_model: str, tmp_path: Path
) -> None:
    source = pq.read_table(made / "source" / FILE, partitioning=None)
    pq.write_table(ClassifyEmotions(model=tiny_model, prefix="p")(source), tmp_path / "table.parquet")
    report = diff_datasets(made / "a" / FILE, tmp_path / "table.parquet", max_changes=0, max_drift=1e-6, min_coverage=1)
    assert (report.exceeded, report.rows, len(report.columns)) == ((), 7, 7)


def test_what_cannot_be_compared_is_one_clear_error(made: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such Parquet file"):
        diff_datasets(made / "a", tmp_path / "nowhere")
    shutil.copytree(made / "a", tmp_path / "damaged")
    (tmp_path / "damaged" / FILE).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="not a complete Parquet file"):
        diff_datasets(made / "a", tmp_path / "damaged")


def test_the_exit_code_is_1_if_a_limit_is_exceeded_and_the_output_says_which(made: Path) -> None:
    def diff(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "emotion_ops", "diff", "a", "b", *options]
        return subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=60, check=False)

    done = diff("--max-drift", "0")
    assert done.returncode == 1
    assert "Too much differs: a number drifted by" in done.stdout
    for words in ("2 compared, 0 only in A, 0 only in B", "14 compared (100.00% of all)", "mean drift", "failed in B"):
        assert words in done.stdout
    within = diff("--max-changes", "14", "--json")
    report = json.loads(within.stdout)
    assert (within.returncode, report["rows"], report["exceeded"], report["coverage"]) == (0, 14, [], 1.0)
