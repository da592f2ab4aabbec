"""What a job will take, from a small sample of its own images: time, memory, failures, and what limits it."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from emotion_ops.lake.batching import BATCH_BYTES
from emotion_ops.lake.commit import GROUP_BYTES
from emotion_ops.lake.plan import FilePlan
from emotion_ops.lake.runners.local import errors_of, read_batches
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.throughput import measure

_FILES = 4  # that the sample is taken from, evenly over the job
_SECONDS = 1.0  # of each measurement of throughput, about


@dataclass(frozen=True)
class Estimate:
    """What a job will take, as a sample on this machine says.

    Attributes:
        rows: Rows that are to be done.
        bytes: Of the source files that are to be done.
        sampled: Rows that were tried.
        failed: Those of them that failed, by code.
        storage_rows_per_second: Rows whose images are read from the source, with nothing else to do.
        decode_rows_per_second: Rows fetched, decoded and resized, with nothing else to do; and their faces found and
            cut out, where they are looked for.
        network_rows_per_second: Rows through the network, with nothing else to do, with all of their faces; those that
            fail do not reach it, and take none of its time. Where the whole sample failed, its own pace, which then
            limits nothing.
        rows_per_second: Rows with all of it overlapped, as the job runs it; no faster than its slowest part.
        seconds: Of the whole job: answering, and reading the source once more to compose the outputs.
        memory_bytes: The most that the process needs: what it has now with the network loaded, what decoding
            ahead may hold (``memory``), the pictures that are ready for the network, and the buffers of reading and
            composing.
        limit: The slowest of what the sample needed: ``storage``, ``decode`` or ``network``.
    """

    rows: int
    bytes: int
    sampled: int
    failed: Mapping[str, int]
    storage_rows_per_second: float
    decode_rows_per_second: float
    network_rows_per_second: float
    rows_per_second: float
    seconds: float
    memory_bytes: int
    limit: str

    @property
    def error_rate(self) -> float:
        """The part of the sample that failed, 0 to 1."""
        return sum(self.failed.values()) / self.sampled


def estimate(plans: Sequence[FilePlan], operator: ClassifyEmotions, sample_rows: int) -> Estimate | None:
    """Run a small sample of the files that are to be done; None where there are no rows to do.

    Args:
        plans: The files that are to be done.
        operator: The options.
        sample_rows: How many rows are tried, at the most.

    Raises:
        DatasetError: A source cannot be read.
        ModelError: The model cannot be used.
    """
    filled = [plan for plan in plans if plan.rows]
    if not filled:
        return None
    chosen = filled[:: -(-len(filled) // _FILES)]
    images, reading = _sample(chosen, operator.image, -(-sample_rows // len(chosen)))
    largest, *others = sorted(images, key=len, reverse=True)
    measured = measure(operator, largest, _SECONDS)
    failed = measured.failed + _failures(operator, others)
    sampled = sum(map(len, images))
    good = 1 - failed.total() / sampled
    rows = sum(plan.rows for plan in filled)
    rates = {"storage": reading, "decode": measured.decode, "network": measured.network / (good or 1)}
    needed = {name: rate for name, rate in rates.items() if good or name != "network"}
    pace = 1 / (1 / measured.together + 1 / reading)  # reading takes its share of the cores
    pace = min(pace, *needed.values())  # each is timed on its own, and any of them may have been lucky
    return Estimate(
        rows=rows,
        bytes=sum(plan.entry.size for plan in filled),
        sampled=sampled,
        failed=dict(sorted(failed.items())),
        storage_rows_per_second=round(reading, 1),
        decode_rows_per_second=round(measured.decode, 1),
        network_rows_per_second=round(rates["network"], 1),
        rows_per_second=round(pace, 1),
        seconds=round(rows / pace + rows / reading, 3),
        memory_bytes=_peak_memory() + operator.memory + measured.ready_bytes + BATCH_BYTES + 2 * GROUP_BYTES,
        limit=min(needed, key=lambda name: needed[name]),
    )


def _sample(plans: Sequence[FilePlan], image: str, rows: int) -> tuple[list[pa.Array], float]:
    """The first images of each file, those of one type as one array, and rows read a second."""
    started, seen, arrays = time.perf_counter(), 0, list[pa.Array]()
    for plan in plans:
        wanted = rows
        for batch in read_batches(plan.source, plan.entry.key, columns=[image], row_group=None):
            images = batch.column(0) if batch.num_columns else pa.nulls(batch.num_rows)
            arrays.append(images.slice(0, wanted))
            seen += batch.num_rows
            wanted -= len(arrays[-1])
            if wanted <= 0:
                break
    rate = seen / (time.perf_counter() - started)
    kinds = list(dict.fromkeys(array.type for array in arrays if not pa.types.is_null(array.type))) or [pa.null()]
    alike: dict[pa.DataType, list[pa.Array]] = {kind: [] for kind in kinds}
    for array in arrays:  # a null is one of any type
        null = array.type not in alike
        alike[kinds[0] if null else array.type].append(pa.nulls(len(array), kinds[0]) if null else array)
    return [pa.concat_arrays(same) for same in alike.values()], rate


def _failures(operator: ClassifyEmotions, images: Sequence[pa.Array]) -> Counter[str]:
    """Rows that fail, by code."""
    answering = dataclasses.replace(operator, on_error="null")
    return sum((errors_of(answering.columns_for(pa.chunked_array([one]))) for one in images), Counter[str]())


def _peak_memory() -> int:
    """Bytes that this process has held at the most, up to now; 0 on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
