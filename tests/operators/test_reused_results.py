"""Which results are reused for equal inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
from pictures import jpeg
from table_operators import CountWords

from emotion_ops import (
    ImageOperator,
    RowError,
)
from emotion_ops.testing.operators import ImageStatistics


@dataclass(frozen=True)
class Counting(ImageStatistics):
    """Counts the images that it computes."""

    computed: ClassVar[list[int]] = []

    def compute(self, items: Sequence[Any]) -> Sequence[Any]:
        type(self).computed.append(len(items))
        return items


def computed_by(operator: ImageOperator, table: pa.Table) -> int:
    kind = type("Fresh", (type(operator),), {"computed": []})  # a class of its own shares no results
    fresh = kind(**{field.name: getattr(operator, field.name) for field in dataclasses.fields(operator)})
    fresh(table)
    fresh(table)
    return sum(kind.computed)


def test_equal_inputs_are_computed_once_if_results_depend_on_one_image_alone() -> None:
    images = [jpeg(1, 40, 30), jpeg(2, 40, 30), jpeg(1, 40, 30), None, b"text", b"text"]
    table = pa.table({"image": pa.array(images, pa.binary()), "minimum": [0.5] * 6})

    class Uncacheable(Counting):
        is_cacheable = False

    class TwoInputs(Counting):
        inputs = ("image", "minimum")
        image_inputs = ("image",)

    class TwoImages(Counting):
        inputs = ("image", "second")

    assert computed_by(Counting(), table) == 2
    assert computed_by(Counting(cache=0), table) == 6
    assert computed_by(Uncacheable(), table) == 6
    assert computed_by(TwoInputs(), table) == 6
    assert computed_by(TwoImages(), table.append_column("second", table.column("image"))) == 6
    assert not CountWords().is_cacheable


def test_a_result_is_reused_by_equal_options_of_the_same_class_only() -> None:
    table = pa.table({"image": [jpeg(7, 40, 30)]})

    def define(shift: int) -> type[ImageStatistics]:
        class Shifted(ImageStatistics):
            def compute(self, items: Sequence[Any]) -> Sequence[Any]:
                return [(mean, width + shift, height) for mean, width, height in items]

        return Shifted

    first, again = define(1), define(2)
    assert first().identity() == again().identity()
    assert [kind()(table).column("width")[0].as_py() for kind in (first, again, first)] == [41, 42, 41]
    limited = ImageStatistics(limits={"max_side": 20})
    assert ImageStatistics()(table).column("image_error").null_count == 1
    assert limited(table).column("image_error").null_count == 0


def test_the_error_of_a_result_is_not_reused() -> None:
    calls: list[int] = []

    class Unlucky(ImageStatistics):
        def compute(self, items: Sequence[Any]) -> Sequence[Any]:
            calls.append(len(items))
            return [RowError("too_large", "no memory")] * len(items) if len(calls) == 1 else items

    table = pa.table({"image": [jpeg(8, 40, 30)] * 3})
    assert Unlucky()(table).column("image_error").to_pylist() == ["too_large: no memory"] * 3
    assert Unlucky()(table).column("image_error").to_pylist() == [None] * 3
    assert calls == [1, 1]
