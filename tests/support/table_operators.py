"""Small table operators for tests, with inputs and results of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from emotion_ops import ImageOperator, Row, RowError
from emotion_ops.options import number, option, text


def any_number(name: str, value: Any) -> float:
    return number(name, value, lambda _: True, "give a number")


@dataclass(frozen=True)
class CompareBrightness(ImageOperator):
    """Whether images are at least as bright as a number in another column, with one column of each common type.

    Args:
        image: The column of images.
        minimum: The column of numbers.
        shift: Added to the brightness.
    """

    image: str = option(text, "image")
    minimum: str = option(text, "minimum")
    shift: float = option(any_number, 0.0)

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.image, self.minimum

    @property
    def image_inputs(self) -> tuple[str, ...]:
        return (self.image,)

    def output_fields(self) -> list[pa.Field]:
        types = {
            "is_bright": pa.bool_(), "level": pa.uint8(), "words": pa.list_(pa.field("element", pa.string())),
            "seen_at": pa.timestamp("us", "UTC"), "bright_error": pa.string(),
        }  # fmt: skip
        return [pa.field(name, type_) for name, type_ in types.items()]

    def prepare(self, row: Row) -> tuple[float, float]:
        if row[self.minimum] is None:
            raise RowError("missing", f"{self.minimum!r} is null")
        return float(row.image(self.image).mean()) / 255 + self.shift, float(row[self.minimum])

    def compute(self, items: Sequence[tuple[float, float]]) -> list[tuple[Any, ...]]:
        day = datetime(2026, 1, 1, tzinfo=UTC)
        return [
            (mean >= least, round(mean * 255), [f"{mean:.2f}", f"{least:.2f}"], day + timedelta(seconds=round(mean * 255)))
            for mean, least in items
        ]  # fmt: skip
