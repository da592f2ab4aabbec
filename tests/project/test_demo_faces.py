"""The sample faces of the wheel, and the package that draws them."""

import io
import subprocess
import sys

import make_demo_faces
import numpy as np
import pyarrow as pa
import pytest
from drawn_faces import draw_face, encode_face, faces_table
from drawn_faces.action_units import ACTION_UNITS, VARIANT_UNITS, express, sample_units
from PIL import Image

from emotion_ops import EMOTIONS, ClassifyEmotions, testing
from emotion_ops.demo import FACES_FILE, sample_faces


def test_the_sample_faces_are_what_the_script_draws() -> None:
    assert sample_faces().equals(make_demo_faces.demo_faces()), "run python scripts/make_demo_faces.py"


def test_the_sample_faces_have_the_documented_columns_and_take_at_most_150_kilobytes() -> None:
    table = sample_faces()
    assert table.schema.names == ["id", "drawn", "image"]
    assert table.schema.types == [pa.string(), pa.string(), pa.struct([("bytes", pa.binary()), ("path", pa.string())])]
    assert table["id"].to_pylist() == [f"face-{row:04d}" for row in range(21)]
    assert table["drawn"].to_pylist() == [*EMOTIONS] * 3
    for cell in table["image"].to_pylist():
        with Image.open(io.BytesIO(cell["bytes"])) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (224, 224))
    assert FACES_FILE.stat().st_size <= 150_000


def test_importing_the_demo_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, emotion_ops.demo\nprint({'numpy', 'PIL', 'pyarrow', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_faces_for_tests_are_all_different_and_have_the_columns_of_the_sample_faces() -> None:
    table = testing.faces_table(210)
    assert table.schema.equals(sample_faces().schema)
    assert table["drawn"].to_pylist() == [*EMOTIONS] * 30
    assert len(set(table["image"].combine_chunks().field("bytes").to_pylist())) == 210
    assert table.equals(testing.faces_table(210))
    assert testing.faces_table(1, seed=1000)["image"][0].as_py() not in table["image"].to_pylist()


def test_the_demo_model_classifies_faces_for_tests() -> None:
    table = ClassifyEmotions(model="demo")(testing.faces_table(210))
    right = [row["drawn"] == row["emotion"] for row in table.select(["drawn", "emotion"]).to_pylist()]
    assert sum(right) / len(right) >= 0.9


def test_every_label_has_action_units() -> None:
    assert tuple(ACTION_UNITS) == tuple(VARIANT_UNITS) == EMOTIONS


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_same_arguments_draw_the_same_pixels(emotion: str) -> None:
    first, second = draw_face(emotion, 7), draw_face(emotion, 7)
    assert first.tobytes() == second.tobytes()


def test_another_seed_or_another_emotion_draws_other_pixels() -> None:
    face = draw_face("happy", 1).tobytes()
    assert draw_face("happy", 2).tobytes() != face
    assert draw_face("sad", 1).tobytes() != face


def test_one_seed_draws_one_person_and_one_background_with_every_emotion() -> None:
    corners = [np.asarray(draw_face(emotion, 5))[:40, :12].astype(float) for emotion in EMOTIONS]
    for corner in corners[1:]:
        assert np.abs(corner.mean(axis=(0, 1)) - corners[0].mean(axis=(0, 1))).max() < 2


@pytest.mark.parametrize("size", [32, 97, 224])
def test_a_face_is_a_square_rgb_image_of_the_requested_size(size: int) -> None:
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
    with Image.open(io.BytesIO(encode_face(emotion, 11, size=64, format=file_format))) as image:
        image.load()
        assert (image.format, image.mode, image.size) == (file_format, "RGB", (64, 64))


def test_a_png_file_has_every_pixel_of_the_drawing() -> None:
    with Image.open(io.BytesIO(encode_face("fear", 4, format="PNG"))) as image:
        assert image.tobytes() == draw_face("fear", 4).tobytes()


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_sampled_units_are_the_prototypical_units_and_known_variants(emotion: str) -> None:
    for seed in range(50):
        units = sample_units(emotion, np.random.default_rng(seed))
        extra = set(units) - set(ACTION_UNITS[emotion])
        assert set(ACTION_UNITS[emotion]) <= set(units)
        assert extra <= set(VARIANT_UNITS[emotion])
        assert all(0 < strength <= 1 for strength in units.values())


def test_each_unit_moves_the_face_in_its_direction() -> None:
    rest = express({})
    assert express({1: 1.0}).brow_inner > rest.brow_inner > express({4: 1.0}).brow_inner
    assert express({2: 1.0}).brow_outer > rest.brow_outer
    assert express({5: 1.0}).upper_lid > rest.upper_lid > express({7: 1.0}).upper_lid
    assert express({12: 1.0}).corner_lift > rest.corner_lift > express({15: 1.0}).corner_lift
    assert express({20: 1.0}).mouth_width > rest.mouth_width > express({24: 1.0}).mouth_width
    assert express({26: 1.0}).opening > express({25: 1.0}).opening > rest.opening == 0


def test_a_drawn_table_has_the_labels_in_turn_and_one_person_for_each_row() -> None:
    table = faces_table(9, seed=30, size=64)
    assert table.schema.equals(sample_faces().schema)
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == [f"face-{i:04d}" for i in range(9)]
    assert [row["drawn"] for row in rows] == [*EMOTIONS, "sad", "disgust"]
    assert rows[0]["image"]["path"] == "faces/face-0000.jpg"
    assert rows[8]["image"]["bytes"] == encode_face("disgust", 38, size=64)
