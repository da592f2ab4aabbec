"""The drawn faces and the data set made of them."""

import io
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from emotion_ops.demo.action_units import ACTION_UNITS, VARIANT_UNITS, express, sample_units
from emotion_ops.demo.dataset import write_demo_dataset
from emotion_ops.demo.faces import EMOTIONS, draw_face, encode_face


def test_the_emotions_are_the_seven_labels_in_the_order_of_the_columns() -> None:
    assert EMOTIONS == ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy")
    assert tuple(ACTION_UNITS) == tuple(VARIANT_UNITS) == EMOTIONS


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_same_arguments_draw_the_same_pixels(emotion: str) -> None:
    first, second = draw_face(emotion, 7), draw_face(emotion, 7)
    assert first.tobytes() == second.tobytes()


def test_another_seed_or_another_emotion_draws_other_pixels() -> None:
    face = draw_face("happy", 1).tobytes()
    assert draw_face("happy", 2).tobytes() != face
    assert draw_face("sad", 1).tobytes() != face


def test_one_seed_shows_one_person_before_one_background_in_all_moods() -> None:
    corners = [np.asarray(draw_face(emotion, 5))[:40, :12].astype(float) for emotion in EMOTIONS]
    for corner in corners[1:]:
        assert np.abs(corner.mean(axis=(0, 1)) - corners[0].mean(axis=(0, 1))).max() < 2


@pytest.mark.parametrize("size", [32, 97, 224])
def test_a_face_is_a_square_rgb_picture_of_the_size_asked_for(size: int) -> None:
    face = draw_face("neutral", 3, size=size)
    assert (face.mode, face.size) == ("RGB", (size, size))


def test_an_unknown_emotion_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match=r"unknown emotion 'bored'.*sad, disgust, angry"):
        draw_face("bored", 1)


def test_a_negative_seed_a_tiny_size_and_an_unknown_format_are_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        draw_face("sad", -1)
    with pytest.raises(ValueError, match="size"):
        draw_face("sad", 1, size=31)
    with pytest.raises(ValueError, match=r"unknown format 'TIFF'.*JPEG, PNG, WEBP"):
        encode_face("sad", 1, format="TIFF")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("emotion", EMOTIONS)
def test_every_emotion_encodes_and_decodes(emotion: str, file_format: str) -> None:
    with Image.open(io.BytesIO(encode_face(emotion, 11, size=64, format=file_format))) as picture:
        picture.load()
        assert (picture.format, picture.mode, picture.size) == (file_format, "RGB", (64, 64))


def test_png_keeps_every_pixel_of_the_drawing() -> None:
    with Image.open(io.BytesIO(encode_face("fear", 4, format="PNG"))) as picture:
        assert picture.tobytes() == draw_face("fear", 4).tobytes()


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_sampled_units_are_the_prototype_plus_known_variants(emotion: str) -> None:
    for seed in range(50):
        units = sample_units(emotion, np.random.default_rng(seed))
        extra = set(units) - set(ACTION_UNITS[emotion])
        assert set(ACTION_UNITS[emotion]) <= set(units)
        assert extra <= set(VARIANT_UNITS[emotion])
        assert all(0 < strength <= 1 for strength in units.values())


def test_units_move_the_face_the_way_their_names_say() -> None:
    rest = express({})
    assert express({1: 1.0}).brow_inner > rest.brow_inner > express({4: 1.0}).brow_inner
    assert express({2: 1.0}).brow_outer > rest.brow_outer
    assert express({5: 1.0}).upper_lid > rest.upper_lid > express({7: 1.0}).upper_lid
    assert express({12: 1.0}).corner_lift > rest.corner_lift > express({15: 1.0}).corner_lift
    assert express({20: 1.0}).mouth_width > rest.mouth_width > express({24: 1.0}).mouth_width
    assert express({26: 1.0}).opening > express({25: 1.0}).opening > rest.opening == 0


def test_the_data_set_has_the_promised_columns_rows_and_faces(tmp_path: pathlib.Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = write_demo_dataset(tmp_path / "faces.parquet", rows=9, seed=30, size=64)
    table = pq.read_table(path)
    assert table.schema.names == ["id", "drawn", "image"]
    assert table.schema.field("id").type == pa.string()
    assert table.schema.field("drawn").type == pa.string()
    assert table.schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == [f"face-{i:04d}" for i in range(9)]
    assert [row["drawn"] for row in rows] == [*EMOTIONS, "sad", "disgust"]
    assert rows[0]["image"]["path"] == "faces/face-0000.jpg"
    assert rows[8]["image"]["bytes"] == encode_face("disgust", 38, size=64)
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_writing_the_data_set_replaces_the_file_and_leaves_nothing_else(
    tmp_path: pathlib.Path,
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "faces.parquet"
    path.write_bytes(b"old")
    write_demo_dataset(path, rows=0)
    assert pq.read_table(path).num_rows == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["faces.parquet"]


def test_a_negative_number_of_rows_is_refused(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="rows"):
        write_demo_dataset(tmp_path / "faces.parquet", rows=-1)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, emotion_ops.demo\nprint({'numpy', 'PIL', 'pyarrow', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
