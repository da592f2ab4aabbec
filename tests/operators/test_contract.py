"""An operator that breaks the contract of a table operator is named, with what is wrong."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pytest
from table_operators import TABLE, CountWords, change_operator

from emotion_ops import (
    OperatorError,
    Row,
    RowError,
)
from emotion_ops.operators.rows import Parts

BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "inputs is a text": ({"inputs": "text"}, r"inputs is 'text', not a tuple of column names"),
    "there are no inputs": ({"inputs": ()}, r"inputs is \(\), not a tuple"),
    "there are no fields": ({"output_fields": lambda self: []}, "the error column, a string, but there are none"),
    "the last field is not text": (
        {"output_fields": lambda self: [pa.field("words_error", pa.string()), pa.field("words", pa.int32())]},
        r"the error column, a string, but the last is .*words: int32",
    ),
    "two fields have one name": (
        {"output_fields": lambda self: [pa.field("a", pa.int32()), pa.field("a", pa.string())]}, "'a' more than once"
    ),
    "a field cannot be null": (
        {"output_fields": lambda self: [pa.field("a", pa.int32(), nullable=False), pa.field("e", pa.string())]},
        "'a', which cannot be null",
    ),
    "prepare gives too many parts": (
        {"prepare": lambda self, row: Parts([1, 2])}, "prepare gave 2 parts for row 0, more than max_parts=1"
    ),
    "prepare raises a code that is not declared": (
        {"prepare": lambda self, row: failing("strange")}, "row 0 failed with the code 'strange', .*error_codes"
    ),
    "compute gives a code that is not declared": (
        {"compute": lambda self, items: [RowError("strange", "it")] * len(items)}, "row 0 failed with the code 'strange'"
    ),
    "compute raises a row's error": (
        {"compute": lambda self, items: failing("missing")}, r"compute raised an error of a row \(missing: it\)"
    ),
    "compute gives nothing": ({"compute": lambda self, items: None}, "a value of type NoneType, not a sequence"),
    "compute is a generator": ({"compute": lambda self, items: (1 for _ in items)}, "generator, not a sequence"),
    "compute gives too few": ({"compute": lambda self, items: [1]}, "compute gave 1 results for 4 items"),
    "a result does not fit its field": (
        {"compute": lambda self, items: ["many"] * len(items)}, "a result does not fit the column 'words', which is int32"
    ),
    "a result has too many values": (
        {"compute": lambda self, items: [(1, 2)] * len(items)}, r"\(1, 2\), which is not a tuple of 1 values"
    ),
    "finish gives one column too many": (
        {"finish": lambda self, results: [pa.nulls(5, pa.int32())] * 2}, "finish gave 2 columns for 1 fields"
    ),
    "finish gives one array": ({"finish": lambda self, results: pa.nulls(5, pa.int32())}, "not a list of columns"),
    "finish gives another type": (
        {"finish": lambda self, results: [pa.nulls(5, pa.int64())]}, "int64, 5 values for the column 'words', which is int32"
    ),
    "finish gives too few values": (
        {"finish": lambda self, results: [pa.nulls(4, pa.int32())]}, "int32, 4 values for the column 'words'"
    ),
    "finish gives no arrays": ({"finish": lambda self, results: [[1] * 5]}, "finish gave list for the column 'words'"),
}  # fmt: skip


def failing(code: str) -> None:
    raise RowError(code, "it")


@pytest.mark.parametrize("name", BROKEN)
def test_an_operator_that_breaks_the_contract_is_named_with_what_is_wrong(name: str) -> None:
    methods, message = BROKEN[name]
    operator = change_operator(**methods)
    with pytest.raises(OperatorError, match=message) as caught:
        operator(TABLE)
    assert caught.value.operator == operator.name
    assert "Changed" in operator.name


def test_any_other_exception_stops_the_stream_and_says_in_which_row_it_was_raised() -> None:
    def prepare(self: CountWords, row: Row) -> Any:
        return row["text"].split()  # fails for null

    with pytest.raises(AttributeError) as caught:
        change_operator(prepare=prepare, batch_size=1)(TABLE)
    assert "for row 2" in caught.value.__notes__[0]
    with pytest.raises(ZeroDivisionError):
        change_operator(compute=lambda self, items: 1 / 0)(TABLE)
    assert not [one.name for one in threading.enumerate() if one.name.startswith("emotion-ops-read")]
