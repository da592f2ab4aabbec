"""Text as a picture can show it: in a font that has its letters, and no wider than its place."""

from __future__ import annotations

import bisect
import functools
import unicodedata
from dataclasses import dataclass

from PIL import ImageFont

_SPOKEN = str.maketrans({"×": "x", "–": "-", "—": "-", "→": "->", "≥": ">=", "≤": "<=", "\u00a0": " "})
"""What our own messages may hold and Pillow's font has no letter for."""

_SYSTEM = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf", "wqy-zenhei.ttc", "Arial Unicode.ttf", "Arial.ttf", "segoeui.ttf", "msyh.ttc",
    "msgothic.ttc", "malgun.ttf", "Nirmala.ttf",
)  # fmt: skip
"""Fonts of Linux, macOS and Windows that between them have most scripts; Pillow knows where these systems keep them."""

_MOST = 400  # characters of one text that are looked at
_NO_LETTER = "\U000f0000"  # private use: fonts draw what they draw for a letter that they do not have

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Lettering:
    """A text, and a font that has its letters."""

    text: str
    font: Font

    @property
    def width(self) -> float:
        """In pixels."""
        return self.font.getlength(self.text)


def lettering(text: str, size: int) -> Lettering:
    """A text in Pillow's own font; in a font of this system where that one lacks a letter; else without it.

    Where no font has all letters, those that Pillow's lacks lose their accents, or are written as Python escapes them.

    Args:
        text: Becomes one line.
        size: Of the font, in pixels.
    """
    text = unicodedata.normalize("NFC", " ".join(text[:_MOST].split())).translate(_SPOKEN)
    own, letters = _own(size), frozenset(text)
    if not _lacks(own, letters):
        return Lettering(text, own)
    for name in _SYSTEM:
        font = _system(name, size)
        if font is not None and not _lacks(font, letters):
            return Lettering(text, font)
    return Lettering("".join(_written_out(letter, own) for letter in text), own)


def shortened(text: str, size: int, width: float) -> Lettering:
    """The same, cut off with an ellipsis where it is wider than so many pixels."""
    return _cut(lettering(text, size), width)


def wrapped(text: str, size: int, width: float, most: int) -> list[Lettering]:
    """The same in so many lines at the most, none wider than so many pixels; the last one is cut off where need be."""
    whole = lettering(text, size)
    font, rest, lines = whole.font, whole.text, list[Lettering]()
    while len(lines) < most - 1 and font.getlength(rest) > width:
        fits = max(1, _fitting(font, rest, width))
        space = rest.rfind(" ", 1, fits + 1)
        end = fits if space < 0 else space  # a long word is broken
        lines.append(Lettering(rest[:end], font))
        rest = rest[end:].lstrip()
    return [*lines, _cut(Lettering(rest, font), width)]


def _cut(whole: Lettering, width: float) -> Lettering:
    if whole.width <= width:
        return whole
    fits = _fitting(whole.font, whole.text, width - whole.font.getlength("…"))
    return Lettering(f"{whole.text[:fits].rstrip()}…", whole.font)


def _fitting(font: Font, text: str, width: float) -> int:
    """How many letters of a text are no wider than so many pixels."""
    return bisect.bisect_right(range(1, len(text) + 1), width, key=lambda end: font.getlength(text[:end]))


def _written_out(letter: str, own: Font) -> str:
    parts = (letter, *unicodedata.normalize("NFD", letter))
    known = [part for part in parts if not _lacks(own, frozenset(part))]
    return known[0] if known else letter.encode("unicode_escape").decode("ascii")


@functools.lru_cache(maxsize=8)
def _own(size: int) -> Font:
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=256)
def _system(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@functools.lru_cache(maxsize=1024)
def _lacks(font: Font, letters: frozenset[str]) -> bool:
    """Whether the font draws one of the letters as it draws what is none."""
    unknown = _drawn(font, _NO_LETTER)
    return any(_drawn(font, letter) == unknown for letter in letters - {" "})


def _drawn(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
