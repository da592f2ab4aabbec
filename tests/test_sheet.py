"""The contact sheet shows each picture with its bars, and a failed row with its reason."""

from __future__ import annotations

import numpy as np
from PIL import Image

from emotion_ops import EMOTIONS
from emotion_ops.images.sheet import Picture, contact_sheet


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
