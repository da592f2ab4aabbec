"""The contact sheet shows each picture with its bars, and a failed row with its reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from emotion_ops import EMOTIONS
from emotion_ops.reports import lettering as module
from emotion_ops.reports.cards import SIDE, Picture, contact_sheet
from emotion_ops.reports.lettering import lettering, shortened, wrapped

SOFT, CARD, PAPER, BEST = (0x6D, 0x72, 0x78), (255, 255, 255), (0xF4, 0xF4, 0xF1), (0x0B, 0x63, 0xA5)
LONG = "an extremely long label of an emotion"


def picture(label: str, probability: float, error: str | None = None) -> Picture:
    rest = (1 - probability) / 6
    bars = {name: probability if name == label else rest for name in EMOTIONS}
    return Picture(Image.new("RGB", (300, 100), "green"), "a title", label, bars, error)


def count_of(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(axis=-1).sum())


def test_a_bar_is_as_long_as_its_probability() -> None:
    blue = (0x0B, 0x63, 0xA5)
    half, whole = (count_of(contact_sheet([picture("sad", p)]), blue) for p in (0.5, 1.0))
    assert 0.45 < half / whole < 0.55


def test_cards_are_laid_out_in_rows_and_none_is_lost() -> None:
    one = contact_sheet([picture("sad", 0.9)])
    nine = contact_sheet([picture("sad", 0.9)] * 9, columns=4)
    assert nine.width > 3.5 * one.width
    assert nine.height > 2.5 * one.height
    assert count_of(nine, (0, 128, 0)) == 9 * count_of(one, (0, 128, 0)) > 0


def test_a_failed_row_shows_its_reason_instead_of_bars() -> None:
    failed = contact_sheet([Picture(None, "a title", None, {}, "not_found: nothing is at 'x.jpg'")])
    assert count_of(failed, (0xA4, 0x26, 0x2C)) > 50
    assert contact_sheet([]).mode == "RGB"


def test_a_reason_has_its_whole_room_where_all_rows_fail() -> None:
    why = "not_found: nothing is at '/" + "a/long/path/without/a/space/" * 6 + "face.png'"
    failed = Picture(None, "a title", None, {}, why)
    alone, beside = contact_sheet([failed]), contact_sheet([failed, picture("sad", 0.9)])
    assert count_of(alone, SOFT) == count_of(beside.crop((0, 0, alone.width, beside.height)), SOFT)
    lowest = np.nonzero((np.asarray(alone) == SOFT).any(axis=(1, 2)))[0].max()
    assert lowest < alone.height - 16
    (short,) = (contact_sheet([Picture(None, "a title", None, {}, "missing: the cell is null")]),)
    assert alone.height >= short.height + 6 * 16


def test_a_long_label_leaves_its_percentage_its_bar_and_the_next_card_alone() -> None:
    bars = dict.fromkeys([LONG, "happy"], 0.5)
    long, short = (
        np.asarray(contact_sheet([Picture(None, "", label, bars), Picture(None, LONG * 9, label, bars)]))
        for label in (LONG, "happy")
    )
    headline = slice(16 + 14 + 16 + SIDE + 8, 16 + 14 + 16 + SIDE + 8 + 24)
    of_percentage = slice(16 + 14 + SIDE - 40, 16 + 14 + SIDE)
    assert np.array_equal(long[headline, of_percentage], short[headline, of_percentage])
    assert (long[:, 16 + SIDE + 28 + 1 : 16 + SIDE + 28 + 16] == PAPER).all()
    row = headline.start + 30 + 7  # through the first bar and its label
    first = np.nonzero((long[row] == BEST).all(axis=-1))[0].min()
    assert (long[row - 4 : row + 8, first - 4 : first] == CARD).all()


def test_labels_that_reach_their_threshold_have_a_dot() -> None:
    plain, listed = (
        contact_sheet([Picture(None, "", "sad", {"sad": 0.6, "happy": 0.4, "fear": 0.0}, listed=some)])
        for some in ((), ("sad", "happy"))
    )
    margin = 16, 0, 16 + 14, plain.height
    one = contact_sheet([Picture(None, "", "sad", {"sad": 0.6, "happy": 0.4, "fear": 0.0}, listed=("happy",))])
    assert count_of(plain.crop(margin), BEST) == 0
    assert count_of(listed.crop(margin), BEST) == 2 * count_of(one.crop(margin), BEST) > 0


def test_of_very_many_labels_the_most_probable_are_shown_and_the_rest_is_counted() -> None:
    bars = {f"label {number}": number / 1000 for number in range(1000)}
    many = contact_sheet([Picture(None, "", "label 999", bars)])
    few = contact_sheet([Picture(None, "", "label 999", dict(list(bars.items())[-24:]))])
    assert few.height < many.height < few.height + 30
    assert count_of(many, BEST) == count_of(few, BEST) > 0


def test_so_many_cards_as_a_sheet_may_have_fit_into_every_format() -> None:
    bars = {f"label {number}": 0.01 for number in range(30)}
    sheet = contact_sheet([Picture(None, "", None, bars, notes=["word " * 200])] * 200, columns=6)
    assert max(sheet.size) < 16_383  # WebP's longest side, the shortest of all


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("600 × 400 pixels", "600 x 400 pixels"),
        ("dégoût", "degout"),
        ("怒り", "\\u6012\\u308a"),
        ("peur\n\tet joie", "peur et joie"),
        ("a\x00b", "a\\x00b"),
        ("2024–05 → 06", "2024-05 -> 06"),
    ],
)
def test_no_letter_is_drawn_as_a_box_where_only_pillows_own_font_is_there(
    text: str, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SYSTEM", ())
    line = lettering(text, 12)
    assert line.text == read
    box = bytes(line.font.getmask("\U000f0000"))
    assert all(bytes(line.font.getmask(letter)) != box for letter in line.text if letter != " ")


def test_a_font_of_this_system_is_taken_where_it_has_the_letters() -> None:
    line = lettering("грусть", 12)
    if line.text != "грусть":
        pytest.skip("none of the known fonts with Cyrillic letters is installed here")
    masks = {bytes(line.font.getmask(letter)) for letter in "груст"}
    assert len(masks) == 5
    assert shortened("грусть" * 50, 12, 80).text.endswith("…")


@settings(max_examples=40, deadline=None)
@given(st.text(st.sampled_from("aWi .é×怒\n"), max_size=120), st.integers(40, 200), st.integers(1, 5))
def test_lines_are_never_wider_than_their_place_nor_more_than_wanted_and_lose_nothing_that_has_room(
    text: str, width: int, most: int
) -> None:
    lines = wrapped(text, 12, width, most)
    assert len(lines) <= most
    assert all(line.width <= width for line in lines)
    told, whole = "".join(line.text for line in lines), lettering(text, 12).text
    if "…" in told:
        assert len(lines) == most
        assert whole.replace(" ", "").startswith(told.rstrip("…").replace(" ", ""))
    else:
        assert told.replace(" ", "") == whole.replace(" ", "")
    assert shortened(text, 12, width).width <= width
