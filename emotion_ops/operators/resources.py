"""What a stream may use of the machine: the options."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from emotion_ops.errors import OptionError
from emotion_ops.options import OptionGroup, byte_count, option, optional, whole_number

_MAX_ROWS = 2**30


def _rows(name: str, value: Any) -> int:
    rows = whole_number(name, value, 0)
    if rows > _MAX_ROWS:
        raise OptionError(name, value, f"give at most {_MAX_ROWS:,}")
    return rows


@dataclass(frozen=True)
class Resources(OptionGroup):
    """What a stream may use of the machine. It changes no value.

    Args:
        memory: Bytes that loading images may use, in addition to the table itself. Half is for encoded images that
            are read from paths or copied out of the table, half for decoded images with every copy on the way. An
            image that needs more than a half is loaded alone. In addition come the items that are ready for the
            network, what the C library keeps of small allocations (up to about 16 MiB for each thread), the arrays of
            networks, and the buffers of a store's client.
        threads: Rows that are prepared (fetched and decoded) at the same time. ``"auto"`` is one for each processor,
            and at least 4.
    """

    memory: int = option(byte_count, 512 * 2**20, changes_values=False)
    threads: int | Literal["auto"] = option(optional(whole_number, "auto"), "auto", changes_values=False)

    @property
    def thread_count(self) -> int:
        """The number of threads."""
        return max(4, os.cpu_count() or 1) if self.threads == "auto" else self.threads


@dataclass(frozen=True)
class Cache(OptionGroup):
    """Results that are reused for equal inputs. It changes no value.

    Args:
        rows: Maximum number of results that the process remembers for equal options, by the hash of the encoded
            image; a few hundred bytes each. Equal images are then computed once. 0 remembers none. Decoded pixels
            (tensors, arrays, PIL images without a file) are always computed.
    """

    rows: int = option(_rows, 2**16, flag="cache_rows", changes_values=False)
