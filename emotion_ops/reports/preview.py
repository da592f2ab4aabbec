"""A few rows with what an operator appends to them, drawn on one sheet."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from PIL import Image

from emotion_ops.errors import OptionError
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.hooks import Card
from emotion_ops.operators.rows import Row, row_batches
from emotion_ops.reports.cards import SIDE, DrawnCard, draw_sheet, load_image, make_card

MAX_ROWS = 200
"""Maximum rows of a sheet: it is for looking at a few, and the formats of images limit their size."""


def check_rows(option: str, value: Any) -> int:
    """A number of rows that a sheet can show.

    Raises:
        OptionError: It is not a whole number from 1 to ``MAX_ROWS``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 1 <= int(value) <= MAX_ROWS:
        raise OptionError(option, value, f"give a whole number from 1 to {MAX_ROWS}")
    return int(value)


def draw_preview(
    operator: TableOperator, tables: Iterable[tuple[str, pa.Table | Mapping[str, Sequence[Any]]]]
) -> Image.Image:
    """Run some rows through an operator and draw them: image, boxes, headline and bars, or why a row failed.

    Args:
        operator: The operator; failed rows are shown, whatever its ``on_error`` is.
        tables: Few rows of inputs, as ``TableOperator.append_columns`` takes them; each table with what is written
            after the numbers of its rows.

    Raises:
        ColumnError: An input is missing or has a type that cannot be used.
        ModelError: The model cannot be used.
    """
    return draw_sheet([card for where, inputs in tables for card in preview_cards(operator, where, inputs)], columns=6)


def preview_cards(
    operator: TableOperator, where: str, inputs: pa.Table | Mapping[str, Sequence[Any]]
) -> Iterator[DrawnCard]:
    """The cards of some rows; see ``draw_preview``."""
    operator = dataclasses.replace(operator, on_error="null")
    for number, (card, image) in enumerate(read_cards(operator, inputs, operator.append_columns(inputs))):
        title = f"row {number}, {card.title}" if card.title else f"row {number}"
        yield DrawnCard(title + where, image, card)


def read_cards(
    operator: TableOperator, inputs: pa.Table | Mapping[str, Sequence[Any]], appended: pa.Table
) -> Iterator[tuple[Card, Image.Image | None]]:
    """The cards of rows whose columns were appended already, and their images; nothing is computed.

    Args:
        operator: What appended the columns; its access and limits are those for the images.
        inputs: The inputs of the rows.
        appended: The appended columns alone.
    """
    run = operator.new_run()
    rows = (Row(batch.columns, row, run) for batch in row_batches(inputs) for row in range(batch.count))
    for row, values in zip(rows, appended.to_pylist(), strict=True):
        card = make_card(operator, row, values)
        yield card, load_image(card, run, SIDE)
