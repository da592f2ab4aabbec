"""A contact sheet: pictures with their label and the bars of their probabilities, as one picture."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from emotion_ops.reports.lettering import Lettering, shortened, wrapped

_PAPER, _CARD, _INK, _SOFT, _TRACK = "#f4f4f1", "#ffffff", "#22252a", "#6d7278", "#e6e7e9"
_BAR, _BEST, _ALARM = "#9db2c9", "#0b63a5", "#a4262c"  # told apart by lightness too
_PAD, _GAP, _ROW, _LINE = 14, 16, 19, 16
_LEAST_NAME, _MOST_NAME = 60, 106  # the room that labels of bars take
_TITLE, _SPACE, _HEADLINE = 16, 8, 30  # above the picture, below it, and the line that stands there
_MOST_BARS, _MOST_LINES, _MOST_NOTES = 24, 9, 4

SIDE = 200
"""Width and height of the picture on a card."""


@dataclass(frozen=True)
class Picture:
    """One card of the sheet.

    Attributes:
        image: The picture; None where there is none to show.
        title: A short line above it.
        label: The label of the highest probability; None where the row failed, or nothing is sure enough.
        probabilities: By label, 0 to 1, in the order of the bars; may be empty where the row failed. Of more than 24
            the highest are shown.
        error: Why the row failed; shown in place of the bars.
        listed: Labels that get a dot: those that reach their thresholds.
        notes: What else there is to say, below the bars.
    """

    image: Image.Image | None
    title: str
    label: str | None
    probabilities: Mapping[str, float]
    error: str | None = None
    listed: Collection[str] = ()
    notes: Sequence[str] = ()


def contact_sheet(pictures: Sequence[Picture], *, columns: int = 7) -> Image.Image:
    """Draw the cards row by row.

    Args:
        pictures: What to show.
        columns: Cards in a row, at the most; more where there are so many cards that the sheet would be a long strip.

    Returns:
        An RGB picture; a blank card's size for no pictures.
    """
    cards = [_Card(picture) for picture in pictures]
    width = SIDE + 2 * _PAD
    height = _TITLE + SIDE + _SPACE + _HEADLINE + 2 * _PAD + max((card.below for card in cards), default=_ROW)
    columns = max(1, min(max(columns, math.isqrt(2 * len(cards))), len(cards)))
    rows = -(-max(1, len(cards)) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for position, card in enumerate(cards):
        left = _GAP + position % columns * (width + _GAP)
        top = _GAP + position // columns * (height + _GAP)
        draw.rounded_rectangle((left, top, left + width, top + height), 8, fill=_CARD)
        card.draw(sheet, draw, left + _PAD, top + _PAD)
    return sheet


class _Card:
    """A picture and the lines of text that stand with it."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._failed = picture.error is not None or not picture.probabilities
        code, _, detail = (picture.error or "no answer").partition(": ")
        self._code = shortened(code, 18, SIDE)
        self._bars = _most_probable(picture.probabilities)
        left_out = len(picture.probabilities) - len(self._bars)
        notes = [*([f"and {left_out:,} less probable labels"] if left_out else []), *picture.notes]
        self._names = {label: shortened(label, 12, _MOST_NAME) for label in self._bars}
        if self._failed:
            self._lines = wrapped(detail, 12, SIDE, _MOST_LINES)
        else:
            self._lines = [line for note in notes for line in wrapped(note, 12, SIDE, _MOST_NOTES)]

    @property
    def below(self) -> int:
        """The height of what stands below headline and picture."""
        text = len(self._lines) * _LINE
        return text if self._failed else len(self._bars) * _ROW + (text + 6 if text else 0)

    def draw(self, sheet: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        """Draw it from a corner on; the card itself is there already."""
        picture = self._picture
        _write(draw, x, y - 3, shortened(picture.title, 12, SIDE), _SOFT)
        y += _TITLE
        if picture.image is None:
            draw.rectangle((x, y, x + SIDE, y + SIDE), fill=_TRACK)
            nothing = shortened("no picture", 13, SIDE)
            draw.text((x + SIDE // 2, y + SIDE // 2), nothing.text, font=nothing.font, fill=_SOFT, anchor="mm")
        else:
            sheet.paste(ImageOps.fit(picture.image.convert("RGB"), (SIDE, SIDE)), (x, y))
        y += SIDE + _SPACE
        if self._failed:
            _write(draw, x, y, self._code, _ALARM)
        else:
            self._write_headline(draw, x, y)
            start = x + 6 + math.ceil(max(_LEAST_NAME, *(name.width for name in self._names.values())))
            for place, label in enumerate(self._bars):
                self._draw_bar(draw, x, start, y + _HEADLINE + place * _ROW, label)
            y += len(self._bars) * _ROW + 6
        for place, line in enumerate(self._lines):
            _write(draw, x, y + _HEADLINE - 2 + place * _LINE, line, _SOFT)

    def _write_headline(self, draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
        room, picture = SIDE, self._picture
        if picture.label is not None:
            percent = shortened(f"{max(picture.probabilities.values()):.0%}", 16, SIDE)
            draw.text((x + SIDE, y + 2), percent.text, font=percent.font, fill=_INK, anchor="ra")
            room -= math.ceil(percent.width) + 8
        _write(draw, x, y, shortened(picture.label or "unsure", 18, room), _INK)

    def _draw_bar(self, draw: ImageDraw.ImageDraw, x: int, start: int, y: int, label: str) -> None:
        probability, is_listed = self._picture.probabilities[label], label in self._picture.listed
        is_best = label == max(self._bars, key=lambda one: self._bars[one])
        if is_listed:
            draw.ellipse((x - 10, y + 5, x - 4, y + 11), fill=_BEST)
        _write(draw, x, y, self._names[label], _INK if is_best or is_listed else _SOFT)
        end = x + SIDE
        draw.rounded_rectangle((start, y + 3, end, y + 12), 3, fill=_TRACK)
        filled = start + round((end - start) * min(1.0, max(0.0, probability)))
        if filled - start >= 2:
            radius = min(3, (filled - start) // 2)
            draw.rounded_rectangle((start, y + 3, filled, y + 12), radius, fill=_BEST if is_best else _BAR)


def _most_probable(probabilities: Mapping[str, float]) -> dict[str, float]:
    """The bars that are drawn, in their order."""
    ranked = sorted(probabilities, key=lambda label: -probabilities[label])[:_MOST_BARS]
    return {label: probability for label, probability in probabilities.items() if label in ranked}


def _write(draw: ImageDraw.ImageDraw, x: float, y: float, line: Lettering, colour: str) -> None:
    draw.text((x, y), line.text, font=line.font, fill=colour)
