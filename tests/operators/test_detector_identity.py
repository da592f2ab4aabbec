"""The faces of a stream and of a dataset come from one detector, and its identity is recorded."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faces_model import YUNET, needs_yunet, other_network, photograph
from marked_faces import TABLE, failing_detector, with_faces
from pictures import encode

from emotion_ops import (
    ClassifyEmotions,
    DestinationConflictError,
    Faces,
    ModelError,
    OptionError,
    Resources,
    enrich_dataset,
    find_faces,
)
from emotion_ops.faces.identity import detector_identity
from emotion_ops.faces.weights import SHA256
from emotion_ops.operators.base import METADATA_KEY


@needs_yunet
@pytest.mark.parametrize("change", ["replaced", "removed", "emptied"])
def test_a_stream_uses_the_same_detector_until_its_end(tiny_model: str, tmp_path: Path, change: str) -> None:
    file = Path(shutil.copy(YUNET, tmp_path / "y.onnx"))
    operator = ClassifyEmotions(
        model=tiny_model, faces=Faces("largest", detector=file), resources=Resources(threads=1), batch_size=1, cache=0
    )
    batch = pa.record_batch({"image": [encode(photograph("astronaut").resize((500, 450)))] * 2})

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(6):
            if number == 3:
                file.unlink()
                if change != "removed":
                    file.write_bytes(other_network() if change == "replaced" else b"")
            yield batch

    boxes = [str(box) for out in operator.stream(batches()) for box in out.column("emotion_face").to_pylist()]
    assert len(boxes) == 12
    assert len(set(boxes)) == 1


@needs_yunet
def test_a_dataset_has_the_faces_of_one_detector_which_its_footer_names(tiny_model: str, tmp_path: Path) -> None:
    file, other = Path(shutil.copy(YUNET, tmp_path / "y.onnx")), tmp_path / "other.onnx"
    other.write_bytes(other_network())
    assert find_faces(photograph("astronaut"), file)[0, 0] != find_faces(photograph("astronaut"), other)[0, 0]
    table = pa.table({"image": [encode(photograph("astronaut").resize((500, 450)))] * 16})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1)
    operator = ClassifyEmotions(
        model=tiny_model, faces=Faces("largest", detector=file), resources=Resources(threads=1), batch_size=1, cache=0
    )
    enrich_dataset(
        tmp_path / "in.parquet",
        tmp_path / "out",
        operator,
        on_progress=lambda progress: os.replace(other, file) if progress.rows_done == 1 else None,  # noqa: PTH105
    )
    written = pq.ParquetFile(tmp_path / "out" / "in.parquet")
    assert len({str(box) for box in written.read().column("emotion_face").to_pylist()}) == 1
    assert SHA256 in written.metadata.metadata[b"emotion_ops.fingerprint"].decode()
    with pytest.raises(DestinationConflictError, match="detector"):  # the file has another detector now
        enrich_dataset(tmp_path / "in.parquet", tmp_path / "out", operator)


@needs_yunet
def test_a_worker_that_finds_another_detector_than_the_pinned_one_refuses_it(tiny_model: str, tmp_path: Path) -> None:
    file = Path(shutil.copy(YUNET, tmp_path / "y.onnx"))
    pinned = ClassifyEmotions(model=tiny_model, faces=Faces("largest", detector=file)).pinned()
    assert pinned == pinned.pinned() == pickle.loads(pickle.dumps(pinned))
    assert pinned.identity() == with_faces(pinned, detector=file).identity()
    assert pinned(TABLE).num_rows == 10
    file.write_bytes(other_network())
    with pytest.raises(ModelError, match="when the job was planned") as refused:
        pinned(TABLE)
    assert refused.value.retryable
    travelled = pickle.loads(pickle.dumps(refused.value))
    assert (str(travelled), travelled.retryable) == (str(refused.value), True)
    assert str(travelled).startswith("detector ")


@needs_yunet
def test_a_detector_that_cannot_take_an_image_stops_the_job_before_the_first_row(
    tiny_model: str, tmp_path: Path
) -> None:
    one_image, four_images = (
        b"\x0a\x02\x08%c\x0a\x02\x08\x03" % number for number in (1, 4)
    )  # the first dimensions of its input
    (tmp_path / "four.onnx").write_bytes(YUNET.read_bytes().replace(one_image, four_images))
    operator = ClassifyEmotions(model=tiny_model, faces=Faces("largest", detector=tmp_path / "four.onnx"))
    with pytest.raises(ModelError, match="cannot take an image"):
        next(operator.stream([TABLE.to_batches()[0]]))


def given_more(pixels: np.ndarray, more: object = None) -> list[object]:
    return []


class Anonymous:
    """A detector whose repr does not say what its faces depend on."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self, pixels: np.ndarray) -> list[object]:
        return []

    @classmethod
    def of_class(cls, pixels: np.ndarray) -> list[object]:
        return []


