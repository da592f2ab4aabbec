"""Silence for Pillow's warnings and log lines, only in the thread that decodes.

A warning about an image says nothing that the row's error does not say, and a user's filter that turns warnings into
errors would make rows fail. ``warnings.catch_warnings`` changes a list of the whole process, so it cannot work for one
thread alone. Instead, one filter is put into that list whose category matches only while the asking thread decodes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator


class _State(threading.local):
    is_decoding = False


_state = _State()


class _WhileDecoding(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return _state.is_decoding


class _AnyWarning(Warning, metaclass=_WhileDecoding):
    """Matches every category of warning in a thread that decodes, and none in other threads."""


def _is_not_decoding(record: logging.LogRecord) -> bool:
    return not _state.is_decoding


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what Pillow warns about or logs inside the block, in this thread."""
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[2] is not _AnyWarning:  # other code added a filter, or restored a list without ours
        warnings.simplefilter("ignore", _AnyWarning)
        logging.getLogger("PIL.TiffImagePlugin").addFilter(_is_not_decoding)  # only this plugin logs errors
    before, _state.is_decoding = _state.is_decoding, True
    try:
        yield
    finally:
        _state.is_decoding = before
