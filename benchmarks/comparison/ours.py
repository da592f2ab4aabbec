"""This project: the stream from Parquet, enrich_dataset, and the network on decoded images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from comparison.contenders import Job, Result, Run
from comparison.images import batches
from emotion_ops import ClassifyEmotions, Int8, Row, enrich_dataset


def load(job: Job, mode: str, engine: Any, precision: Any) -> Run:
    """Load one of the three modes."""
    operator = ClassifyEmotions(
        model=str(job.model),
        device="cpu",
        engine=engine,
        precision=Int8(job.calibration) if precision == "int8" else precision,
        on_error="raise",
    )
    return {"ours": _stream, "network": _network, "dataset": _dataset}[mode](job, operator)


def _probabilities(operator: ClassifyEmotions, table: pa.Table) -> NDArray[np.float32]:
    return np.stack([table.column(name).to_numpy() for name in operator.output_columns().probabilities], axis=1)


def _stream(job: Job, operator: ClassifyEmotions) -> Run:
    def run(source: Path) -> Result:
        return Result(_probabilities(operator, pa.Table.from_batches(operator.stream(batches(source)))))

    return run


def _dataset(job: Job, operator: ClassifyEmotions) -> Run:
    def run(source: Path) -> Result:
        destination = job.scratch / source.name
        enrich_dataset(source, destination, operator)
        files = sorted(str(path) for path in destination.glob("*.parquet"))
        names = list(operator.output_columns().probabilities)
        return Result(_probabilities(operator, ds.dataset(files).to_table(columns=names)))

    return run


def _network(job: Job, operator: ClassifyEmotions) -> Run:
    """Batches as large as those of the stream; decoding is not timed."""
    engine, context = operator.load_engine(), operator.new_run()
    prepare = operator.start(context).prepare

    def run(source: Path) -> Result:
        pixels = []
        for batch in batches(source):
            pixels += [prepare(Row.from_values({"image": cell}, context)) for cell in batch.column(0).to_pylist()]
        ready = [np.stack(pixels[row : row + engine.batch_size]) for row in range(0, len(pixels), engine.batch_size)]
        started = time.time()
        probabilities = [engine.predict(batch) for batch in ready]
        return Result(np.concatenate(probabilities), started)

    return run
