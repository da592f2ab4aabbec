"""Faces in the table operator: one answer for each, in place, whatever a picture holds."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from enriched import rewrite, with_cell
from faces_model import YUNET, Marked, needs_yunet, other_network, photograph
from hypothesis import given, settings, strategies as st
from pictures import encode, photo
from PIL import Image

from emotion_ops import (
    ClassifyEmotions,
    DestinationConflictError,
    EmotionClassifier,
    ModelError,
    OptionError,
    RowFailedError,
    classify_emotions,
    diff_datasets,
    enrich_dataset,
    find_faces,
    verify_dataset,
)
from emotion_ops.faces.crops import crop_face
from emotion_ops.faces.identity import detector_identity
from emotion_ops.faces.weights import SHA256
from emotion_ops.images.cells import Cell
from emotion_ops.images.decode import upright_rgb
from emotion_ops.images.loader import Known
from emotion_ops.lake.fingerprint import Recipe
from emotion_ops.lake.plan import FINGERPRINT_KEY
from emotion_ops.operators.classify.columns import METADATA_KEY
from emotion_ops.operators.classify.face_loader import Crops, FaceLoader
from emotion_ops.operators.classify.session import build_transform, engine_of, loader_of, search_of
from emotion_ops.operators.rows import Flow, Rows
from emotion_ops.operators.stream import answer
from emotion_ops.operators.throughput import measure


def canvas(faces: int, seed: int = 0, side: int = 20) -> Image.Image:
    """Marked faces in a grid, each of its own size and with something drawn in it that the network can tell apart."""
    columns = max(1, min(6, faces))
    picture = photo(seed, 60 * columns, 60 * -(-max(1, faces) // columns)).convert("RGB")
    pixels = np.asarray(picture).copy()
    pixels[:, :, 0] = np.minimum(pixels[:, :, 0], 70)
    for face in range(faces):
        top, left = face // columns * 60 + 5, face % columns * 60 + 5
        size = side + face
        pixels[top : top + size, left : left + size] = (77, 255, face)
        pixels[top + 3 : top + size - 3, left + 3 : left + size - 3] = np.random.default_rng(face).integers(0, 70, 3)
    return Image.fromarray(pixels)


COUNTS = [1, 0, 3, 30, 1, 2, 1, 1]
CELLS = [*(encode(canvas(count, seed)) for seed, count in enumerate(COUNTS)), None, b"text"]
TABLE = pa.table({"id": range(10), "image": pa.array(CELLS, pa.binary())})


@pytest.fixture(scope="module")
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model, faces="all", detector=Marked(), batch_size=4)


@pytest.fixture(scope="module")
def answered(operator: ClassifyEmotions) -> pa.Table:
    return operator(TABLE)


def test_every_face_has_the_answer_of_its_crop_alone_the_largest_first(
    operator: ClassifyEmotions, answered: pa.Table
) -> None:
    alone = EmotionClassifier(model=operator.model)
    assert answered.num_rows == TABLE.num_rows
    for row, count in enumerate(COUNTS):
        faces = answered.column("emotion_faces")[row].as_py()
        assert len(faces) == count == answered.column("emotion_face_count")[row].as_py()
        sides = [face["width"] for face in faces]
        assert sides == [float(20 + face) for face in reversed(range(count))]
        if faces:
            picture = canvas(count, row)
            crops = [
                crop_face(picture, np.array([face[n] for n in ("x", "y", "width", "height")], np.float32), 0.0)
                for face in faces
            ]
            expected = alone.predict(crops)
            found = np.array([[face[label] for label in alone.labels] for face in faces])
            np.testing.assert_allclose(found, expected, atol=1e-6)
            assert [face["emotion"] for face in faces] == [alone.labels[place] for place in expected.argmax(axis=1)]
            flat = [answered.column(f"emotion_{label}")[row].as_py() for label in alone.labels]
            assert flat == found[0].tolist()
            assert answered.column("emotion_face")[row].as_py() == {
                name: faces[0][name] for name in ("x", "y", "width", "height", "probability")
            }


def test_a_picture_without_a_face_is_no_face_and_others_that_fail_are_null(answered: pa.Table) -> None:
    errors = answered.column("emotion_error").to_pylist()
    assert [str(error).partition(":")[0] for error in errors] == [
        "None",
        "no_face",
        *["None"] * 6,
        "missing",
        "unsupported",
    ]
    assert answered.column("emotion_faces").to_pylist()[1] == []
    assert answered.column("emotion_faces").to_pylist()[8:] == [None, None]
    assert answered.column("emotion_face_count").to_pylist() == [*COUNTS, None, None]
    assert answered.column("emotion_face").is_null().to_pylist() == [False, True, *[False] * 6, True, True]


def test_the_largest_face_alone_has_the_same_columns_without_the_list(
    operator: ClassifyEmotions, answered: pa.Table
) -> None:
    largest = dataclasses.replace(operator, faces="largest")
    out = largest(TABLE)
    assert out.schema.equals(largest.output_schema(TABLE.schema))
    numbers = [name for name in out.schema.names if pa.types.is_floating(out.schema.field(name).type)]
    assert out.drop_columns(numbers).equals(answered.drop_columns(["emotion_faces", *numbers]))
    for name in numbers:
        np.testing.assert_allclose(out.column(name).to_numpy(), answered.column(name).to_numpy(), atol=1e-6)
    with pytest.raises(RowFailedError, match="no_face"):
        dataclasses.replace(largest, on_error="raise")(TABLE)
    assert dataclasses.replace(largest, on_error="drop")(TABLE).num_rows == 7


def test_options_choose_the_faces_and_the_count_tells_of_all(operator: ClassifyEmotions) -> None:
    few = dataclasses.replace(operator, max_faces=2, min_face_size=21)(TABLE)
    assert [len(faces or []) for faces in few.column("emotion_faces").to_pylist()] == [0, 0, 2, 2, 0, 1, 0, 0, 0, 0]
    assert few.column("emotion_face_count").to_pylist() == [0, 0, 2, 29, 0, 1, 0, 0, None, None]
    assert dataclasses.replace(operator, face_threshold=0.95)(TABLE).column("emotion_error").null_count == 0
    wider = dataclasses.replace(operator, face_margin=0.5)(TABLE)
    assert wider.column("emotion_sad").to_pylist()[0] != operator(TABLE).column("emotion_sad").to_pylist()[0]


def test_a_picture_without_a_face_says_which_option_left_it_without_one(operator: ClassifyEmotions) -> None:
    def why(row: int, **options: float) -> str:
        return str(dataclasses.replace(operator, **options)(TABLE.slice(row, 1)).column("emotion_error")[0])

    small = "no_face: faces found in 180 x 60 pixels: 3, whose shorter sides are 22.0 pixels at the most, less than"
    assert why(2, min_face_size=1000) == f"{small} min_face_size=1000.0"
    none = "no_face: no face of a probability of 0.987654321 or more was found in"
    assert why(2, face_threshold=0.987654321, min_face_size=1000) == f"{none} 180 x 60 pixels"
    assert all(why(row).isascii() for row in (1, 2))


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        ({"faces": "some"}, "give one of"),
        ({"detector": 3}, "give a path"),
        ({"face_threshold": 2}, "from 0 to 1"),
        ({"face_threshold": None}, "from 0 to 1"),
        ({"max_faces": 0}, "at least 1"),
        ({"face_margin": -1}, "0.1 adds 10 %"),
        ({"face_margin": 10}, "0.1 adds 10 %"),
        ({"min_face_size": None}, "at least 0"),
    ],
)
def test_an_option_that_cannot_work_is_refused_at_once(bad: dict[str, object], hint: str) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(bad))}=.*{hint}"):
        ClassifyEmotions(**{"faces": "all", **bad})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "idle",
    [{"detector": "x.onnx"}, {"detector": Marked()}, {"face_threshold": 0.5}, {"face_margin": 0.1}, {"max_faces": 3},
     {"min_face_size": 9}],
)  # fmt: skip
def test_an_option_of_faces_that_nobody_looks_for_is_refused(idle: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=rf"^{next(iter(idle))}=.*give faces='largest' or 'all'"):
        ClassifyEmotions(**idle)  # type: ignore[arg-type]
    assert ClassifyEmotions(face_threshold=0.7, min_face_size=0, max_faces=64) == ClassifyEmotions()


def test_the_options_are_a_value_that_travels(operator: ClassifyEmotions, tmp_path: Path) -> None:
    assert pickle.loads(pickle.dumps(operator)) == operator
    assert dataclasses.replace(operator, detector=tmp_path / "x.onnx").detector == str(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match="no such file"):
        ClassifyEmotions(model=operator.model, faces="all", detector=tmp_path / "x.onnx")(TABLE)


@needs_yunet
@pytest.mark.parametrize("change", ["replaced", "removed", "emptied"])
def test_a_stream_keeps_the_detector_that_it_began_with(tiny_model: str, tmp_path: Path, change: str) -> None:
    file = Path(shutil.copy(YUNET, tmp_path / "y.onnx"))
    operator = ClassifyEmotions(model=tiny_model, faces="largest", detector=file, threads=1, batch_size=1)
    batch = pa.record_batch({"image": [encode(photograph("astronaut").resize((500, 450)))] * 2})

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(6):  # a row is loaded after it was asked for
            if number == 3:
                file.unlink()
                if change != "removed":
                    file.write_bytes(other_network() if change == "replaced" else b"")
            yield batch

    boxes = [str(box) for out in operator.stream(batches()) for box in out.column("emotion_face").to_pylist()]
    assert len(boxes) == 12
    assert len(set(boxes)) == 1


@needs_yunet
def test_a_dataset_has_the_faces_of_one_detector_and_its_footer_says_of_which(tiny_model: str, tmp_path: Path) -> None:
    file, other = Path(shutil.copy(YUNET, tmp_path / "y.onnx")), tmp_path / "other.onnx"
    other.write_bytes(other_network())
    assert find_faces(photograph("astronaut"), file)[0, 0] != find_faces(photograph("astronaut"), other)[0, 0]
    table = pa.table({"image": [encode(photograph("astronaut").resize((500, 450)))] * 16})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1)
    operator = ClassifyEmotions(model=tiny_model, faces="largest", detector=file, threads=1, batch_size=1)
    enrich_dataset(
        tmp_path / "in.parquet",
        tmp_path / "out",
        operator,
        on_progress=lambda progress: os.replace(other, file) if progress.rows_done == 1 else None,  # noqa: PTH105
    )
    written = pq.ParquetFile(tmp_path / "out" / "in.parquet")
    assert len({str(box) for box in written.read().column("emotion_face").to_pylist()}) == 1
    assert SHA256 in written.metadata.metadata[b"emotion_ops.fingerprint"].decode()
    with pytest.raises(DestinationConflictError, match="detector"):  # another one is there by now
        enrich_dataset(tmp_path / "in.parquet", tmp_path / "out", operator)


@needs_yunet
def test_who_meets_another_detector_than_the_one_that_was_pinned_refuses_it(tiny_model: str, tmp_path: Path) -> None:
    file = Path(shutil.copy(YUNET, tmp_path / "y.onnx"))
    pinned = ClassifyEmotions(model=tiny_model, faces="largest", detector=file).pinned()
    assert pinned == pinned.pinned() == pickle.loads(pickle.dumps(pinned))
    assert Recipe.of(pinned, "all") == Recipe.of(dataclasses.replace(pinned, detector=file), "all")
    assert pinned(TABLE).num_rows == 10
    file.write_bytes(other_network())
    with pytest.raises(ModelError, match="when the work was planned") as refused:
        pinned(TABLE)
    assert refused.value.retryable
    travelled = pickle.loads(pickle.dumps(refused.value))
    assert (str(travelled), travelled.retryable) == (str(refused.value), True)
    assert str(travelled).startswith("detector ")


@needs_yunet
def test_a_network_that_cannot_take_a_picture_stops_the_job_before_any_row(tiny_model: str, tmp_path: Path) -> None:
    of_one, of_four = (b"\x0a\x02\x08%c\x0a\x02\x08\x03" % number for number in (1, 4))  # the input's first sizes
    (tmp_path / "four.onnx").write_bytes(YUNET.read_bytes().replace(of_one, of_four))
    operator = ClassifyEmotions(model=tiny_model, faces="largest", detector=tmp_path / "four.onnx")
    with pytest.raises(ModelError, match="cannot look at a picture"):
        next(operator.stream([TABLE.to_batches()[0]]))


def broken_detector(pixels: np.ndarray) -> str:
    return "faces"


def failing_detector(pixels: np.ndarray) -> list[object]:
    raise ValueError("out of luck")


def test_a_detector_that_answers_nonsense_stops_the_job_and_one_that_raises_costs_the_row(
    operator: ClassifyEmotions,
) -> None:
    with pytest.raises(ModelError, match="no array of faces"):
        dataclasses.replace(operator, detector=broken_detector)(TABLE)
    out = dataclasses.replace(operator, detector=failing_detector)(TABLE)
    assert "the detector failed (ValueError: out of luck)" in out.column("emotion_error")[0].as_py()


def test_batches_come_one_for_one_and_their_size_changes_nothing(
    operator: ClassifyEmotions, answered: pa.Table
) -> None:
    batches = TABLE.to_batches(max_chunksize=3)
    for size in (1, 64):
        out = list(dataclasses.replace(operator, batch_size=size, threads=2).stream(batches))
        assert [batch.num_rows for batch in out] == [3, 3, 3, 1]
        whole = pa.Table.from_batches(out)
        assert whole.column("emotion_face_count").equals(answered.column("emotion_face_count"))
        np.testing.assert_allclose(
            whole.column("emotion_sad").to_numpy(), answered.column("emotion_sad").to_numpy(), atol=1e-6
        )


@pytest.mark.parametrize(
    ("isolation", "orientation"), [*(("thread", turn) for turn in range(1, 9)), ("process", 5), ("process", 6)]
)
def test_boxes_are_in_the_pixels_of_the_upright_image(
    operator: ClassifyEmotions, isolation: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encode(canvas(3), "PNG", exif=exif)
    out = dataclasses.replace(operator, isolation=isolation)(pa.table({"image": [turned]}))
    upright = np.asarray(upright_rgb(Image.open(io.BytesIO(turned))))
    wanted = [face[:4] for face in Marked()(upright)]
    faces = out.column("emotion_faces")[0].as_py()
    assert sorted([face["x"], face["y"], face["width"], face["height"]] for face in faces) == sorted(map(list, wanted))


@needs_yunet
def test_a_face_in_a_photograph_that_lies_on_its_side_is_where_it_is_in_the_upright_one(tiny_model: str) -> None:
    upright, cells = photograph("astronaut").crop((0, 0, 400, 300)), []
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for orientation, way in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        cells.append(encode(upright if way is None else upright.transpose(way), "PNG", exif=exif))
    out = ClassifyEmotions(model=tiny_model, faces="largest", detector=YUNET)(pa.table({"image": cells}))
    assert out.column("emotion_face").to_pylist() == out.column("emotion_face").to_pylist()[:1] * 8
    assert abs(out.column("emotion_face")[0].as_py()["x"] - 178) < 2


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(range(len(CELLS))), min_size=1, max_size=20), st.integers(1, 7), st.integers(1, 5))
def test_whatever_pictures_hold_rows_keep_their_number_and_order(
    operator: ClassifyEmotions, rows: list[int], chunk: int, batch_size: int
) -> None:
    table = TABLE.take(rows)
    changed = dataclasses.replace(operator, batch_size=batch_size)
    out = pa.Table.from_batches(changed.stream(table.to_batches(max_chunksize=chunk)))
    assert out.column("id").to_pylist() == rows
    assert out.column("emotion_face_count").to_pylist() == [[*COUNTS, None, None][row] for row in rows]


def test_frames_have_faces_as_lists_of_dicts(operator: ClassifyEmotions, answered: pa.Table) -> None:
    options = {"model": operator.model, "faces": "all", "detector": Marked()}
    frame = classify_emotions(pd.DataFrame({"image": CELLS}), **options)
    assert frame["emotion_face_count"].tolist()[:8] == COUNTS
    assert [len(faces) for faces in frame["emotion_faces"][:8]] == COUNTS
    polars = classify_emotions(pl.DataFrame({"image": CELLS}), **options)
    assert polars["emotion_faces"].list.len().to_list()[:8] == COUNTS


@pytest.fixture
def dataset(operator: ClassifyEmotions, tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / "source.parquet"
    pq.write_table(TABLE, source, row_group_size=4)
    enrich_dataset(source, tmp_path / "out", operator)
    return source, tmp_path / "out"


def test_a_dataset_has_the_same_columns_is_proven_compared_and_retried(
    operator: ClassifyEmotions, dataset: tuple[Path, Path], answered: pa.Table
) -> None:
    source, out = dataset
    written = pq.read_table(out / "source.parquet")
    assert written.schema.equals(answered.schema)
    assert written.column("emotion_face_count").equals(answered.column("emotion_face_count"))
    verified = verify_dataset(source, out)
    assert verified.proven, verified.problems
    assert enrich_dataset(source, out, operator).skipped == 1
    again = enrich_dataset(source, out, operator, retry_errors="no_face")
    assert (again.rows_retried, again.errors) == (1, {"missing": 1, "no_face": 1, "unsupported": 1})
    assert verify_dataset(source, out).proven
    assert diff_datasets(out, out).answered == 7


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [
        ("emotion_face_count", 2, 0),
        ("emotion_face_count", 1, 1),
        ("emotion_face", 0, None),
        ("emotion_faces", 2, []),
        ("emotion_faces", 9, []),
    ],
)
def test_verify_notices_faces_that_contradict_the_answer(
    dataset: tuple[Path, Path], column: str, row: int, value: object
) -> None:
    source, out = dataset
    rewrite(out / "source.parquet", with_cell(column, row, value))
    assert [problem.row for problem in verify_dataset(source, out).problems] == [row]


def face(row: int, place: int, **values: object) -> Callable[[pa.Table], pa.Table]:
    """A change of one face in a list."""

    def change(rows: pa.Table) -> pa.Table:
        faces = rows.column("emotion_faces")[row].as_py()
        faces[place].update(values)
        return with_cell("emotion_faces", row, faces)(rows)

    return change


def order(row: int, *places: int) -> Callable[[pa.Table], pa.Table]:
    """A change of which faces of a list there are, and in which order; the row's own count stays."""

    def change(rows: pa.Table) -> pa.Table:
        faces = rows.column("emotion_faces")[row].as_py()
        return with_cell("emotion_faces", row, [faces[place] for place in places])(rows)

    return change


