"""Summaries, checks, comparisons and cards of appended columns, by default and for emotions."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import operator

import pyarrow as pa
import pytest
from faces_model import Marked
from hypothesis import given, settings, strategies as st
from marked_faces import CELLS
from pictures import jpeg

from emotion_ops import ClassifyEmotions, Faces, Labels
from emotion_ops.operators import hooks
from emotion_ops.operators.hooks import FAILED, GOOD, NO_VALUE

COLUMNS = pa.RecordBatch.from_pydict(
    {
        "word": ["a", "b", None, None],
        "size": pa.array([1.0, math.inf, 3.0, None], pa.float32()),
        "count": pa.array([1, 2, None, None], pa.int32()),
        "error": [None, None, None, "missing: it"],
    }
)


def changed(name: str, values: list[object]) -> pa.RecordBatch:
    place = COLUMNS.schema.names.index(name)
    return COLUMNS.set_column(place, COLUMNS.schema.field(place), pa.array(values, COLUMNS.schema.field(place).type))


def test_the_default_summary_counts_values_and_gives_means_of_finite_numbers() -> None:
    values, means = hooks.summarise(COLUMNS)
    assert values.values == {"word": 2, "size": 3, "count": 2}
    assert (means.per_row, means.values) == (True, {"size": 4.0, "count": 3.0})
    assert [measure.name for measure in hooks.summarise(COLUMNS.select(["word", "error"]))] == ["values"]


def test_the_default_check_finds_values_next_to_an_error_and_unknown_codes() -> None:
    codes = frozenset({"missing"})
    assert list(hooks.check_failed(COLUMNS, codes)) == []
    assert [row for row, _ in hooks.check_failed(changed("size", [1.0, 1.0, 1.0, 1.0]), codes)] == [3]
    [(row, what)] = hooks.check_failed(changed("error", [None, None, None, "lost: it"]), codes)
    assert (row, what) == (3, "failed with the unknown code 'lost'")
    assert list(hooks.check_failed(changed("error", [None, None, None, "lost: it"]), None)) == []


def test_the_default_comparison_has_categories_drifts_and_what_one_side_lacks() -> None:
    other = changed("size", [2.0, math.inf, None, None]).rename_columns(["word", "size", "number", "error"])
    found = hooks.compare_columns(COLUMNS, other)
    assert found.category_a.to_pylist() == ["a", "b", NO_VALUE, FAILED]
    assert {name: list(drift) for name, drift in found.drifts.items()} == {"size": [1.0, 0.0, math.inf, 0.0]}
    assert (found.only_in_a, found.only_in_b) == (("count",), ("number",))


def test_the_default_card_shows_the_first_value_and_notes_the_others() -> None:
    card = hooks.make_card(
        {"image": b"x", "text": "y", "size": 0.51234, "word": "a", "error": None}, ("image", "text"), ("image",)
    )
    assert (card.image, card.headline, list(card.notes), card.error) == (b"x", "size: 0.5123", ["word: a"], None)
    failed = hooks.make_card({"text": "y", "size": None, "error": "missing: it"}, ("text",), ())
    assert (failed.image, failed.headline, failed.error) == (None, "", "missing: it")


@pytest.mark.parametrize(
    "options",
    [{}, {"prefix": "e", "labels": Labels({"sad": 0.1}, 0.2), "on_error": "drop"}, {"faces": "largest", "image": "photo"},
     {"faces": Faces("all", threshold=0.5, min_size=3, margin=0.1, max_faces=4)}],
)  # fmt: skip
def test_an_operator_for_stored_columns_is_made_of_an_identity_and_loads_nothing(
    options: dict[str, object], tiny_model: str
) -> None:
    classify = ClassifyEmotions(model=tiny_model, **options)  # type: ignore[arg-type]
    faces = None if classify.faces is None else dataclasses.replace(classify.faces, detector=None)
    identity = {**classify.labels.identity(), **({} if faces is None else faces_identity(faces))}
    stored = {"image": classify.image, "prefix": classify.prefix, "on_error": classify.on_error, **identity}
    made = ClassifyEmotions.from_identity(stored)
    assert (made.image, made.prefix, made.on_error) == (classify.image, classify.prefix, classify.on_error)
    assert (made.labels, made.faces) == (classify.labels, faces)


def faces_identity(faces: Faces) -> dict[str, object]:
    """Its identity but the detector, whose file need not be there."""
    return {
        "faces": faces.which, "face_threshold": faces.threshold, "min_face_size": faces.min_size,
        "face_margin": faces.margin, "max_faces": faces.limit,
    }  # fmt: skip


def test_of_an_empty_identity_all_options_are_the_defaults() -> None:
    assert ClassifyEmotions.from_identity({"operator": "classify_emotions"}) == ClassifyEmotions()


def test_stored_columns_of_emotions_pass_their_own_check_and_compare_with_other_prefixes(tiny_model: str) -> None:
    cells = {"image": [jpeg(1, 40, 40), None, jpeg(2, 40, 40)]}
    one, other = (
        ClassifyEmotions(model=tiny_model, prefix=prefix).append_columns(cells).to_batches()[0] for prefix in "ab"
    )
    classify = ClassifyEmotions.from_identity({"prefix": "a"})
    assert list(classify.check(one)) == []
    found = classify.compare(one, other)
    assert found.category_a.to_pylist() == found.category_b.to_pylist()
    assert found.category_a.to_pylist()[1] == FAILED
    assert set(found.drifts) == {"sad", "disgust", "angry", "neutral", "fear", "surprise", "happy"}
    assert (found.only_in_a, found.only_in_b) == ((), ())


WORDS = st.sampled_from(["a", "b", "c", None])
NUMBERS = st.one_of(st.none(), st.floats(-1000, 1000, width=32), st.sampled_from([math.inf, -math.inf, math.nan]))


@st.composite
def rows_of_columns(draw: st.DrawFn, max_size: int = 12) -> pa.RecordBatch:
    """Appended columns of every type that hooks treat differently; failed rows are null in all of them."""
    count = draw(st.integers(0, max_size))

    def drawn(values: st.SearchStrategy[object]) -> list[object]:
        found = draw(st.lists(values, min_size=count, max_size=count))
        return [None if error else value for value, error in zip(found, errors, strict=True)]

    errors = draw(
        st.lists(st.sampled_from([None, None, "missing: it", "too_large: it"]), min_size=count, max_size=count)
    )
    words = pa.array(drawn(WORDS), pa.string())
    first = draw(st.sampled_from([words, words.dictionary_encode(), words.cast(pa.string_view())]))
    return pa.RecordBatch.from_arrays(
        [
            first,
            pa.array(drawn(NUMBERS), pa.float32()),
            pa.array(drawn(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))), pa.int64()),
            pa.array(drawn(st.one_of(st.none(), st.booleans())), pa.bool_()),
            pa.array(drawn(st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=2))), pa.list_(pa.int8())),
            pa.array(errors, pa.string()),
        ],
        ["word", "size", "count", "is_large", "items", "error"],
    )


@settings(max_examples=100, deadline=None)
@given(rows_of_columns(), st.lists(st.integers(0, 12), max_size=4))
def test_default_summaries_of_parts_add_up_to_the_summary_of_the_whole(
    columns: pa.RecordBatch, cuts: list[int]
) -> None:
    ends = sorted({0, columns.num_rows, *(min(cut, columns.num_rows) for cut in cuts)})
    parts = [columns.slice(start, end - start) for start, end in itertools.pairwise(ends)] or [columns]
    summaries = [hooks.summarise(part) for part in parts]
    for measures in zip(*summaries, hooks.summarise(columns), strict=True):
        *of_parts, whole = measures
        total = functools.reduce(operator.add, of_parts)
        assert (total.name, list(total.values)) == (whole.name, list(whole.values))
        for name, value in whole.values.items():
            rounding = 1e5 if name == "count" else 1e-9  # of 64-bit integers as float64
            assert total.values[name] == pytest.approx(value, abs=rounding), name


@settings(max_examples=100, deadline=None)
@given(rows_of_columns())
def test_the_default_comparison_of_equal_columns_finds_no_difference(columns: pa.RecordBatch) -> None:
    found = hooks.compare_columns(columns, columns)
    assert found.category_a.equals(found.category_b)
    assert found.category_a.null_count == 0
    assert set(found.drifts) == {"size", "count"}
    assert all((drift == 0).all() and len(drift) == columns.num_rows for drift in found.drifts.values())
    assert (found.only_in_a, found.only_in_b) == ((), ())


@settings(max_examples=100, deadline=None)
@given(rows_of_columns(), st.data())
def test_the_default_check_finds_each_value_next_to_an_error_and_each_unknown_code_and_nothing_else(
    columns: pa.RecordBatch, data: st.DataObject
) -> None:
    codes = frozenset({"missing", "too_large"})
    assert list(hooks.check_failed(columns, codes)) == []
    failed = [row for row, error in enumerate(columns.column("error").to_pylist()) if error is not None]
    if not failed:
        return
    row = data.draw(st.sampled_from(failed))
    values = {"word": "a", "size": math.nan, "count": 0, "is_large": False, "items": [], "error": "lost: it"}
    name = data.draw(st.sampled_from(list(values)))
    column = columns.column(name).to_pylist()
    column[row] = values[name]
    place = columns.schema.names.index(name)
    kind = pa.string() if name == "word" else columns.schema.field(place).type
    wrong = columns.set_column(place, name, pa.array(column, kind))
    expected = "failed with the unknown code 'lost'" if name == "error" else "failed, and has a value next to its error"
    assert list(hooks.check_failed(wrong, codes)) == [(row, expected)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8))
def test_a_drift_is_the_difference_of_two_numbers_and_lost_where_only_one_is_finite(
    pairs: list[tuple[float | None, float | None]],
) -> None:
    a, b = (pa.array([pair[side] for pair in pairs], pa.float32()) for side in (0, 1))
    for (one, other), found in zip(pairs, hooks.drift(a, b, lost=7.0), strict=True):
        finite = [number is not None and math.isfinite(number) for number in (one, other)]
        if all(finite):
            assert found == abs(one - other)
        else:
            assert found == (7.0 if any(finite) or (one != other and {one, other} == {math.inf, -math.inf}) else 0.0)


def test_categories_are_texts_and_truth_values_in_every_arrow_type() -> None:
    errors = pa.array([None, None, "missing: it"], pa.string())
    words = pa.array(["a", None, None], pa.string())
    for column in (words, words.cast(pa.large_string()), words.cast(pa.string_view()), words.dictionary_encode()):
        columns = pa.RecordBatch.from_arrays([column, errors], ["word", "error"])
        assert hooks.compare_columns(columns, columns).category_a.to_pylist() == ["a", NO_VALUE, FAILED], column.type
    for column in (pa.array([1, 2, None]), pa.array([[1], [], None])):
        columns = pa.RecordBatch.from_arrays([column, errors], ["number", "error"])
        assert hooks.compare_columns(columns, columns).category_a.to_pylist() == [GOOD, GOOD, FAILED]
    only_errors = pa.RecordBatch.from_arrays([errors], ["error"])
    assert hooks.compare_columns(only_errors, only_errors).category_a.to_pylist() == [GOOD, GOOD, FAILED]
    assert hooks.summarise(only_errors)[0].values == {}


def test_a_measure_shows_means_of_good_rows_or_its_counts() -> None:
    sums = hooks.Measure("m", "M", {"a": 3.0}, per_row=True)
    assert sums.shown(2) == {"a": 1.5}
    assert sums.shown(0) == {}
    assert hooks.Measure("m", "M", {"a": 3}).shown(0) == {"a": 3}
    assert (sums + hooks.Measure("m", "M", {"b": 1.0}, per_row=True)).values == {"a": 3.0, "b": 1.0}


@pytest.mark.parametrize("faces", [None, "largest", "all"])
def test_summaries_of_emotions_add_up_and_equal_columns_do_not_differ(faces: str | None, tiny_model: str) -> None:
    options = {} if faces is None else {"faces": Faces(faces, detector=Marked())}
    classify = ClassifyEmotions(model=tiny_model, labels=Labels(0.1, 0.2), **options)
    (columns,) = classify.append_columns({"image": CELLS}).combine_chunks().to_batches()
    assert list(classify.check(columns)) == []
    found = classify.compare(columns, columns)
    assert found.category_a.equals(found.category_b)
    assert all((drift == 0).all() for drift in found.drifts.values())
    for cut in range(columns.num_rows + 1):
        parts = zip(classify.summary(columns.slice(0, cut)), classify.summary(columns.slice(cut)), strict=True)
        for (one, other), whole in zip(parts, classify.summary(columns), strict=True):
            assert (one + other).values == pytest.approx(dict(whole.values)), whole.name
