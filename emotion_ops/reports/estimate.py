"""What a job is expected to take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """What a job is expected to take, from a sample that was run on this machine.

    Attributes:
        rows: Rows that are to be computed.
        bytes: Bytes of their source files.
        sampled: Rows of the sample.
        failed: Failed rows of the sample, by code.
        loading_seconds: Seconds until the operator was loaded.
        reading_rows_per_second: Rows that are read from the source, with nothing else to do; None if not measured.
        preparing_rows_per_second: Rows that are prepared by all threads; the same.
        computing_rows_per_second: Rows that are computed; the same.
        rows_per_second: Rows of the whole job, with reading, preparing and computing at the same time.
        seconds: Seconds of the whole job: loading, computing all rows, and writing the outputs.
        memory_bytes: The maximum memory of the process.
        limit: What takes most of the time: ``loading``, ``reading``, ``preparing`` or ``computing``.
    """

    rows: int
    bytes: int
    sampled: int
    failed: Mapping[str, int]
    loading_seconds: float
    reading_rows_per_second: float | None
    preparing_rows_per_second: float | None
    computing_rows_per_second: float | None
    rows_per_second: float
    seconds: float
    memory_bytes: int
    limit: str

    @property
    def error_rate(self) -> float:
        """The part of the sample that failed, 0 to 1."""
        return sum(self.failed.values()) / self.sampled if self.sampled else 0.0
