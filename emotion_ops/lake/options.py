"""The options of a job, checked; ``enrich_dataset`` describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from emotion_ops.errors import OptionError
from emotion_ops.options import Checked, at_least, fraction, number, one_of, option, optional, path, whole_number

COMPRESSIONS = ("zstd", "snappy", "gzip", "brotli", "lz4", "none")


def _columns(name: str, value: Any) -> str | tuple[str, ...]:
    found = value if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else ()
    if not isinstance(value, str | Sequence) or not all(isinstance(one, str) for one in found):
        raise OptionError(name, value, 'give "all", "none", names, or names to exclude with "-" before each')
    return found


def _shard(name: str, value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or len(value) != 2:
        raise OptionError(name, value, "give (i, n) with i from 0 to n - 1")
    index, count = (whole_number(name, part, 0) for part in value)
    if index >= count:
        raise OptionError(name, value, "give (i, n) with i from 0 to n - 1")
    return index, count


def _seconds(name: str, value: Any) -> float:
    return number(name, value, lambda seconds: seconds >= 0, "give seconds, at least 0")


def _when(name: str, value: Any) -> bool | Literal["auto"]:
    if value not in (True, False, "auto"):
        raise OptionError(name, value, 'give True, False or "auto"')
    found: bool | Literal["auto"] = value
    return found


@dataclass(frozen=True)
class EnrichOptions(Checked):
    """The options of ``enrich_dataset``, which describes them.

    Raises:
        OptionError: An option has a value that cannot be used.
    """

    columns: str | tuple[str, ...] = option(_columns, "all")
    shard: tuple[int, int] | None = option(_shard, None)
    overwrite: bool = False
    prune: bool = False
    retry_errors: bool | str | Sequence[str] = False
    quarantine: str | None = option(optional(path), None)
    limit: int | None = option(optional(at_least(0)), None)
    dry_run: bool = False
    sample_rows: int = option(at_least(0), 64)
    compression: str = option(one_of(*COMPRESSIONS), "zstd")
    row_group_rows: int | None = option(optional(at_least(1)), None)
    max_errors: int | None = option(optional(at_least(0)), None)
    max_error_rate: float | None = option(optional(fraction), None)
    wait: float = option(_seconds, 0.0)
    report_page: bool = True
    contact_sheet: bool | Literal["auto"] = option(_when, "auto")

    def __post_init__(self) -> None:
        """Check every option, and those that depend on another."""
        super().__post_init__()
        if self.contact_sheet is True and not self.report_page:
            raise OptionError("contact_sheet", True, "it is part of the page: leave report_page=True")
