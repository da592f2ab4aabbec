"""Each face has its own result, in its place, whatever an image holds."""

from __future__ import annotations

import dataclasses
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from faces_model import YUNET, Marked, needs_yunet, photograph
from hypothesis import given, settings, strategies as st
from marked_faces import CELLS, COUNTS, TABLE, canvas, failing_detector, with_faces
from pictures import encode
from PIL import Image

from emotion_ops import (
    Cache,
    ClassifyEmotions,
    Decoding,
    Faces,
    ModelError,
    OptionError,
    Resources,
    RowFailedError,
    classify_emotions,
)
from emotion_ops.faces.crops import crop_face
from emotion_ops.images.rgb import upright_rgb


def test_every_face_has_the_result_of_its_crop_and_the_largest_is_the_first(
    operator: ClassifyEmotions, enriched: pa.Table
) -> None:
    alone = ClassifyEmotions(model=operator.model, on_error="raise")
    labels = alone.output_columns().labels
    assert enriched.num_rows == TABLE.num_rows
    for row, count in enumerate(COUNTS):
        faces = enriched.column("emotion_faces")[row].as_py()
        assert len(faces) == count == enriched.column("emotion_face_count")[row].as_py()
        sides = [face["width"] for face in faces]
        assert sides == [float(20 + face) for face in reversed(range(count))]
        if faces:
            picture = canvas(count, row)
            crops = [
                crop_face(picture, np.array([face[n] for n in ("x", "y", "width", "height")], np.float32), 0.0)
                for face in faces
            ]
            expected = alone.predict(crops)
            found = np.array([[face[label] for label in labels] for face in faces])
            np.testing.assert_allclose(found, expected, atol=1e-6)
            assert [face["emotion"] for face in faces] == [labels[place] for place in expected.argmax(axis=1)]
            flat = [enriched.column(f"emotion_{label}")[row].as_py() for label in labels]
            assert flat == found[0].tolist()
            assert enriched.column("emotion_face")[row].as_py() == {
                name: faces[0][name] for name in ("x", "y", "width", "height", "probability")
            }


def test_an_image_without_a_face_has_an_empty_list_and_other_failed_rows_are_null(enriched: pa.Table) -> None:
    errors = enriched.column("emotion_error").to_pylist()
    assert [str(error).partition(":")[0] for error in errors] == [
        "None",
        "no_face",
        *["None"] * 6,
        "missing",
        "unsupported",
    ]
    assert enriched.column("emotion_faces").to_pylist()[1] == []
    assert enriched.column("emotion_faces").to_pylist()[8:] == [None, None]
    assert enriched.column("emotion_face_count").to_pylist() == [*COUNTS, None, None]
    assert enriched.column("emotion_face").is_null().to_pylist() == [False, True, *[False] * 6, True, True]


def test_with_the_largest_face_only_the_columns_are_the_same_without_the_list(
    operator: ClassifyEmotions, enriched: pa.Table
) -> None:
    largest = with_faces(operator, which="largest")
    out = largest(TABLE)
    assert out.schema.equals(largest.output_schema(TABLE.schema))
    numbers = [name for name in out.schema.names if pa.types.is_floating(out.schema.field(name).type)]
    assert out.drop_columns(numbers).equals(enriched.drop_columns(["emotion_faces", *numbers]))
    for name in numbers:
        np.testing.assert_allclose(out.column(name).to_numpy(), enriched.column(name).to_numpy(), atol=1e-6)
    with pytest.raises(RowFailedError, match="no_face"):
        dataclasses.replace(largest, on_error="raise")(TABLE)
    assert dataclasses.replace(largest, on_error="drop")(TABLE).num_rows == 7


def test_options_choose_the_faces_and_max_faces_does_not_change_the_count(operator: ClassifyEmotions) -> None:
    few = with_faces(operator, min_size=21, max_faces=2)(TABLE)
    assert [len(faces or []) for faces in few.column("emotion_faces").to_pylist()] == [0, 0, 2, 2, 0, 1, 0, 0, 0, 0]
    assert few.column("emotion_face_count").to_pylist() == [0, 0, 2, 29, 0, 1, 0, 0, None, None]
    assert with_faces(operator, threshold=0.95)(TABLE).column("emotion_error").null_count == 0
    wider = with_faces(operator, margin=0.5)(TABLE)
    assert wider.column("emotion_sad").to_pylist()[0] != operator(TABLE).column("emotion_sad").to_pylist()[0]


