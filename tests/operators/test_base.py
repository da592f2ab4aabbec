"""What the base class does for operators that define inputs, fields and two steps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st
from pictures import jpeg
from table_operators import TABLE, TEXTS, CompareBrightness, CountWords, change_operator

from emotion_ops import (
    ColumnExistsError,
    ColumnNotFoundError,
    ColumnTypeError,
    FrameTypeError,
    OptionError,
    Resources,
    Row,
    RowError,
    RowFailedError,
)
from emotion_ops.operators.base import METADATA_KEY
from emotion_ops.operators.hooks import FAILED, GOOD
from emotion_ops.operators.rows import PartResults, Parts
from emotion_ops.testing.operators import ImageStatistics


def test_columns_are_appended_and_a_failed_row_has_an_error_and_nulls() -> None:
    out = CountWords(max_words=2)(TABLE)
    assert out.select(TABLE.schema.names).equals(TABLE, check_metadata=True)
    assert out.schema.names == [*TABLE.schema.names, "words", "words_error"]
    assert out.column("words").to_pylist() == [1, 2, None, 0, None]
    assert out.column("words_error").to_pylist() == [None, None, "missing: a text is null", None, "too_long: 3 words"]
    (batch,) = TABLE.to_batches()
    assert CountWords(max_words=2)(batch).equals(out.combine_chunks().to_batches()[0], check_metadata=True)


def test_the_schema_is_known_without_a_row_and_has_the_lineage() -> None:
    operator = CountWords()
    schema = operator.output_schema(TABLE.schema)
    assert schema.equals(operator(TABLE).schema, check_metadata=True)
    assert schema.equals(operator(TABLE.slice(0, 0)).schema, check_metadata=True)
    assert schema.metadata == TABLE.schema.metadata
    metadata = schema.field("words").metadata
    assert metadata[b"unit"] == b"words"
    lineage = json.loads(metadata[METADATA_KEY])
    assert (lineage["operator"], lineage["columns"]) == (operator.name, ["words", "words_error"])
    assert set(operator.lineage()) <= set(lineage)


def test_an_operator_may_have_several_inputs_with_images_and_other_values() -> None:
    table = pa.table(
        {"minimum": [0.0, 1.0, None, 0.0], "image": [jpeg(1, 40, 40), jpeg(2, 40, 40), jpeg(3, 40, 40), None]}
    )
    out = CompareBrightness()(table)
    assert out.column("is_bright").to_pylist() == [True, False, None, None]
    assert [error and error.partition(":")[0] for error in out.column("bright_error").to_pylist()] == [
        None, None, "missing", "missing",
    ]  # fmt: skip
    assert out.column("seen_at").null_count == 2
    both = CountWords("text", "other")(TABLE)
    assert both.column("words").to_pylist() == [3, 4, None, 2, 5]


def test_the_steps_may_have_items_of_any_kind_and_columns_of_its_own() -> None:
    class Doubled(CountWords):
        def finish(self, results: Sequence[Any]) -> list[pa.Array]:
            return [pa.array([None if isinstance(one, RowError) else 2 * one for one in results], pa.int32())]

    assert Doubled()(TABLE).column("words").to_pylist() == [2, 4, None, 0, 6]
    as_array = change_operator(compute=lambda self, items: np.array([len(words) for words in items]))
    assert as_array(TABLE).column("words").to_pylist() == [1, 2, None, 0, 3]


def test_a_row_may_have_several_items_and_fails_if_one_of_them_does() -> None:
    class EachWord(CountWords):
        max_parts = 3

        def prepare(self, row: Row) -> Parts:
            return Parts(super().prepare(row), context=row["text"])

        def compute(self, items: Sequence[Any]) -> list[Any]:
            return [
                RowError("too_long", word) if word == "two" and self.max_words == 1 else len(word) for word in items
            ]

        def finish(self, results: Sequence[Any]) -> list[pa.Array]:
            assert all(isinstance(one, RowError | PartResults) for one in results)
            assert all(len(one.results) == len(one.context.split()) for one in results if isinstance(one, PartResults))
            sums = [sum(one.results) if isinstance(one, PartResults) else None for one in results]
            return [pa.array(sums, pa.int32())]

    for batch_size in (1, 2, 9):
        assert EachWord(batch_size=batch_size)(TABLE).column("words").to_pylist() == [3, 6, None, 0, 11]
        failing = EachWord(max_words=1, batch_size=batch_size)(TABLE)
        assert failing.column("words").to_pylist() == [3, None, None, 0, None]
        assert failing.column("words_error").to_pylist()[1] == "too_long: two"


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_on_error_drops_failed_rows_or_stops_at_the_first_whatever_step_it_failed_in(batch_size: int) -> None:
    options: dict[str, Any] = {"max_words": 1, "batch_size": batch_size}
    dropped = CountWords(on_error="drop", **options)(TABLE)
    assert dropped.column("id").to_pylist() == [0, 3]
    assert CountWords(on_error="drop", **options).append_columns(TABLE).num_rows == 5
    with pytest.raises(RowFailedError, match="row 1 of column 'text': too_long: 2 words") as caught:
        CountWords(on_error="raise", **options)(TABLE)  # row 2 fails earlier, when it is prepared
    assert (caught.value.row, caught.value.code, caught.value.column) == (1, "too_long", "text")
    with pytest.raises(RowFailedError, match="row 0 of column 'text, other'"):
        CountWords("text", "other", on_error="raise", **options)(TABLE)


WORDS = st.lists(st.sampled_from([None, "", "a", "a b", "a b c", "a b c d"]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 9))
def test_no_value_depends_on_batches_threads_or_how_the_table_is_cut(
    texts: list[str | None], chunk: int, batch_size: int, threads: int, max_rows: int
) -> None:
    table = pa.table({"text": pa.array(texts, pa.string())})
    cut = type("Cut", (CountWords,), {"max_rows": max_rows})
    options: dict[str, Any] = {"max_words": 2, "batch_size": batch_size, "resources": Resources(threads=threads)}
    expected = [None if one is None or len(one.split()) > 2 else len(one.split()) for one in texts]
    batches = table.to_batches(max_chunksize=chunk)
    out = list(cut(**options).stream(batches))
    assert [one.num_rows for one in out] == [one.num_rows for one in batches]
    assert [value for one in out for value in one.column("words").to_pylist()] == expected
    assert cut(**options).append_columns({"text": texts}).column("words").to_pylist() == expected
    raising = cut(on_error="raise", **options)
    if None in expected:
        with pytest.raises(RowFailedError) as caught:
            raising(table)
        assert caught.value.row == expected.index(None)
    else:
        assert raising(table).num_rows == len(texts)


@pytest.mark.parametrize("many_inputs", [False, True])
def test_a_table_without_an_input_or_with_one_of_its_columns_is_refused_before_a_row_is_read(many_inputs: bool) -> None:
    operator = CountWords("text", "second") if many_inputs else CountWords("absent")
    missing = operator.inputs[-1]
    for give in (
        operator,
        operator.output_schema,
        operator.append_columns,
        lambda table: next(operator.stream(table.to_batches())),
    ):
        with pytest.raises(ColumnNotFoundError, match=f"no column '{missing}'"):
            give(TABLE.schema if give == operator.output_schema else TABLE)
    twice = pa.Table.from_arrays([TABLE.column("text")] * 2, ["text", "text"])
    with pytest.raises(OptionError, match="2 columns have this name"):
        CountWords()(twice)
    with pytest.raises(ColumnExistsError, match=r"already has 'words': drop or rename them$"):
        CountWords()(TABLE.append_column("words", TABLE.column("id")))


def test_columns_are_appended_to_python_objects_of_one_length() -> None:
    out = CountWords("text", "other").append_columns({"unused": [1], "other": ["a"] * 5, "text": TEXTS})
    assert out.column("words").to_pylist() == [2, 3, None, 1, 4]
    assert out.schema.equals(CountWords("text", "other").appended_schema(), check_metadata=True)
    assert CountWords().append_columns({"text": []}).num_rows == 0
    with pytest.raises(ColumnNotFoundError, match=r"no column 'text'.*it has 'other'"):
        CountWords("text", "other").append_columns({"other": ["a"]})
    with pytest.raises(OptionError, match=r"inputs=\{'text': 5, 'other': 1\}.*the same length"):
        CountWords("text", "other").append_columns({"other": ["a"], "text": TEXTS})


def test_what_is_not_an_arrow_table_is_refused_anywhere_in_a_stream() -> None:
    with pytest.raises(FrameTypeError, match=r"dict is not a table.*emotion_ops\.append_columns"):
        CountWords()({"text": TEXTS})  # type: ignore[type-var]
    (batch,) = TABLE.to_batches()
    for batches in ([TABLE], [batch, TABLE]):
        with pytest.raises(FrameTypeError, match=r"a Table is not .*to_batches"):
            list(CountWords().stream(batches))  # type: ignore[arg-type]


def test_a_value_that_python_cannot_have_is_the_error_of_its_row() -> None:
    offsets, data = pa.py_buffer(np.array([0, 3, 5], np.int32)), pa.py_buffer(b"one\xff\xfe")
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, data])
    first, second = CountWords()(pa.table({"text": texts})).column("words_error").to_pylist()
    assert first is None
    assert second.startswith("unreadable: column 'text' has a value that cannot be read as string")

    late = change_operator(prepare=lambda self, row: [str(row["text"])])
    dates = pa.array([0, 2**30], pa.int32()).cast(pa.date32())
    first, second = late(pa.table({"text": dates})).column("words_error").to_pylist()
    assert first is None
    assert second.startswith("unreadable: column 'text' has a value that cannot be read as date32")


@pytest.mark.parametrize(("batch_size", "sizes"), [("auto", [32, 32, 6]), (40, [40, 30]), (1, [1] * 70)])
def test_compute_gets_whole_batches_of_the_size_that_was_asked_for(batch_size: Any, sizes: list[int]) -> None:
    batches: list[int] = []

    def compute(self: CountWords, items: Sequence[Any]) -> list[int]:
        batches.append(len(items))
        return [1] * len(items)

    operator = dataclasses.replace(change_operator(compute=compute), batch_size=batch_size)
    operator(pa.table({"text": ["a"] * 70}))
    assert batches == sizes


def test_finish_gets_at_most_max_rows_and_a_batch_comes_out_whole() -> None:
    sizes: list[int] = []

    class Few(CountWords):
        max_rows = 4

        def finish(self, results: Sequence[Any]) -> Sequence[pa.Array]:
            sizes.append(len(results))
            return super().finish(results)

    (batch,) = pa.table({"text": ["a"] * 10}).to_batches()
    assert Few()(batch).num_rows == 10
    assert sorted(sizes) == [2, 4, 4]


def test_an_image_operator_refuses_columns_that_hold_no_images_before_a_row_is_read() -> None:
    with pytest.raises(ColumnTypeError, match="column 'image' holds int64, not images"):
        CompareBrightness().check_schema(pa.schema({"image": pa.int64(), "minimum": pa.float64()}))
    CompareBrightness().check_schema(pa.schema({"image": pa.string(), "minimum": pa.float64()}))
    assert CompareBrightness().image_inputs == ("image",)
    assert ImageStatistics("photo").image_inputs == ("photo",)
    assert CountWords().image_inputs == ()


def test_the_columns_of_any_operator_can_be_summed_up_checked_compared_and_shown() -> None:
    operator = CountWords(max_words=2)
    (columns,) = operator.append_columns(TABLE).to_batches()
    values, means = operator.summary(columns)
    assert (values.values, means.shown(3)) == ({"words": 3}, {"words": 1.0})
    assert list(operator.check(columns)) == []
    unknown = columns.set_column(1, columns.schema.field(1), pa.array([None, None, "lost: it", None, "too_long: it"]))
    assert list(operator.check(unknown)) == [(2, "failed with the unknown code 'lost'")]
    found = operator.compare(columns, columns)
    assert found.category_a.to_pylist() == [GOOD, GOOD, FAILED, GOOD, FAILED]
    assert found.drifts["words"].tolist() == [0.0] * 5
    card = operator.card({"text": "one two", "words": 2, "words_error": None})
    assert (card.image, card.headline, card.error) == (None, "words: 2", None)
    image = ImageStatistics().card({"image": b"x", "brightness": 0.5, "width": 3, "height": 4, "image_error": None})
    assert (image.image, image.headline, list(image.notes)) == (b"x", "brightness: 0.5", ["width: 3", "height: 4"])
