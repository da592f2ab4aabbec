"""Batches are made of faces, however many an image has."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from faces_model import Marked
from marked_faces import CELLS, COUNTS, TABLE

from emotion_ops import ClassifyEmotions, Faces, Resources
from emotion_ops.operators.flow import Flow
from emotion_ops.operators.rows import ObjectColumn, Row, RowBatch
from emotion_ops.operators.session import Session
from emotion_ops.operators.stream import RowStream


@pytest.fixture(scope="module")
def operator(tiny_model: str) -> ClassifyEmotions:
    faces = Faces("all", detector=Marked(), max_faces=30)
    return ClassifyEmotions(model=tiny_model, faces=faces, batch_size=4, resources=Resources(threads=2))


def run(operator: ClassifyEmotions, session: Session, cells: list[Any]) -> pa.RecordBatch:
    stream = RowStream[Any](session, operator.new_run(), operator.name, operator.appended_schema())
    ((_, columns),) = stream.run([RowBatch(None, len(cells), {"image": ObjectColumn(cells)})])
    return columns


@pytest.mark.parametrize(("batch_size", "concurrency"), [(1, 1), (4, 2), (7, 1), (16, 3)])
def test_the_network_gets_whole_batches_however_many_faces_images_have(
    operator: ClassifyEmotions, batch_size: int, concurrency: int
) -> None:
    session, sizes = operator.start(operator.new_run()), []

    def compute(items: Any) -> Any:
        sizes.append(len(items))
        return session.compute(items)

    watched = dataclasses.replace(session, compute=compute, batch_size=batch_size, concurrency=concurrency)
    columns = run(operator, watched, [CELLS[row % len(COUNTS)] for row in range(3 * len(COUNTS))])
    assert sum(sizes) == 3 * sum(COUNTS)
    assert sorted(sizes)[1:] == [batch_size] * (len(sizes) - 1)
    labels = operator.output_columns().labels
    expected = operator(TABLE).column("emotion_faces").to_pylist()
    for row, faces in enumerate(columns.column("emotion_faces").to_pylist()):
        wanted = expected[row % len(COUNTS)]
        assert len(faces) == len(wanted) == COUNTS[row % len(COUNTS)]
        for one, other in zip(faces, wanted, strict=True):
            np.testing.assert_allclose([one[name] for name in labels], [other[name] for name in labels], atol=1e-6)


def test_the_number_of_crops_that_wait_for_the_network_is_bounded(operator: ClassifyEmotions) -> None:
    """Every second image has 30 faces: the crops that are not computed never exceed the window."""
    session, counting = operator.start(operator.new_run()), threading.Lock()
    waiting = largest = 0

    def prepare(row: Row) -> Any:
        nonlocal waiting, largest
        parts = session.prepare(row)
        with counting:
            waiting += len(parts.items)
            largest = max(largest, waiting)
        return parts

    def compute(items: Any) -> Any:
        nonlocal waiting
        assert len(items) <= 4
        time.sleep(0.002)
        with counting:
            waiting -= len(items)
        return session.compute(items)

    watched = dataclasses.replace(session, prepare=prepare, compute=compute)
    crowd = CELLS[COUNTS.index(30)]
    columns = run(operator, watched, [crowd if row % 2 else CELLS[0] for row in range(60)])
    assert columns.column("emotion_face_count").to_pylist() == [1, 30] * 30
    flow = Flow(session.batch_size, 2, 2**28, session.concurrency, session.max_parts)
    assert 30 < largest <= flow.window + 2 * flow.threads * 30
    assert waiting == 0
