"""Cards of rows, drawn with Pillow: an image with its boxes, a headline, bars and notes; many of them as one sheet."""

from __future__ import annotations

import bisect
import functools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from emotion_ops.errors import RowError
from emotion_ops.images.objects import to_cell
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.hooks import Box, Card
from emotion_ops.operators.rows import Row
from emotion_ops.operators.run import Run

SIDE = 200
"""Width and height of the image on a card, in pixels."""

_PAPER, _CARD, _INK, _SOFT, _TRACK = "#f4f4f1", "#ffffff", "#22252a", "#6d7278", "#e6e7e9"
_BAR, _BEST, _ALARM = "#9db2c9", "#0b63a5", "#a4262c"  # they differ in lightness too
_FIRST_BOX, _OTHER_BOX, _OUTLINE = "#ffd166", "#ffffff", "#000000"
_PAD, _GAP, _TITLE, _HEADLINE, _ROW, _LINE = 14, 16, 18, 32, 19, 16
_MIN_NAME, _MAX_NAME, _MIN_TEXT_IN_BOX = 60, 106, 41  # widths in pixels
_MAX_BARS, _MAX_ERROR_LINES, _MAX_NOTE_LINES = 24, 9, 4
_ASCII = str.maketrans({"×": "x", "–": "-", "—": "-", "→": "->", "≥": ">=", "≤": "<=", "’": "'"})


@dataclass(frozen=True)
class DrawnCard:
    """A card that is ready to be drawn.

    Attributes:
        title: A short line above the image.
        image: The image, at most ``SIDE`` pixels wide and high; None if there is none to show.
        card: Everything else.
    """

    title: str
    image: Image.Image | None
    card: Card


def make_card(operator: TableOperator, inputs: Row, appended: Mapping[str, Any]) -> Card:
    """The card of a row.

    Args:
        operator: What appended the columns.
        inputs: The row of inputs; an input that is not there is null.
        appended: The appended columns by name.
    """
    values = {name: _value(inputs, name, is_image=name in operator.image_inputs) for name in operator.inputs}
    return operator.card({**values, **appended})


def load_image(card: Card, run: Run, side: int) -> Image.Image | None:
    """The image of a card with its boxes; None if it cannot be loaded.

    Args:
        card: The card.
        run: Loads it, within the access and the limits of its operator.
        side: Maximum width and height in pixels.
    """
    full_size = (1, 1)

    def shrink(image: Image.Image) -> NDArray[np.uint8]:
        nonlocal full_size
        full_size = image.size
        return np.asarray(ImageOps.contain(image, (side, side)))

    try:
        image = Image.fromarray(run.loader(shrink).load(to_cell(card.image)))
    except RowError:
        return None
    _draw_boxes(image, card.boxes, image.width / full_size[0])
    return image


def draw_sheet(cards: Sequence[DrawnCard], *, columns: int = 7) -> Image.Image:
    """Draw cards row by row.

    Args:
        cards: The cards.
        columns: Maximum cards in a row; more if the sheet would be a long strip.

    Returns:
        An RGB image; without cards it has the size of a blank one.
    """
    height = max((_height(card.card) for card in cards), default=_ROW) + _TITLE + SIDE + _HEADLINE + 2 * _PAD
    width = SIDE + 2 * _PAD
    columns = max(1, min(max(columns, math.isqrt(2 * len(cards))), len(cards)))
    rows = -(-max(1, len(cards)) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for position, card in enumerate(cards):
        left = _GAP + position % columns * (width + _GAP)
        top = _GAP + position // columns * (height + _GAP)
        draw.rounded_rectangle((left, top, left + width, top + height), 8, fill=_CARD)
        _draw_card(sheet, draw, left + _PAD, top + _PAD, card)
    return sheet


def fit_text(text: str, size: int, width: float) -> str:
    """A text as one line of ASCII, which Pillow's font has; cut off with an ellipsis where it is too wide.

    Accents are left out. A letter that has no ASCII form is written as Python escapes it.

    Args:
        text: The text.
        size: Of the font, in pixels.
        width: Maximum width in pixels.
    """
    text = _to_ascii(text)
    if _text_width(text, size) <= width:
        return text
    fitting = _count_fitting(text, size, width - _text_width("…", size))
    return f"{text[:fitting].rstrip()}…"


def wrap_text(text: str, size: int, width: float, max_lines: int) -> list[str]:
    """The same in several lines, broken at spaces where possible; the last line is cut off if there are too many."""
    rest, lines = _to_ascii(text), list[str]()
    while len(lines) < max_lines - 1 and _text_width(rest, size) > width:
        end = max(1, _count_fitting(rest, size, width))
        space = rest.rfind(" ", 1, end + 1)
        end = end if space < 0 else space  # a long word is broken
        lines.append(rest[:end])
        rest = rest[end:].lstrip()
    return [*lines, fit_text(rest, size, width)]


def _value(inputs: Row, name: str, *, is_image: bool) -> Any:
    if name not in inputs:
        return None
    try:
        return inputs.cell(name) if is_image else inputs[name]
    except RowError:
        return None


def _to_ascii(text: str) -> str:
    letters = unicodedata.normalize("NFKD", " ".join(text[:400].split()).translate(_ASCII))
    plain = (letter for letter in letters if not unicodedata.combining(letter))
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in plain)


