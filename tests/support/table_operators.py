"""Small table operators for tests, with inputs and results of several kinds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pyarrow as pa

from emotion_ops import ImageOperator, Row, RowError, TableOperator
from emotion_ops.options import OptionGroup, names, number, option, text, whole_number


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


@dataclass(frozen=True)
class Ignoring(OptionGroup):
    """Which words are not counted.

    Args:
        words: The words.
    """

    words: tuple[str, ...] = option(names, (), flag="ignored_words")


@dataclass(frozen=True)
class CountWords(TableOperator):
    """Count the words of a text, which may be two columns.

    Args:
        column: The column of texts.
        second: A further column of texts.
        max_words: Texts of more words fail.
        ignoring: Which words are not counted.
    """

    own_error_codes: ClassVar[frozenset[str]] = frozenset({"too_long"})

    column: str = option(text, "text")
    second: str | None = None
    _: dataclasses.KW_ONLY
    max_words: int = option(whole_number, 100)
    ignoring: Ignoring = option(Ignoring.check, Ignoring())

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.column,) if self.second is None else (self.column, self.second)

    def output_fields(self) -> list[pa.Field]:
        return [pa.field("words", pa.int32(), metadata={"unit": "words"}), pa.field("words_error", pa.string())]

    def prepare(self, row: Row) -> list[str]:
        assert tuple(row) == self.inputs, "a row has its inputs and nothing else"
        if None in row.values():
            raise RowError("missing", "a text is null")
        return " ".join(row.values()).split()

    def compute(self, items: Sequence[list[str]]) -> list[int | RowError]:
        counts = [sum(word not in self.ignoring.words for word in words) for words in items]
        return [RowError("too_long", f"{count} words") if count > self.max_words else count for count in counts]


TEXTS = ["one", "one two", None, "", "one two three"]
TABLE = pa.table({"id": range(5), "text": TEXTS, "other": ["a b"] * 5}, metadata={"owner": "someone"})


def change_operator(**attributes: Any) -> CountWords:
    """A ``CountWords`` with other methods or class attributes."""
    return type("Changed", (CountWords,), attributes)()  # type: ignore[no-any-return]
