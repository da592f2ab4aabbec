"""Where the time of a job went, and what limits it, in words."""

from __future__ import annotations

from dataclasses import dataclass

from emotion_ops.images.meter import StageTimes

_DOMINANT = 0.4
"""The share of the time from which on a stage is called the limit."""


@dataclass(frozen=True)
class Stages:
    """Seconds by stage.

    All but the last three are wall time of the thread that runs the job, one after the other, and add up to the job's
    time where one process ran it. The last three overlap with them.

    Attributes:
        planning: Listing files, reading footers, hashing weights.
        loading: Loading the model.
        reading: Reading rows from the source.
        waiting: Nothing was computed, because rows were still being fetched and prepared.
        computing: The job waited for results.
        journalling: Results were written to the journal.
        writing: Outputs were composed, verified and published.
        other: Everything else.
        fetching_threads: Thread-seconds in which images were fetched from the paths in the table.
        decoding_threads: Thread-seconds in which images were decoded and resized.
        computing_threads: Seconds in which batches were computed, also during reading and writing; where two batches
            are computed at the same time, half of each one's.
    """

    planning: float = 0.0
    loading: float = 0.0
    reading: float = 0.0
    waiting: float = 0.0
    computing: float = 0.0
    journalling: float = 0.0
    writing: float = 0.0
    other: float = 0.0
    fetching_threads: float = 0.0
    decoding_threads: float = 0.0
    computing_threads: float = 0.0

    @classmethod
    def from_times(cls, measured: StageTimes, seconds: float, planning: float) -> Stages:
        """Sort what was measured into stages.

        Args:
            measured: By the job, and by the processes that ran its tasks.
            seconds: Wall time of the job.
            planning: Seconds of it before the first task.
        """
        names = ("load", "read", "wait", "network", "journal", "write")
        wall = [planning, *(measured.seconds.get(name, 0.0) for name in names)]
        threads = [measured.seconds.get(name, 0.0) for name in ("fetch", "decode", "compute")]
        return cls(*(round(value, 6) for value in (*wall, max(0.0, seconds - sum(wall)), *threads)))

    @property
    def running(self) -> float:
        """Seconds after planning and loading."""
        return self.reading + self.waiting + self.computing + self.journalling + self.writing + self.other

    def limit(self) -> str:
        """What took most of the time and what would help, in a sentence or two; empty if no row was computed.

        The shares are of the whole time, planning and loading included, since a reader compares them with it.
        """
        if not (self.computing_threads or self.waiting or self.writing):
            return ""
        total, shares = self.planning + self.loading + self.running, self._running_shares()
        name, seconds, advice = max(
            ("Planning", self.planning, "it lists files and reads footers: fewer, larger files help"),
            ("Loading", self.loading, "it happens once in each process: more rows in one run help"),
            *shares,
            key=lambda share: share[1],
        )
        part = seconds / total
        if part < _DOMINANT:
            return f"No stage dominates: {name.lower()} took the largest part of the time, {part:.0%}."
        if name not in ("Planning", "Loading"):
            return f"{name} is the limit: it took {part:.0%} of the time; {advice}."
        next_name, next_seconds, _ = max(shares, key=lambda share: share[1])
        rest = f" After that, {next_name.lower()} took most: {next_seconds / self.running:.0%}." if next_seconds else ""
        return f"{name} is the limit: it took {part:.0%} of the time; {advice}.{rest}"

    def _running_shares(self) -> list[tuple[str, float, str]]:
        """What may limit the running time: a name, seconds, and what would help."""
        more_processors = "more processors or smaller images help, a faster device does not"
        preparing = (
            ("Fetching", self.waiting, "images come from slow storage: more threads help")
            if self.fetching_threads > self.decoding_threads
            else ("Decoding", self.waiting, more_processors)
            if self.decoding_threads
            else ("Preparing", self.waiting, "more processors help, a faster device does not")
        )
        return [
            ("Computing", min(self.computing_threads, self.running), "a faster device helps, more threads do not"),
            preparing,
            ("Reading", self.reading, "it waits for the source's storage"),
            ("Writing", self.journalling + self.writing, "leave out columns that need not be copied"),
        ]
