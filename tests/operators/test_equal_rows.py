"""Rows are equal if they are so bit for bit, in every type that a Parquet file may have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from emotion_ops.operators.equal_rows import equal_rows

NAN = float("nan")
LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]


@pytest.mark.parametrize(
    ("kind", "left", "right", "equal"),
    [
        (pa.float32(), [1.0, NAN, 0.0, None, NAN], [1.0, NAN, -0.0, None, None], [1, 1, 0, 1, 0]),
        (pa.float16(), [np.float16(1), None], [np.float16(1), np.float16(0)], [1, 0]),
        (pa.struct([("x", pa.int8())]), [{"x": None}, {"x": 1}, None], [None, {"x": 2}, None], [0, 0, 1]),
        (pa.struct([]), [{}, None], [{}, {}], [1, 0]),
        *(
            (kind(pa.float64()), [[1.0], [], None, [1.0, NAN], [2.0]], [[1.0, 2.0], [], [], [1.0, NAN], [3.0]], [0, 1, 0, 1, 0])
            for kind in LISTS
        ),
        (pa.list_(pa.float64(), 2), [[1.0, NAN], None, [0.0, 1]], [[1.0, NAN], None, [-0.0, 1]], [1, 1, 0]),
        (pa.list_(pa.list_(pa.int8())), [[[1], []], [[1]]], [[[1], []], [[], [1]]], [1, 0]),
        (pa.map_(pa.string(), pa.int8()), [[("a", 1)], [], None], [[("a", 2)], [], None], [0, 1, 1]),
        (pa.dictionary(pa.int8(), pa.string()), ["a", None, "b"], ["a", "x", "c"], [1, 0, 0]),
        (pa.string_view(), ["a", None, "b"], ["a", "x", "c"], [1, 0, 0]),
        (pa.binary(2), [b"ab", None], [b"ac", None], [0, 1]),
        (pa.null(), [None, None], [None, None], [1, 1]),
        (pa.month_day_nano_interval(), [pa.MonthDayNano([1, 2, 3]), None], [pa.MonthDayNano([1, 2, 4]), None], [0, 1]),
    ],
)  # fmt: skip
def test_values_of_each_type_are_equal_bit_for_bit(
    kind: pa.DataType, left: list[Any], right: list[Any], equal: list[int]
) -> None:
    for skipped in (0, 1):  # a slice does not begin where its buffers do
        one = pa.array(left[:1] * skipped + left, kind)[skipped:]
        assert equal_rows(one, pa.array(right, kind)).tolist() == list(map(bool, equal))
        assert equal_rows(one, pa.array(left, kind)).all()


def test_run_end_encoded_values_and_tensors_are_compared_by_their_values() -> None:
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], [1, 2])
    other = pa.RunEndEncodedArray.from_arrays([1, 2, 3], [1, 1, 3])
    assert equal_rows(runs, other).tolist() == [True, True, False]
    kind = pa.fixed_shape_tensor(pa.uint8(), (2, 2))
    one, two = (
        pa.ExtensionArray.from_storage(kind, pa.array([cells, None], pa.list_(pa.uint8(), 4)))
        for cells in ([1, 2, 3, 4], [1, 2, 3, 5])
    )
    assert equal_rows(one, two).tolist() == [False, True]


values = st.none() | st.lists(st.none() | st.sampled_from([0.0, -0.0, 1.5, NAN]), max_size=3)


@given(st.lists(st.tuples(values, values), min_size=1, max_size=30))
def test_lists_of_floats_are_equal_exactly_where_their_text_is(pairs: list[tuple[Any, Any]]) -> None:
    left, right = (pa.array(side, pa.list_(pa.float64())) for side in zip(*pairs, strict=True))
    assert equal_rows(left, right).tolist() == [repr(one) == repr(other) for one, other in pairs]