DAMAGES: dict[str, tuple[Callable[[pa.Table], pa.Table], int, str]] = {
    "a face is lost": (order(2, 0, 1), 2, "emotion_faces has 2 faces of 3"),
    "all are lost": (order(2), 2, "emotion_faces has 0 faces of 3"),
    "a face is doubled": (order(2, 0, 1, 1, 2), 2, "emotion_faces has 4 faces of 3"),
    "two are swapped": (order(2, 0, 2, 1), 2, "face 3 of emotion_faces: stands behind one that is smaller"),
    "the largest is another": (order(2, 1, 0, 2), 2, "the first of emotion_faces is not the face, label and"),
    "a probability of 5": (face(3, 20, happy=5.0), 3, "face 21 of emotion_faces: happy is 5, which is no probability"),
    "a probability is NaN": (face(3, 1, sad=float("nan")), 3, "face 2 of emotion_faces: sad is nan, which is no"),
    "a probability is null": (face(3, 1, sad=None), 3, "face 2 of emotion_faces: has no whole answer"),
    "a label is another": (face(5, 1, emotion="bored"), 5, "emotion is 'bored', but the highest probability is of"),
    "a label is null": (face(5, 1, emotion=None), 5, "face 2 of emotion_faces: has no whole answer"),
    "they do not sum to 1": (face(5, 1, happy=0.9), 5, "face 2 of emotion_faces: the probabilities sum to 1."),
    "a box has no width": (face(5, 1, width=0.0), 5, "face 2 of emotion_faces: is no face that was asked for: x 5"),
    "a box lies outside": (face(5, 1, x=-1.0), 5, "is no face that was asked for: x -1, y 5"),
    "a box is infinite": (face(5, 1, x=float("inf")), 5, "is no face that was asked for: x inf"),
    "a box is null": (face(5, 1, y=None), 5, "is no face that was asked for: x 5, y nan"),
    "a face is less probable": (face(5, 1, probability=0.69), 5, "height 20, probability 0.69"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_verify_proves_each_face_of_a_list_as_it_does_a_row(dataset: tuple[Path, Path], name: str) -> None:
    source, out = dataset
    change, row, words = DAMAGES[name]
    rewrite(out / "source.parquet", change)
    problems = verify_dataset(source, out).problems
    assert [problem.row for problem in problems] == [row]
    assert words in problems[0].what


def test_verify_knows_how_many_faces_of_which_size_were_asked_for(operator: ClassifyEmotions, tmp_path: Path) -> None:
    source, out = tmp_path / "source.parquet", tmp_path / "out"
    pq.write_table(TABLE, source)
    enrich_dataset(source, out, dataclasses.replace(operator, max_faces=2, min_face_size=21, min_probability=0.9999))
    assert verify_dataset(source, out).proven
    rewrite(out / "source.parquet", face(2, 1, width=20.0))
    assert [problem.what[:60] for problem in verify_dataset(source, out).problems] == [
        "face 2 of emotion_faces: is no face that was asked for: x 65"
    ]
    rewrite(out / "source.parquet", face(2, 1, width=21.0, emotion="sad"))
    assert "no probability reaches min_probability=0.9999" in verify_dataset(source, out).problems[0].what


def test_verify_proves_the_box_of_the_largest_face_alone_too(operator: ClassifyEmotions, tmp_path: Path) -> None:
    source, out = tmp_path / "source.parquet", tmp_path / "out"
    pq.write_table(TABLE, source)
    enrich_dataset(source, out, dataclasses.replace(operator, faces="largest"))
    assert verify_dataset(source, out).proven
    box = {"x": 5.0, "y": 5.0, "width": -20.0, "height": 20.0, "probability": 0.9}
    rewrite(out / "source.parquet", with_cell("emotion_face", 0, box))
    (problem,) = verify_dataset(source, out).problems
    assert (problem.row, problem.what[:49]) == (0, "emotion_face is no face that was asked for: x 5, ")


def given_more(pixels: np.ndarray, more: object = None) -> list[object]:
    return []


class Holding:
    """A detector that is told from others by nothing."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __call__(self, pixels: np.ndarray) -> list[object]:
        return []

    @classmethod
    def of_class(cls, pixels: np.ndarray) -> list[object]:
        return []


@dataclasses.dataclass(frozen=True)
class Telling(Holding):
    held: object

    def find(self, pixels: np.ndarray) -> list[object]:
        return []


TOLD_APART = [
    given_more,
    failing_detector,
    functools.partial(given_more, more=1),
    functools.partial(given_more, more=2),
    functools.partial(given_more, more=failing_detector),
    functools.partial(functools.partial(given_more, more=given_more)),
    Telling(1),
    Telling(2),
    Telling(1).find,
    Telling(2).find,
    Holding.of_class,
    Telling.of_class,
]


def test_detectors_that_find_other_faces_have_other_fingerprints(operator: ClassifyEmotions, tmp_path: Path) -> None:
    told = [detector_identity(detector) for detector in TOLD_APART]
    assert len(set(told)) == len(told)
    assert [detector_identity(pickle.loads(pickle.dumps(detector))) for detector in TOLD_APART] == told
    pq.write_table(TABLE.slice(0, 1), tmp_path / "in.parquet")
    first, second = (dataclasses.replace(operator, detector=detector) for detector in TOLD_APART[2:4])
    enrich_dataset(tmp_path / "in.parquet", tmp_path / "out", first)
    assert enrich_dataset(tmp_path / "in.parquet", tmp_path / "out", first).skipped == 1
    with pytest.raises(DestinationConflictError, match=r"more=1.*more=2"):
        enrich_dataset(tmp_path / "in.parquet", tmp_path / "out", second)


def test_a_dataset_is_not_made_with_a_detector_that_cannot_be_told_from_another(operator: ClassifyEmotions) -> None:
    def within(pixels: np.ndarray) -> list[object]:
        return []

    for detector in (
        within,
        lambda pixels: [],
        Holding(1),
        Holding(1).__call__,
        functools.partial(within),
        functools.partial(given_more, more=Holding(1)),
        functools.partial(given_more, more=[within]),
        functools.partial(given_more, more=_Shortened()),
    ):
        unknown = dataclasses.replace(operator, detector=detector)
        with pytest.raises(OptionError, match="could not be told from those of another"):
            Recipe.of(unknown, "all")
        if detector is not within:
            assert unknown(TABLE.slice(0, 1)).num_rows == 1  # a table has no fingerprint


class _Shortened:
    def __repr__(self) -> str:
        return repr(np.arange(5000))


def test_a_detector_that_cannot_be_hashed_is_refused_at_once() -> None:
    class Unhashable(Holding):
        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(OptionError, match="cannot be hashed"):
        ClassifyEmotions(detector=Unhashable(1))


def test_a_number_of_faces_is_refused_where_one_is_looked_at() -> None:
    with pytest.raises(OptionError, match="'largest' is one"):
        ClassifyEmotions(faces="largest", max_faces=3)


def test_what_finds_the_faces_is_part_of_the_fingerprint(operator: ClassifyEmotions) -> None:
    parts = [
        Recipe.of(dataclasses.replace(operator, **change), "all").parts
        for change in ({}, {"faces": "largest"}, {"face_margin": 0.1}, {"max_faces": 3}, {"detector": failing_detector})
    ]
    assert len({str(one) for one in parts}) == len(parts)


def test_another_search_is_refused_and_says_which_option_differs(
    operator: ClassifyEmotions, dataset: tuple[Path, Path]
) -> None:
    source, out = dataset
    other = dataclasses.replace(operator, face_margin=0.1, max_faces=3)
    with pytest.raises(
        DestinationConflictError, match=r"face_margin: 0\.0 there, 0\.1 now; max_faces: 64 there, 3 now"
    ):
        enrich_dataset(source, out, other)


def test_an_output_of_the_names_that_options_had_before_is_refused_and_says_so(
    operator: ClassifyEmotions, dataset: tuple[Path, Path]
) -> None:
    """Earlier outputs have the four options in one list, without names, and squares of another size."""
    source, out = dataset
    parts = json.loads(pq.read_metadata(out / "source.parquet").metadata[FINGERPRINT_KEY])
    named = ("face_threshold", "min_face_size", "face_margin", "max_faces")
    parts["search"] = [parts.pop(name) for name in named]
    rewrite(out / "source.parquet", lambda rows: rows, {FINGERPRINT_KEY: json.dumps(parts, sort_keys=True).encode()})
    with pytest.raises(DestinationConflictError, match=r"search: \[0\.7, 0\.0, 0\.0, 64\] there, None now"):
        enrich_dataset(source, out, operator)


def test_the_lineage_tells_of_the_search_and_nothing_is_fetched_for_it(operator: ClassifyEmotions) -> None:
    def lineage(**options: object) -> dict[str, str]:
        schema = dataclasses.replace(operator, **options).output_schema(TABLE.schema)
        return json.loads(schema.field("emotion").metadata[METADATA_KEY])

    told = lineage(face_margin=0.1)
    assert {name: told[name] for name in ("faces", "face_threshold", "min_face_size", "face_margin", "max_faces")} == {
        "faces": "all", "face_threshold": "0.7", "min_face_size": "0.0", "face_margin": "0.1", "max_faces": "64"
    }  # fmt: skip
    assert "Marked" in told["detector"]
    assert lineage(detector=None)["detector"] == f"yunet sha256:{SHA256}"  # the hub's, which is not in the cache here
    assert "faces" not in lineage(faces="none", detector=None)


def test_a_detector_without_a_name_will_do_for_a_table(operator: ClassifyEmotions) -> None:
    out = dataclasses.replace(operator, detector=lambda pixels: [(0, 0, 9, 9, 1)])(TABLE.slice(0, 2))
    assert out.column("emotion_face_count").to_pylist() == [1, 1]
    assert json.loads(out.schema.field("emotion").metadata[METADATA_KEY])["detector"]


def test_a_plan_counts_the_pictures_without_a_face_and_the_memory_of_the_crops(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    pq.write_table(TABLE, tmp_path / "source.parquet")
    guesses = [
        enrich_dataset(
            tmp_path / "source.parquet", tmp_path / "out", dataclasses.replace(operator, max_faces=most), dry_run=True
        ).estimate
        for most in (1, 1000)
    ]
    for guess in guesses:
        assert guess is not None
        assert guess.failed == {"missing": 1, "no_face": 1, "unsupported": 1}
    few, many = (guess.memory_bytes for guess in guesses if guess)
    side = engine_of(operator).pixels.height
    assert many - few >= 999 * 2 * 4 * side * side * 3  # of two rows for each of four threads or more


def test_the_networks_pace_is_that_of_images_with_all_their_faces(operator: ClassifyEmotions) -> None:
    images = TABLE.column("image").combine_chunks()
    measured = measure(operator, images, 0.05)
    assert measured.pictures == sum(COUNTS) / 7  # images with a face
    assert measured.failed == {"missing": 1, "no_face": 1, "unsupported": 1}
    assert measure(dataclasses.replace(operator, faces="largest"), images, 0.05).pictures == 1
    failed = measure(operator, images.slice(8), 0.05)
    assert (failed.pictures, failed.failed.total()) == (1, 2)


@needs_yunet
def test_real_faces_in_real_photographs(tiny_model: str) -> None:
    cells = [encode(photograph(name)) for name in ("astronaut", "coffee", "camera")]
    out = ClassifyEmotions(model=tiny_model, faces="all", detector=YUNET)(pa.table({"image": cells}))
    assert out.column("emotion_face_count").to_pylist() == [1, 0, 1]
    box = out.column("emotion_face")[0].as_py()
    np.testing.assert_allclose(
        [box[name] for name in ("x", "y", "width", "height")], (178.2, 62.9, 89.9, 113.3), atol=1
    )


@pytest.mark.parametrize(("batch_size", "at_once"), [(1, 1), (4, 2), (7, 1), (16, 3)])
def test_the_network_gets_whole_batches_however_many_faces_pictures_have(
    operator: ClassifyEmotions, answered: pa.Table, batch_size: int, at_once: int
) -> None:
    engine, sizes = engine_of(operator), []

    class Watched:
        labels, precision, device, checkpoint = engine.labels, engine.precision, engine.device, engine.checkpoint

        def predict(self, pictures: np.ndarray) -> np.ndarray:
            sizes.append(len(pictures))
            return engine.predict(pictures)

    search = search_of(operator)
    assert search is not None
    loader = FaceLoader(loader_of(operator, build_transform(engine.pixels), whole=True), search)
    flow = Flow(batch_size=batch_size, threads=2, ahead_bytes=2**28, at_once=at_once, most_pictures=30)
    rows = Rows(None, 3 * len(COUNTS), lambda row: CELLS[row % len(COUNTS)])
    ((_, answers),) = answer([rows], Watched(), loader, flow)  # type: ignore[arg-type]  # as much of one as is used
    assert sum(sizes) == 3 * sum(COUNTS)
    assert sorted(sizes)[1:] == [batch_size] * (len(sizes) - 1)
    expected = answered.column("emotion_faces").to_pylist()
    for row, faces in enumerate(answers.faces):
        assert (faces is None) == (COUNTS[row % len(COUNTS)] == 0)
        if faces is not None:
            wanted = [[face[label] for label in engine.labels] for face in expected[row % len(COUNTS)]]
            np.testing.assert_allclose(faces.probabilities, wanted, atol=1e-6)


def test_however_many_faces_pictures_have_only_so_many_crops_wait_for_the_network(operator: ClassifyEmotions) -> None:
    """A crowd in each picture: what was cut out and not yet computed never exceeds what the window allows."""
    engine = engine_of(operator)
    waiting = most = 0
    counting = threading.Lock()

    class Loader(FaceLoader):
        def load_unless(self, cell: Cell, known: Known | None) -> Crops | None:
            nonlocal waiting, most
            crops = super().load_unless(cell, known)
            with counting:
                waiting += len(crops.pixels) if crops else 0
                most = max(most, waiting)
            return crops

    class Slow:
        labels, precision, device, checkpoint = engine.labels, engine.precision, engine.device, engine.checkpoint

        def predict(self, pictures: np.ndarray) -> np.ndarray:
            nonlocal waiting
            assert len(pictures) <= 4
            time.sleep(0.002)
            with counting:
                waiting -= len(pictures)
            return engine.predict(pictures)

    flow = Flow(batch_size=4, threads=2, ahead_bytes=2**28, most_pictures=30)
    search = search_of(operator)
    assert search is not None
    loader = Loader(loader_of(operator, build_transform(engine.pixels), whole=True), search)
    crowd = CELLS[COUNTS.index(30)]
    rows = Rows(None, 60, lambda row: crowd if row % 2 else CELLS[0])
    ((_, answers),) = answer([rows], Slow(), loader, flow)  # type: ignore[arg-type]  # as much of one as is used
    assert [len(faces.boxes) for faces in answers.faces if faces] == [1, 30] * 30
    assert 30 < most <= flow.ahead_rows + 2 * flow.threads * 30
    assert waiting == 0


@needs_yunet
def test_the_command_line_looks_for_faces(tiny_model: str, tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"image": [encode(photograph("astronaut")), encode(photograph("coffee"))]}), tmp_path / "a.parquet"
    )
    command = [
        sys.executable,
        "-m",
        "emotion_ops",
        "enrich",
        str(tmp_path / "a.parquet"),
        str(tmp_path / "out"),
        "--model",
        tiny_model,
    ]
    done = subprocess.run(
        [*command, "--faces", "all", "--detector", str(YUNET)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no_face" in done.stdout
    assert pq.read_table(tmp_path / "out" / "a.parquet").column("emotion_face_count").to_pylist() == [1, 0]
