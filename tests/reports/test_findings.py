"""What row groups say adds up to what the whole says, for any operator."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pyarrow as pa
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.hooks import Measure
from emotion_ops.reports.findings import SAMPLES, Findings

CELLS = [*(jpeg(seed, 40, 40) for seed in range(12)), None, b"broken", None] * 3


@pytest.fixture
def columns(tiny_model: str) -> tuple[TableOperator, pa.Table]:
    operator = ClassifyEmotions(model=tiny_model)
    return operator, operator.append_columns({"image": CELLS})


def test_findings_of_parts_add_up_to_those_of_the_whole(columns: tuple[TableOperator, pa.Table]) -> None:
    operator, table = columns
    whole = Findings.from_columns(table, operator, "s", 0, 0)
    parts = Findings.total(
        Findings.from_columns(table.slice(start, 7), operator, "s", 0, start) for start in range(0, 45, 7)
    )
    assert dataclasses.replace(parts, measures=whole.measures) == whole
    assert list(parts.measures) == list(whole.measures) == ["labels", "mean_probabilities", "highest_probability"]
    for name, measure in whole.measures.items():
        assert parts.measures[name].values == pytest.approx(measure.values)
    assert (whole.rows, whole.good_rows, whole.errors) == (45, 36, {"missing": 6, "unsupported": 3})
    assert pickle.loads(pickle.dumps(whole)) == whole  # another process can count
    chunked = Findings.from_columns(pa.concat_tables([table.slice(0, 20), table.slice(20)]), operator, "s", 0, 0)
    assert chunked.failed_rows == whole.failed_rows


def test_the_first_failed_rows_of_each_code_are_listed_with_their_place(
    columns: tuple[TableOperator, pa.Table],
) -> None:
    operator, table = columns
    found = Findings.from_columns(table, operator, "s", 2, 100)
    missing = [row.row for row in found.failed_rows if row.code == "missing"]
    assert missing == [100 + row for row, cell in enumerate(CELLS) if cell is None][:SAMPLES]
    assert {(row.source, row.row_group) for row in found.failed_rows} == {("s", 2)}


def test_the_numbers_survive_json_and_anything_else_is_refused(columns: tuple[TableOperator, pa.Table]) -> None:
    operator, table = columns
    whole = Findings.from_columns(table, operator, "s", 0, 0)
    stored = whole.to_json()
    assert Findings.from_json(stored) == dataclasses.replace(whole, failed_rows=[])
    assert Findings.from_json(stored).to_json() == stored
    for text in ("", "[]", "{}", '{"rows": 1, "errors": {}, "measures": [1]}', '{"rows": 1, "errors": 3}', "null"):
        with pytest.raises(ValueError):  # noqa: PT011  (any text: the reader treats them alike)
            Findings.from_json(text)


def test_measures_add_up_by_name_and_means_are_of_good_rows() -> None:
    one, other = Measure("m", "M", {"a": 1, "b": 2}, per_row=True), Measure("m", "M", {"b": 2, "c": 8}, per_row=True)
    assert (one + other).values == {"a": 1, "b": 4, "c": 8}
    assert (one + other).shown(4) == {"a": 0.25, "b": 1.0, "c": 2.0}
    assert (one + other).shown(0) == {}
    assert json.dumps(Measure("m", "M", {"a": 3}).shown(0)) == '{"a": 3}'