@dataclasses.dataclass(frozen=True)
class Named(Anonymous):
    value: object

    def find(self, pixels: np.ndarray) -> list[object]:
        return []


DISTINCT = [
    given_more,
    failing_detector,
    functools.partial(given_more, more=1),
    functools.partial(given_more, more=2),
    functools.partial(given_more, more=failing_detector),
    functools.partial(functools.partial(given_more, more=given_more)),
    Named(1),
    Named(2),
    Named(1).find,
    Named(2).find,
    Anonymous.of_class,
    Named.of_class,
]


def test_detectors_that_find_other_faces_have_other_identities_in_every_process(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    identities = [detector_identity(detector) for detector in DISTINCT]
    assert len(set(identities)) == len(identities)
    assert [detector_identity(pickle.loads(pickle.dumps(detector))) for detector in DISTINCT] == identities
    pq.write_table(TABLE.slice(0, 1), tmp_path / "in.parquet")
    first, second = (with_faces(operator, detector=detector) for detector in DISTINCT[2:4])
    enrich_dataset(tmp_path / "in.parquet", tmp_path / "out", first)
    assert enrich_dataset(tmp_path / "in.parquet", tmp_path / "out", first).skipped == 1
    with pytest.raises(DestinationConflictError, match=r"more=1.*more=2"):
        enrich_dataset(tmp_path / "in.parquet", tmp_path / "out", second)


def test_a_dataset_is_refused_with_a_detector_that_cannot_be_distinguished_from_another(
    operator: ClassifyEmotions,
) -> None:
    def local_detector(pixels: np.ndarray) -> list[object]:
        return []

    for detector in (
        local_detector,
        lambda pixels: [],
        Anonymous(1),
        Anonymous(1).__call__,
        functools.partial(local_detector),
        functools.partial(given_more, more=Anonymous(1)),
        functools.partial(given_more, more=[local_detector]),
        functools.partial(given_more, more=ShortRepr()),
    ):
        unknown = with_faces(operator, detector=detector)
        with pytest.raises(OptionError, match="cannot be distinguished from a detector"):
            unknown.identity()
        if detector is not local_detector:
            assert unknown(TABLE.slice(0, 1)).num_rows == 1  # a table needs no identity


class ShortRepr:
    def __repr__(self) -> str:
        return repr(np.arange(5000))


def test_a_detector_that_cannot_be_hashed_is_refused_at_once() -> None:
    class Unhashable(Anonymous):
        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(OptionError, match="cannot be hashed"):
        ClassifyEmotions(faces=Faces(detector=Unhashable(1)))


def test_all_options_of_faces_are_part_of_the_identity(operator: ClassifyEmotions) -> None:
    identities = [
        with_faces(operator, **change).identity()
        for change in ({}, {"which": "largest"}, {"margin": 0.1}, {"max_faces": 3}, {"detector": failing_detector})
    ]
    assert len({str(one) for one in identities}) == len(identities)


def test_the_lineage_has_the_options_of_faces_and_nothing_is_fetched_for_it(operator: ClassifyEmotions) -> None:
    def lineage(**options: object) -> dict[str, str]:
        schema = with_faces(operator, **options).output_schema(TABLE.schema)
        return json.loads(schema.field("emotion").metadata[METADATA_KEY])

    found = lineage(margin=0.1)
    assert {name: found[name] for name in ("faces", "face_threshold", "min_face_size", "face_margin", "max_faces")} == {
        "faces": "all", "face_threshold": "0.7", "min_face_size": "0.0", "face_margin": "0.1", "max_faces": "64"
    }  # fmt: skip
    assert "Marked" in found["detector"]
    assert lineage(detector=None)["detector"] == f"yunet sha256:{SHA256}"  # the hub's, which is not in the cache here
    plain = dataclasses.replace(operator, faces=None).output_schema(TABLE.schema)
    assert "faces" not in json.loads(plain.field("emotion").metadata[METADATA_KEY])


def test_a_detector_without_a_name_can_be_used_for_a_table(operator: ClassifyEmotions) -> None:
    out = with_faces(operator, detector=lambda pixels: [(0, 0, 9, 9, 1)])(TABLE.slice(0, 2))
    assert out.column("emotion_face_count").to_pylist() == [1, 1]
    assert json.loads(out.schema.field("emotion").metadata[METADATA_KEY])["detector"]
