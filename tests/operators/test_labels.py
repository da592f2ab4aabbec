"""Several labels for a row, or none if no probability is high enough."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from enriched import rewrite, with_cell
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as st_numpy
from pictures import jpeg

from emotion_ops import (
    EMOTIONS,
    Access,
    ClassifyEmotions,
    Labels,
    OptionError,
    UnsupportedModelError,
    classify_emotions,
    dataset_status,
    diff_datasets,
    enrich_dataset,
    verify_dataset,
)
from emotion_ops.operators.base import METADATA_KEY
from emotion_ops.operators.classify.describe import UNSURE
from emotion_ops.operators.classify.labels import Labeller
from emotion_ops.operators.hooks import FAILED
from emotion_ops.testing import save_tiny_model

CELLS = [*(jpeg(seed, 40, 40) for seed in range(8)), None, b"text"]
TABLE = pa.table({"id": range(10), "image": pa.array(CELLS, pa.binary())})


@pytest.fixture(scope="module")
def plain(tiny_model: str) -> pa.Table:
    return ClassifyEmotions(model=tiny_model)(TABLE)


@pytest.fixture(scope="module")
def middle(plain: pa.Table) -> float:
    """A threshold that about half of the rows reach."""
    return float(np.median(matrix(plain)[:8].max(axis=1)))


def matrix(table: pa.Table) -> np.ndarray:
    return np.stack([table.column(f"emotion_{label}").to_numpy() for label in EMOTIONS], axis=1)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 6))
def test_the_labels_of_a_row_are_those_that_reach_their_threshold_the_highest_first(
    data: st.DataObject, rows: int, count: int
) -> None:
    labels = tuple("abcdef"[:count])
    few = st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0])  # with equals among them
    found = data.draw(
        st_numpy.arrays(np.float32, (rows, count), elements=st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]).map(np.float32))
    )
    above = data.draw(
        few | st.dictionaries(st.sampled_from(labels), few, min_size=1).map(lambda own: tuple(sorted(own.items())))
    )
    failed = data.draw(st_numpy.arrays(np.bool_, rows))
    lists = Labeller(labels, Labels(above)).listed(found, failed)
    own = dict(above) if isinstance(above, tuple) else dict.fromkeys(labels, above)
    for row, listed in enumerate(lists.to_pylist()):
        reached = [label for i, label in enumerate(labels) if label in own and found[row, i] >= np.float32(own[label])]
        wanted = sorted(reached, key=lambda label: -found[row, labels.index(label)])
        assert listed == (None if failed[row] else wanted)


def test_the_list_of_labels_is_the_column_before_the_error_and_no_other_column_changes(
    tiny_model: str, plain: pa.Table
) -> None:
    out = ClassifyEmotions(model=tiny_model, labels=0.1)(TABLE)
    assert out.drop_columns(["emotion_labels"]).equals(plain)
    assert out.schema.names[-2:] == ["emotion_labels", "emotion_error"]
    assert out.schema.equals(ClassifyEmotions(model=tiny_model, labels=0.1).output_schema(TABLE.schema))
    listed = out.column("emotion_labels").to_pylist()
    assert listed[8:] == [None, None]
    assert all(row[0] == label for row, label in zip(listed[:8], out.column("emotion").to_pylist(), strict=False))
    nothing = ClassifyEmotions(model=tiny_model, labels={"happy": 1.0})(TABLE)
    assert nothing.column("emotion_labels").to_pylist() == [*[[]] * 8, None, None]


def test_a_row_without_a_label_has_probabilities_and_has_not_failed(
    tiny_model: str, plain: pa.Table, middle: float
) -> None:
    out = ClassifyEmotions(model=tiny_model, labels=Labels(min_probability=middle))(TABLE)
    assert out.drop_columns(["emotion"]).equals(plain.drop_columns(["emotion"]))
    sure = matrix(plain)[:8].max(axis=1) >= np.float32(middle)
    assert 0 < sure.sum() < 8
    wanted = [
        label if is_sure else None for label, is_sure in zip(plain.column("emotion").to_pylist(), sure, strict=False)
    ]
    assert out.column("emotion").to_pylist() == [*wanted, None, None]
    kept = ClassifyEmotions(model=tiny_model, labels=Labels(min_probability=1.0), on_error="drop")(TABLE)
    assert (kept.num_rows, kept.column("emotion").null_count) == (8, 8)


def test_thresholds_have_one_form_in_operators_and_in_the_lineage(tiny_model: str) -> None:
    forms = [{"sad": 0.2, "happy": 0.4}, [("happy", 0.4), ["sad", 0.2]], {"happy": np.float64(0.4), "sad": 0.2}]
    operators = [ClassifyEmotions(model=tiny_model, labels=Labels(above=one, min_probability=0.25)) for one in forms]
    assert len(set(operators)) == 1
    assert pickle.loads(pickle.dumps(operators[0])) == dataclasses.replace(operators[1], on_error="null")
    lineage = json.loads(operators[0].output_schema(TABLE.schema).field("emotion").metadata[METADATA_KEY])
    assert json.loads(lineage["labels_above"]) == {"happy": 0.4, "sad": 0.2}
    assert lineage["min_probability"] == "0.25"


@pytest.mark.parametrize(
    "bad",
    [
        -0.1,
        1.5,
        True,
        "much",
        {},
        {"happy": 2},
        [("happy", 0.1), ("happy", 0.2)],
        {1: 0.3},
        ["happy"],
        float("nan"),
        {"happy": None},
        [("happy", None)],
    ],
)
def test_a_threshold_that_is_not_a_probability_is_refused_at_once(bad: object) -> None:
    with pytest.raises(OptionError, match=r"Labels\.above"):
        ClassifyEmotions(labels=bad)  # type: ignore[arg-type]
    if not isinstance(bad, dict | list):
        with pytest.raises(OptionError, match=r"Labels\.min_probability"):
            ClassifyEmotions(labels=Labels(min_probability=bad))  # type: ignore[arg-type]


def test_labels_that_the_model_does_not_have_or_has_as_a_column_are_refused(tiny_model: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="the model has no 'joy'"):
        ClassifyEmotions(model=tiny_model, labels={"joy": 0.3}).output_schema(TABLE.schema)
    odd = str(save_tiny_model(tmp_path / "odd", labels=["labels", "sad"]))
    assert ClassifyEmotions(model=odd).output_columns().labels == ("labels", "sad")
    with pytest.raises(UnsupportedModelError, match="second column 'emotion_labels'"):
        ClassifyEmotions(model=odd, labels=0.5).output_columns()


def test_frames_have_lists_and_missing_values(tiny_model: str, middle: float) -> None:
    options = {"model": tiny_model, "labels": Labels(0.1, middle)}
    wanted = ClassifyEmotions(**options)(TABLE)
    frame = pd.DataFrame({"image": CELLS}, index=list("abcdefghij"))
    found = classify_emotions(frame, **options)
    assert found["emotion_labels"].tolist() == wanted.column("emotion_labels").to_pylist()
    assert found["emotion"].isna().tolist() == wanted.column("emotion").is_null().to_pylist()
    assert list(found.index) == list(frame.index)
    polars = classify_emotions(pl.DataFrame({"image": CELLS}), **options)
    assert polars["emotion_labels"].to_list() == wanted.column("emotion_labels").to_pylist()


@pytest.fixture
def dataset(tiny_model: str, middle: float, tmp_path: Path) -> tuple[Path, Path, ClassifyEmotions]:
    """A dataset whose rows are paths, one of them missing, and its output."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, cell in enumerate(CELLS[:8]):
        (folder / f"{number}.jpg").write_bytes(cell)
    source = tmp_path / "source.parquet"
    paths = [*(f"{number}.jpg" for number in range(8)), "8.jpg", None]
    pq.write_table(pa.table({"id": range(10), "image": paths}), source, row_group_size=4)
    operator = ClassifyEmotions(
        model=tiny_model, access=Access(root=folder), labels=Labels(above=0.1, min_probability=middle)
    )
    enrich_dataset(source, tmp_path / "out", operator)
    return source, tmp_path / "out", operator


