"""A contact sheet: pictures with their label and the bars of their probabilities, as one picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

_PAPER, _CARD, _INK, _SOFT, _TRACK = "#f4f4f1", "#ffffff", "#22252a", "#6d7278", "#e6e7e9"
_BAR, _BEST, _ALARM = "#9db2c9", "#0b63a5", "#a4262c"  # told apart by lightness too
_PAD, _GAP, _ROW = 14, 16, 19

SIDE = 200
"""Width and height of the picture on a card."""


@dataclass(frozen=True)
class Picture:
    """One card of the sheet.

    Attributes:
        image: The picture; None where there is none to show.
        title: A short line above it.
        label: The label of the highest probability; None where the row failed, or nothing is sure enough.
        probabilities: By label, 0 to 1, in the order of the bars; may be empty where the row failed.
        error: Why the row failed; shown in place of the bars.
    """

    image: Image.Image | None
    title: str
    label: str | None
    probabilities: Mapping[str, float]
    error: str | None = None


def contact_sheet(pictures: Sequence[Picture], *, columns: int = 7) -> Image.Image:
    """Draw the cards row by row.

    Args:
        pictures: What to show.
        columns: Cards in a row, at the most.

    Returns:
        An RGB picture; a blank card's size for no pictures.
    """
    bars = max((len(picture.probabilities) for picture in pictures), default=1)
    width, height = SIDE + 2 * _PAD, SIDE + 2 * _PAD + 54 + bars * _ROW
    columns = max(1, min(columns, len(pictures)))
    rows = -(-max(1, len(pictures)) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), _PAPER)
    for position, picture in enumerate(pictures):
        left = _GAP + position % columns * (width + _GAP)
        top = _GAP + position // columns * (height + _GAP)
        _draw_card(sheet, picture, left, top, width, height)
    return sheet


def _draw_card(sheet: Image.Image, picture: Picture, left: int, top: int, width: int, height: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.rounded_rectangle((left, top, left + width, top + height), 8, fill=_CARD)
    x, y = left + _PAD, top + _PAD
    draw.text((x, y - 3), _shortened(picture.title, 30), font=_font(12), fill=_SOFT)
    y += 16
    if picture.image is None:
        draw.rectangle((x, y, x + SIDE, y + SIDE), fill=_TRACK)
        draw.text((x + SIDE // 2, y + SIDE // 2), "no picture", font=_font(13), fill=_SOFT, anchor="mm")
    else:
        sheet.paste(ImageOps.fit(picture.image.convert("RGB"), (SIDE, SIDE)), (x, y))
    y += SIDE + 8
    if picture.error is not None or not picture.probabilities:
        code, _, detail = (picture.error or "no answer").partition(": ")
        draw.text((x, y), code, font=_font(18), fill=_ALARM)
        draw.multiline_text(
            (x, y + 28), "\n".join(textwrap.wrap(detail, 30)[:7]), font=_font(12), fill=_SOFT, spacing=4
        )
        return
    best = max(picture.probabilities, key=lambda label: picture.probabilities[label])
    draw.text((x, y), picture.label or "unsure", font=_font(18), fill=_INK)
    draw.text((x + SIDE, y + 2), f"{picture.probabilities[best]:.0%}", font=_font(16), fill=_INK, anchor="ra")
    y += 30
    for label, probability in picture.probabilities.items():
        draw.text((x, y), _shortened(label, 11), font=_font(12), fill=_INK if label == best else _SOFT)
        start, end = x + 66, x + SIDE
        draw.rounded_rectangle((start, y + 3, end, y + 12), 3, fill=_TRACK)
        filled = start + round((end - start) * min(1.0, max(0.0, probability)))
        if filled - start >= 2:
            draw.rounded_rectangle(
                (start, y + 3, filled, y + 12), min(3, (filled - start) // 2), fill=_BEST if label == best else _BAR
            )
        y += _ROW


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
