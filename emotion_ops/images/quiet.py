"""Silence for Pillow's warnings, in the thread that decodes and in no other.

A warning about somebody's picture says nothing that the row's error does not, and a filter of the user's that
turns warnings into errors would fail rows. ``warnings.catch_warnings`` swaps a list of the whole process, so it
can serve no thread alone. Here one filter stands in that list whose category matches while the asking thread decodes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator


class _Decoding(threading.local):
    now = False


_decoding = _Decoding()


class _WhileDecoding(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return _decoding.now


class _AnyWarning(Warning, metaclass=_WhileDecoding):
    """Every category of warning, as seen from a thread that decodes; none, as seen from another."""


def _heard(record: logging.LogRecord) -> bool:
    return not _decoding.now


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Whatever Pillow warns of or logs inside the block, in this thread, goes nowhere."""
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[2] is not _AnyWarning:  # somebody put theirs on top, or restored a list without ours
        warnings.simplefilter("ignore", _AnyWarning)
        logging.getLogger("PIL.TiffImagePlugin").addFilter(_heard)  # the one plugin that logs errors; added once
    before, _decoding.now = _decoding.now, True
    try:
        yield
    finally:
        _decoding.now = before