def test_a_dataset_has_the_same_labels_and_reports_verify_and_diff_count_rows_without_one(
    dataset: tuple[Path, Path, ClassifyEmotions], tmp_path: Path
) -> None:
    source, out, operator = dataset
    written = pq.read_table(out / "source.parquet")
    assert written.equals(operator(pq.read_table(source)))
    unsure = sum(
        label is None and error is None
        for label, error in zip(
            *(written.column(name).to_pylist() for name in ("emotion", "emotion_error")), strict=True
        )
    )
    report = json.loads((out / "_emotion_ops" / "report.json").read_text())
    labels = report["summary"]["labels"]
    assert (labels[UNSURE], report["good_rows"], report["errors"]) == (unsure, 8, {"missing": 1, "not_found": 1})
    assert sum(labels.values()) - unsure == 8 - unsure > 0
    page = (out / "_emotion_ops" / "report.html").read_text()
    assert re.search(rf">{UNSURE}</th>.*?>{unsure}</td>", page, re.DOTALL)
    verified = verify_dataset(source, out)
    assert verified.proven, verified.problems
    assert [file.state for file in dataset_status(out).files] == ["done"]
    sure = dataclasses.replace(operator, labels=Labels(above=None, min_probability=None))
    enrich_dataset(source, tmp_path / "sure", sure)
    compared = diff_datasets(out, tmp_path / "sure")
    assert (compared.changes, compared.drift.largest) == (unsure, 0.0)
    assert set(compared.categories) - {UNSURE, FAILED} <= set(EMOTIONS)
    assert sum(compared.categories[UNSURE].values()) == unsure
    assert compared.categories[FAILED] == {FAILED: 2}


