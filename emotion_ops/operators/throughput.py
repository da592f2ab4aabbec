"""How fast images go through an operator on this machine, and what holds them up."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import RowError
from emotion_ops.images.cells import cells_of
from emotion_ops.operators.classify.face_loader import Crops
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.classify.session import build_transform, engine_of, flow_of, pictures_of


@dataclass(frozen=True)
class Throughput:
    """Images a second, measured on a sample.

    Attributes:
        batch_size: Pictures in one forward pass.
        decode: Fetching, decoding and resizing alone, all threads together; with it finding the faces and cutting
            them out, where the operator does.
        network: The network alone; it has all faces of an image to do.
        together: Both, overlapped, as the operator runs them.
        failed: Rows of the sample that failed, by code.
        pictures: What an image that did not fail brings to the network, on average: its faces, where they are looked
            for, else itself.
        ready_bytes: Of the pictures of the network's size that may be ready or with the network at once.
    """

    batch_size: int
    decode: float
    network: float
    together: float
    failed: Counter[str]
    pictures: float
    ready_bytes: int

    @property
    def limit(self) -> str:
        """The slower of the two, ``decode`` or ``network``."""
        return "decode" if self.decode < self.network else "network"


def measure(operator: ClassifyEmotions, images: pa.Array, seconds: float) -> Throughput:
    """Time the parts of an operator, and the whole, on a sample of images.

    Args:
        operator: The options; the network is loaded and warmed up before the clock starts.
        images: The sample, one image or more; each is fetched and decoded once at the least.
        seconds: How long each of the three measurements takes, about.

    Raises:
        ModelError: The model cannot be used.
    """
    operator = dataclasses.replace(operator, on_error="null", answer_cache=0, answer_cache_dir=None)
    engine = engine_of(operator)
    loader, flow, cell = (
        pictures_of(operator, build_transform(engine.pixels)),
        flow_of(operator, engine),
        cells_of(images, operator.image),
    )
    blank = np.zeros((engine.pixels.height, engine.pixels.width, 3), np.uint8)

    def load(row: int) -> NDArray[np.uint8] | RowError:
        try:
            loaded = loader.load_unless(cell(row), None)
        except RowError as error:
            return error
        assert loaded is not None
        return loaded.pixels if isinstance(loaded, Crops) else loaded[np.newaxis]

    batch, failed, good, pictures = list[NDArray[np.uint8]](), Counter[str](), 0, 0
    with ThreadPoolExecutor(flow.threads, thread_name_prefix="emotion-ops-load") as pool:
        for loaded in pool.map(load, range(len(images))):
            if isinstance(loaded, RowError):
                failed[loaded.code.value] += 1
                continue
            good, pictures = good + 1, pictures + len(loaded)
            batch.extend(loaded[: flow.batch_size - len(batch)])
        decode = _rate(lambda: sum(1 for _ in pool.map(load, range(len(images)))), seconds)
    filled = np.stack([picture for picture, _ in zip(itertools.cycle(batch or [blank]), range(flow.batch_size))])
    engine.predict(filled)
    each = pictures / good if good else 1.0
    network = _rate(lambda: len(engine.predict(filled)), seconds) / each
    rows = max(2 * flow.batch_size, int(min(decode, network) * seconds))
    table = pa.table({operator.image: pa.chunked_array([images] * -(-rows // len(images)))}).slice(0, rows)
    together = _rate(lambda: len(operator.columns_for(table.column(0))), 0)
    ready = flow.ahead_rows + (2 * flow.threads + flow.batches) * (flow.most_pictures - 1)
    return Throughput(flow.batch_size, decode, network, together, failed, each, ready * blank.nbytes)


def _rate(work: Callable[[], int], seconds: float) -> float:
    """Images a second of work that returns how many it did; repeated for about so many seconds."""
    started, done = time.perf_counter(), 0
    while True:
        done += work()
        took = time.perf_counter() - started
        if took >= seconds:
            return done / took