def test_the_error_of_an_image_without_a_face_says_which_option_excluded_its_faces(operator: ClassifyEmotions) -> None:
    def why(row: int, **options: float) -> str:
        return str(with_faces(operator, **options)(TABLE.slice(row, 1)).column("emotion_error")[0])

    small = (
        "no_face: 3 faces were found in 180 x 60 pixels, but the shorter sides of their boxes are at most 22.0 pixels, "
    )
    assert why(2, min_size=1000) == f"{small}less than min_size=1000.0"
    none = "no_face: no face with a probability of at least 0.987654321 was found in"
    assert why(2, threshold=0.987654321, min_size=1000) == f"{none} 180 x 60 pixels"
    assert all(why(row).isascii() for row in (1, 2))


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        ({"which": "some"}, "give one of"),
        ({"threshold": 2}, "from 0 to 1"),
        ({"threshold": None}, "from 0 to 1"),
        ({"max_faces": 0}, "at least 1"),
        ({"margin": -1}, "0.1 adds 10 %"),
        ({"margin": 10}, "0.1 adds 10 %"),
        ({"min_size": None}, "at least 0"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_at_once(bad: dict[str, Any], hint: str) -> None:
    with pytest.raises(OptionError, match=rf"^Faces\.{next(iter(bad))}=.*{hint}"):
        Faces(**{"which": "all", **bad})
    with pytest.raises(OptionError, match="give the path of a YuNet file, or a callable"):
        Faces("all", detector=3)  # type: ignore[arg-type]


def test_an_operator_with_a_detector_can_be_pickled_and_loads_the_file_where_it_runs(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    assert pickle.loads(pickle.dumps(operator)) == operator
    assert with_faces(operator, detector=tmp_path / "x.onnx").faces.detector == str(tmp_path / "x.onnx")
    with pytest.raises(ModelError, match="no such file"):
        ClassifyEmotions(model=operator.model, faces=Faces("all", detector=tmp_path / "x.onnx"))(TABLE)


def broken_detector(pixels: np.ndarray) -> str:
    return "faces"


def test_a_detector_without_an_array_of_faces_stops_the_job_and_one_that_raises_fails_the_row(
    operator: ClassifyEmotions,
) -> None:
    with pytest.raises(ModelError, match="its result is not an array of faces"):
        with_faces(operator, detector=broken_detector)(TABLE)
    out = with_faces(operator, detector=failing_detector)(TABLE)
    assert "the detector failed (ValueError: out of luck)" in out.column("emotion_error")[0].as_py()


def test_batches_come_one_for_one_and_their_size_changes_nothing(
    operator: ClassifyEmotions, enriched: pa.Table
) -> None:
    batches = TABLE.to_batches(max_chunksize=3)
    for size in (1, 64):
        out = list(
            dataclasses.replace(operator, batch_size=size, resources=Resources(threads=2), cache=Cache(0)).stream(
                batches
            )
        )
        assert [batch.num_rows for batch in out] == [3, 3, 3, 1]
        whole = pa.Table.from_batches(out)
        assert whole.column("emotion_face_count").equals(enriched.column("emotion_face_count"))
        np.testing.assert_allclose(
            whole.column("emotion_sad").to_numpy(), enriched.column("emotion_sad").to_numpy(), atol=1e-6
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
    out = dataclasses.replace(operator, decoding=Decoding(isolation=isolation))(pa.table({"image": [turned]}))
    upright = np.asarray(upright_rgb(Image.open(io.BytesIO(turned))))
    wanted = [face[:4] for face in Marked()(upright)]
    faces = out.column("emotion_faces")[0].as_py()
    assert sorted([face["x"], face["y"], face["width"], face["height"]] for face in faces) == sorted(map(list, wanted))


@needs_yunet
def test_a_face_in_a_rotated_photograph_has_the_box_that_it_has_in_the_upright_one(tiny_model: str) -> None:
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
    out = ClassifyEmotions(model=tiny_model, faces=Faces("largest", detector=YUNET))(pa.table({"image": cells}))
    assert out.column("emotion_face").to_pylist() == out.column("emotion_face").to_pylist()[:1] * 8
    assert abs(out.column("emotion_face")[0].as_py()["x"] - 178) < 2


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(range(len(CELLS))), min_size=1, max_size=20), st.integers(1, 7), st.integers(1, 5))
def test_rows_keep_their_number_and_order_whatever_the_images_contain(
    operator: ClassifyEmotions, rows: list[int], chunk: int, batch_size: int
) -> None:
    table = TABLE.take(rows)
    changed = dataclasses.replace(operator, batch_size=batch_size)
    out = pa.Table.from_batches(changed.stream(table.to_batches(max_chunksize=chunk)))
    assert out.column("id").to_pylist() == rows
    assert out.column("emotion_face_count").to_pylist() == [[*COUNTS, None, None][row] for row in rows]


def test_frames_have_faces_as_lists_of_dicts(operator: ClassifyEmotions, enriched: pa.Table) -> None:
    options = {"model": operator.model, "faces": Faces("all", detector=Marked())}
    frame = classify_emotions(pd.DataFrame({"image": CELLS}), **options)
    assert frame["emotion_face_count"].tolist()[:8] == COUNTS
    assert [len(faces) for faces in frame["emotion_faces"][:8]] == COUNTS
    polars = classify_emotions(pl.DataFrame({"image": CELLS}), **options)
    assert polars["emotion_faces"].list.len().to_list()[:8] == COUNTS


@needs_yunet
def test_real_faces_in_real_photographs(tiny_model: str) -> None:
    cells = [encode(photograph(name)) for name in ("astronaut", "coffee", "camera")]
    out = ClassifyEmotions(model=tiny_model, faces=Faces("all", detector=YUNET))(pa.table({"image": cells}))
    assert out.column("emotion_face_count").to_pylist() == [1, 0, 1]
    box = out.column("emotion_face")[0].as_py()
    np.testing.assert_allclose(
        [box[name] for name in ("x", "y", "width", "height")], (178.2, 62.9, 89.9, 113.3), atol=1
    )