def test_only_failed_rows_are_computed_again_by_a_retry(dataset: tuple[Path, Path, ClassifyEmotions]) -> None:
    source, out, operator = dataset
    (Path(str(operator.access.root)) / "8.jpg").write_bytes(CELLS[0])
    report = enrich_dataset(source, out, operator, retry_errors=True)
    assert (report.rows_retried, report.errors) == (2, {"missing": 1})
    written = pq.read_table(out / "source.parquet")
    assert written.equals(operator(pq.read_table(source)))
    assert verify_dataset(source, out).proven


def test_an_output_with_other_thresholds_is_planned_again_and_one_with_equal_ones_is_skipped(
    dataset: tuple[Path, Path, ClassifyEmotions],
) -> None:
    source, out, operator = dataset
    assert enrich_dataset(source, out, operator).skipped == 1
    for name, change in (("labels_above", Labels(0.2)), ("min_probability", Labels(0.1, 0.99))):
        (planned,) = enrich_dataset(
            source, out, dataclasses.replace(operator, labels=change), dry_run=True, overwrite=True, sample_rows=0
        ).planned
        assert name in planned.reason


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("emotion_labels", ["happy", "happy"], "but its result gives"),
        ("emotion_labels", None, "but its result gives"),
        ("emotion", "other", "emotion is 'other'"),
    ],
)
def test_verify_finds_labels_that_the_thresholds_do_not_give(
    dataset: tuple[Path, Path, ClassifyEmotions], column: str, value: object, words: str
) -> None:
    source, out, _ = dataset
    rewrite(out / "source.parquet", with_cell(column, 2, value))
    problems = verify_dataset(source, out).problems
    assert [(problem.row, words in problem.what) for problem in problems] == [(2, True)], problems


def test_the_command_line_takes_thresholds(dataset: tuple[Path, Path, ClassifyEmotions], tmp_path: Path) -> None:
    source, _, operator = dataset

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "emotion_ops",
            "enrich",
            str(source),
            str(tmp_path / "cli"),
            "--model",
            operator.model,
        ]
        return subprocess.run(
            [*command, "--root", str(operator.access.root), *options], capture_output=True, text=True, check=False
        )

    wrong = run("--labels-above", "happy=much")
    assert wrong.returncode == 2
    assert "happy=much" in wrong.stderr
    done = run("--labels-above", "happy=0.4, sad=0.05", "--min-probability", "1")
    assert done.returncode == 0, done.stderr
    assert "unsure" in done.stdout
    made = dataclasses.replace(operator, labels=Labels(above={"happy": 0.4, "sad": 0.05}, min_probability=1.0))
    assert pq.read_table(tmp_path / "cli" / "source.parquet").equals(made(pq.read_table(source)))