@functools.lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text_width(text: str, size: int) -> float:
    return _font(size).getlength(text)


def _count_fitting(text: str, size: int, width: float) -> int:
    """How many letters of a text are not wider than this."""
    return bisect.bisect_right(range(1, len(text) + 1), width, key=lambda end: _text_width(text[:end], size))


def _draw_boxes(image: Image.Image, boxes: Sequence[Box], scale: float) -> None:
    """Draw boxes, the first on top, and write their texts into them where there is room."""
    draw = ImageDraw.Draw(image)
    scaled = [
        (box.x * scale, box.y * scale, (box.x + box.width) * scale, (box.y + box.height) * scale) for box in boxes
    ]
    for place, corners in reversed(list(enumerate(scaled))):
        draw.rectangle(corners, outline=_OTHER_BOX if place else _FIRST_BOX, width=2)
    written: list[tuple[float, float, float, float]] = []
    for box, (left, top, right, bottom) in zip(boxes, scaled, strict=True):
        room = right - left - 7
        text = fit_text(box.text, 10, max(room, _MIN_TEXT_IN_BOX))
        width = _text_width(text, 10)
        area = (left + 3, bottom - 16, left + 5 + width, bottom - 2)
        overlaps = any(area[0] < b[2] and b[0] < area[2] and area[1] < b[3] and b[1] < area[3] for b in written)
        if text and width <= room and area[1] >= top and not overlaps:
            written.append(area)
            outline = {"stroke_width": 1, "stroke_fill": _OUTLINE}
            _write(draw, (left + 4, bottom - 5), text, 10, _OTHER_BOX, anchor="ls", **outline)


def _height(card: Card) -> int:
    """Height of what is below the headline."""
    lines = len(_lines(card)) * _LINE
    return lines if card.error is not None else len(_bars(card)) * _ROW + (lines + 6 if lines else 0)


def _lines(card: Card) -> list[str]:
    if card.error is not None:
        return wrap_text(card.error.partition(": ")[2], 12, SIDE, _MAX_ERROR_LINES)
    left_out = len(card.bars) - len(_bars(card))
    notes = [*([f"and {left_out:,} smaller values"] if left_out else []), *card.notes]
    return [line for note in notes for line in wrap_text(note, 12, SIDE, _MAX_NOTE_LINES)]


def _bars(card: Card) -> Mapping[str, float]:
    """The bars that are drawn, in their order: of many the largest."""
    largest = sorted(card.bars, key=lambda name: -card.bars[name])[:_MAX_BARS]
    return {name: value for name, value in card.bars.items() if name in largest}


def _draw_card(sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, drawn: DrawnCard) -> None:
    card = drawn.card
    _write(draw, (x, y - 3), fit_text(drawn.title, 12, SIDE), 12, _SOFT)
    y += _TITLE
    if drawn.image is None:
        draw.rectangle((x, y, x + SIDE, y + SIDE), fill=_TRACK)
        _write(draw, (x + SIDE // 2, y + SIDE // 2), "no image", 13, _SOFT, anchor="mm")
    else:
        sheet.paste(ImageOps.pad(drawn.image.convert("RGB"), (SIDE, SIDE), color=_TRACK), (x, y))
    y += SIDE + 8
    if card.error is not None:
        _write(draw, (x, y), fit_text(card.error.partition(":")[0], 18, SIDE), 18, _ALARM)
    else:
        value = "" if card.value is None else f"{card.value:.0%}"
        _write(draw, (x + SIDE, y + 2), value, 16, _INK, anchor="ra")
        room = SIDE - (math.ceil(_text_width(value, 16)) + 8 if value else 0)
        _write(draw, (x, y), fit_text(card.headline, 18, room), 18, _INK)
    y += _HEADLINE - 2
    if card.error is None:
        y = _draw_bars(draw, x, y, card)
    for number, line in enumerate(_lines(card)):
        _write(draw, (x, y + number * _LINE), line, 12, _SOFT)


def _draw_bars(draw: ImageDraw.ImageDraw, x: int, y: int, card: Card) -> int:
    """Draw the bars; where they end."""
    bars = _bars(card)
    names = {name: fit_text(name, 12, _MAX_NAME) for name in bars}
    start = x + 6 + math.ceil(max([_MIN_NAME, *(_text_width(text, 12) for text in names.values())]))
    end, best = x + SIDE, max(bars, key=lambda name: bars[name], default="")
    for name, value in bars.items():
        if name in card.marked:
            draw.ellipse((x - 10, y + 5, x - 4, y + 11), fill=_BEST)
        _write(draw, (x, y), names[name], 12, _INK if name == best or name in card.marked else _SOFT)
        draw.rounded_rectangle((start, y + 3, end, y + 12), 3, fill=_TRACK)
        filled = start + round((end - start) * min(1.0, max(0.0, value)))
        if filled - start >= 2:
            colour = _BEST if name == best else _BAR
            draw.rounded_rectangle((start, y + 3, filled, y + 12), min(3, (filled - start) // 2), fill=colour)
        y += _ROW
    return y + 6 if bars else y


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, colour: str, **options: Any
) -> None:
    draw.text(place, text, font=_font(size), fill=colour, **options)
