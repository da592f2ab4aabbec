"""Where a job's time went, and what limits it, in words."""

from __future__ import annotations

from dataclasses import dataclass

from emotion_ops.images.meter import StageTimes

_STANDS_OUT = 0.4


@dataclass(frozen=True)
class Stages:
    """Seconds by stage.

    All but the last two are wall time of the thread that runs the network, one after the other, and add up to
    the job's own time where one process ran it. The last two overlap with them: they are the sum over all
    threads that load images.

    Attributes:
        planning: Listing files, reading footers, hashing the weights.
        model_loading: Loading the model.
        reading: Reading rows from Parquet.
        waiting: The network waited for images that were being fetched and decoded.
        network: The rest of the job waited for the network.
        journalling: Answers were written to the journal.
        writing: Outputs were composed, verified and published.
        other: All else.
        fetching_threads: Thread-seconds in which images were fetched from the paths in the table.
        decoding_threads: Thread-seconds in which images were decoded and resized.
        computing_threads: Seconds in which the network ran, also beside reading and writing; where it computes two
            batches side by side, half of each one's.
    """

    planning: float = 0.0
    model_loading: float = 0.0
    reading: float = 0.0
    waiting: float = 0.0
    network: float = 0.0
    journalling: float = 0.0
    writing: float = 0.0
    other: float = 0.0
    fetching_threads: float = 0.0
    decoding_threads: float = 0.0
    computing_threads: float = 0.0

    @classmethod
    def of(cls, measured: StageTimes, seconds: float, planning: float) -> Stages:
        """Sort what was measured.

        Args:
            measured: By the job and by all who ran its units.
            seconds: Wall time of the job.
            planning: Seconds of it before the first row.
        """
        names = ("load", "read", "wait", "network", "journal", "write")
        wall = [planning, *(measured.seconds.get(name, 0.0) for name in names)]
        threads = [measured.seconds.get(name, 0.0) for name in ("fetch", "decode", "compute")]
        return cls(*(round(value, 6) for value in (*wall, max(0.0, seconds - sum(wall)), *threads)))

    @property
    def running(self) -> float:
        """Seconds after planning and loading the model."""
        return self.reading + self.waiting + self.network + self.journalling + self.writing + self.other

    def limit(self) -> str:
        """Say in one sentence whether decoding, storage or the network limits the job; empty where nothing ran."""
        if self.computing_threads == 0 and self.waiting == 0 and self.writing == 0:
            return ""
        if self.fetching_threads > self.decoding_threads:
            waited_for, why = "Storage", "to be fetched; more threads help"
        else:
            waited_for, why = (
                "Decoding",
                "to be decoded; more processors or smaller images help, a faster device does not",
            )
        writing = self.journalling + self.writing
        running = "it ran {} of the running time; a faster device helps, more threads do not"
        most, what, how = max(
            (min(self.computing_threads, self.running), "The network", running),
            (self.waiting, waited_for, f"the network waited {{}} of the running time, mostly for images {why}"),
            (self.reading, "Storage", "reading rows took {} of the running time"),
            (writing, "Storage", "writing took {} of the running time; leave out columns that need not be copied"),
        )
        share = most / self.running
        if share < _STANDS_OUT:
            return f"Nothing stands out: {what.lower()} took the largest part of the running time, {share:.0%}."
        return f"{what} is the limit: {how.format(f'{share:.0%}')}."
