"""An error of a job, described for another program: what happened, and whether a retry may help."""

from __future__ import annotations

import errno
from typing import Any

from emotion_ops.errors import EmotionOpsError

_NO_MEMORY = ("outofmemory", "out of memory", "can't allocate memory", "alloc_failed", "bad_alloc", "bad allocation")
"""In messages of allocators that do not raise MemoryError: CUDA, torch on a CPU, cuBLAS, C++."""


def describe_failure(error: Exception) -> dict[str, Any]:
    """An error as plain JSON.

    Returns:
        ``error`` (the class), ``message``, ``retryable`` (whether the same job may succeed later) and
        ``out_of_memory``.
    """
    memory = _find_memory_error(error)
    cause = memory or error
    name = type(cause).__name__
    is_known = isinstance(cause, EmotionOpsError | OSError)
    return {
        "error": name,
        "message": str(cause) if is_known else f"{name}: {cause}",
        "retryable": memory is not None or _is_retryable(error),
        "out_of_memory": memory is not None,
    }


def _find_memory_error(error: BaseException) -> BaseException | None:
    """The first error in a chain of causes that says that memory ran out."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MemoryError) or (isinstance(link, OSError) and link.errno == errno.ENOMEM):
            return link
        text = f"{type(link).__name__}: {link}".lower()
        if not isinstance(link, EmotionOpsError | OSError) and any(sign in text for sign in _NO_MEMORY):
            return link
        link = link.__cause__
    return None


def _is_retryable(error: BaseException) -> bool:
    """Whether a retry may help: not for a wrong request or a missing package."""
    if isinstance(error, EmotionOpsError):
        return error.retryable
    is_wrong_request = isinstance(error, TypeError) and "unexpected keyword" in str(error)
    return not (isinstance(error, ModuleNotFoundError) or is_wrong_request)
