"""What an operator says about its columns, by default and for emotions: summaries, checks, comparisons, cards."""

from __future__ import annotations

import dataclasses
import math

import pyarrow as pa
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions, Faces, Labels
from emotion_ops.operators import hooks
from emotion_ops.operators.hooks import FAILED, NO_VALUE

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
    operator = ClassifyEmotions(model=tiny_model, **options)  # type: ignore[arg-type]
    faces = None if operator.faces is None else dataclasses.replace(operator.faces, detector=None)
    identity = {**operator.labels.identity(), **({} if faces is None else faces_identity(faces))}
    stored = {"image": operator.image, "prefix": operator.prefix, "on_error": operator.on_error, **identity}
    made = ClassifyEmotions.from_identity(stored)
    assert (made.image, made.prefix, made.on_error) == (operator.image, operator.prefix, operator.on_error)
    assert (made.labels, made.faces) == (operator.labels, faces)


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
    operator = ClassifyEmotions.from_identity({"prefix": "a"})
    assert list(operator.check(one)) == []
    found = operator.compare(one, other)
    assert found.category_a.to_pylist() == found.category_b.to_pylist()
    assert found.category_a.to_pylist()[1] == FAILED
    assert set(found.drifts) == {"sad", "disgust", "angry", "neutral", "fear", "surprise", "happy"}
    assert (found.only_in_a, found.only_in_b) == ((), ())
