"""Cards show each row with its image, boxes, bars and notes, and a failed row with its reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageFont

from emotion_ops import EMOTIONS
from emotion_ops.operators.hooks import Card
from emotion_ops.reports.cards import SIDE, DrawnCard, draw_sheet, fit_text, wrap_text

SOFT, CARD, PAPER, BEST = (0x6D, 0x72, 0x78), (255, 255, 255), (0xF4, 0xF4, 0xF1), (0x0B, 0x63, 0xA5)
GREEN = Image.new("RGB", (300, 100), "green")
LONG = "an extremely long label of an emotion"


def classified(label: str, probability: float) -> Card:
    rest = (1 - probability) / 6
    bars = {name: probability if name == label else rest for name in EMOTIONS}
    return Card(headline=label, value=probability, bars=bars)


def sheet_of(*cards: Card, image: Image.Image | None = None, title: str = "a title", columns: int = 7) -> Image.Image:
    return draw_sheet([DrawnCard(title, image, card) for card in cards], columns=columns)


def count_pixels(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(axis=-1).sum())


def test_the_length_of_a_bar_is_its_value() -> None:
    half, whole = (count_pixels(sheet_of(classified("sad", p)), BEST) for p in (0.5, 1.0))
    assert 0.45 < half / whole < 0.55


def test_cards_are_laid_out_in_rows_and_none_is_missing() -> None:
    one = sheet_of(classified("sad", 0.9), image=GREEN)
    nine = sheet_of(*[classified("sad", 0.9)] * 9, image=GREEN, columns=4)
    assert nine.width > 3.5 * one.width
    assert nine.height > 2.5 * one.height
    assert count_pixels(nine, (0, 128, 0)) == 9 * count_pixels(one, (0, 128, 0)) > 0


def test_a_failed_row_shows_its_reason_instead_of_bars() -> None:
    failed = sheet_of(Card(error="not_found: nothing is at 'x.jpg'", bars={"sad": 1.0}))
    assert count_pixels(failed, (0xA4, 0x26, 0x2C)) > 50
    assert count_pixels(failed, BEST) == 0
    assert draw_sheet([]).mode == "RGB"


def test_a_row_without_bars_shows_its_headline_and_notes() -> None:
    shown = sheet_of(Card(headline="brightness: 0.5", notes=["width: 40", "height: 30"]))
    assert count_pixels(shown, (0x22, 0x25, 0x2A)) > 20
    assert count_pixels(shown, SOFT) > count_pixels(sheet_of(Card(headline="brightness: 0.5")), SOFT)


def test_a_long_reason_has_its_whole_room_if_all_rows_fail() -> None:
    reason = "not_found: nothing is at '/" + "a/long/path/without/a/space/" * 6 + "face.png'"
    failed = Card(error=reason)
    alone, next_to_another = sheet_of(failed), sheet_of(failed, classified("sad", 0.9))
    assert count_pixels(alone, SOFT) == count_pixels(next_to_another.crop((0, 0, *alone.size)), SOFT)
    lowest = np.nonzero((np.asarray(alone) == SOFT).any(axis=(1, 2)))[0].max()
    assert lowest < alone.height - 16
    assert alone.height >= sheet_of(Card(error="missing: the cell is null")).height + 5 * 16


def test_a_long_label_does_not_cover_its_percentage_its_bar_or_the_next_card() -> None:
    bars = dict.fromkeys([LONG, "happy"], 0.5)
    long, short = (
        np.asarray(
            draw_sheet(
                [
                    DrawnCard("", None, Card(headline=label, value=0.5, bars=bars)),
                    DrawnCard(LONG * 9, None, Card(headline=label, value=0.5, bars=bars)),
                ]
            )
        )
        for label in (LONG, "happy")
    )
    top = 16 + 14 + 18 + SIDE + 8
    percentage = slice(top, top + 24), slice(16 + 14 + SIDE - 40, 16 + 14 + SIDE)
    assert np.array_equal(long[percentage], short[percentage])
    assert (long[:, 16 + SIDE + 28 + 1 : 16 + SIDE + 28 + 16] == PAPER).all()
    row = top + 30 + 7  # through the first bar and its name
    first = np.nonzero((long[row] == BEST).all(axis=-1))[0].min()
    assert (long[row - 4 : row + 8, first - 4 : first] == CARD).all()


def test_marked_bars_have_a_dot() -> None:
    bars = {"sad": 0.6, "happy": 0.4, "fear": 0.0}
    none, one, two = (
        sheet_of(Card(headline="sad", bars=bars, marked=marked)) for marked in ((), ("happy",), ("sad", "happy"))
    )
    margin = 16, 0, 16 + 14, none.height
    assert count_pixels(none.crop(margin), BEST) == 0
    assert count_pixels(two.crop(margin), BEST) == 2 * count_pixels(one.crop(margin), BEST) > 0


def test_of_very_many_bars_the_largest_are_shown_and_the_others_are_counted() -> None:
    bars = {f"label {number}": number / 1000 for number in range(1000)}
    many = sheet_of(Card(headline="label 999", bars=bars))
    few = sheet_of(Card(headline="label 999", bars=dict(list(bars.items())[-24:])))
    assert few.height < many.height < few.height + 30
    assert count_pixels(many, BEST) == count_pixels(few, BEST) > 0


@pytest.mark.slow
def test_the_largest_sheet_fits_into_every_image_format() -> None:
    bars = {f"label {number}": 0.01 for number in range(30)}
    sheet = sheet_of(*[Card(bars=bars, notes=["word " * 200])] * 200, columns=6)
    assert max(sheet.size) < 16_383  # the longest side in WebP, the shortest of all formats


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("600 × 400 pixels", "600 x 400 pixels"),
        ("dégoût", "degout"),
        ("怒り", "\\u6012\\u308a"),
        ("peur\n\tet joie", "peur et joie"),
        ("a\x00b", "a\\x00b"),
        ("2024–05 → 06", "2024-05 -> 06"),
    ],
)
def test_no_letter_is_drawn_as_an_empty_box(text: str, drawn: str) -> None:
    line = fit_text(text, 12, 1000)
    assert line == drawn
    font = ImageFont.load_default(12)
    box = bytes(font.getmask("\U000f0000"))
    assert all(bytes(font.getmask(letter)) != box for letter in [*line, "…"] if letter != " ")


@settings(max_examples=40, deadline=None)
@given(st.text(st.sampled_from("aWi .é×怒\n"), max_size=120), st.integers(40, 200), st.integers(1, 5))
def test_lines_are_never_wider_or_more_than_there_is_room_for_and_lose_nothing_that_fits(
    text: str, width: int, max_lines: int
) -> None:
    lines, whole = wrap_text(text, 12, width, max_lines), fit_text(text, 12, 1e6)
    length = ImageFont.load_default(12).getlength
    assert len(lines) <= max_lines
    assert all(length(line) <= width for line in lines)
    drawn = "".join(lines)
    if "…" in drawn:
        assert len(lines) == max_lines
        assert whole.replace(" ", "").startswith(drawn.rstrip("…").replace(" ", ""))
    else:
        assert drawn.replace(" ", "") == whole.replace(" ", "")
    assert length(fit_text(text, 12, width)) <= width
