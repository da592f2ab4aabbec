"""Faces in pictures: the decoder against OpenCV's, the rules of order and choice, and the squares that are cut out."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from faces_model import FREE_SHAPE, YUNET, needs_yunet, photograph
from hub_server import HubServer
from hypothesis import example, given, settings, strategies as st
from PIL import Image, ImageOps

from emotion_ops import ModelError, ModelNotFoundError, OptionError, UnsafeWeightsError, find_faces
from emotion_ops.faces import runtime, weights
from emotion_ops.faces.crops import crop_face
from emotion_ops.faces.decoding import suppress_overlaps
from emotion_ops.faces.detector import load_yunet
from emotion_ops.faces.identity import detector_identity
from emotion_ops.faces.order import sort_faces
from emotion_ops.faces.yunet import YuNet

ASTRONAUT = (178.2, 62.9, 89.9, 113.3)
CAMERA = (195.6, 113.1, 60.7, 81.1)


def collage(columns: int, rows: int, side: int = 200) -> Image.Image:
    """The two photographs with a face in turns, and some without one."""
    names = ["astronaut", "coffee", "camera", "rocket"]
    sheet = Image.new("RGB", (columns * side, rows * side), "gray")
    for place in range(columns * rows):
        picture = ImageOps.fit(photograph(names[place % 4]), (side, side))
        sheet.paste(picture, (place % columns * side, place // columns * side))
    return sheet


@needs_yunet
@pytest.mark.parametrize("name", ["astronaut", "camera", "coffee", "rocket", "collage"])
def test_the_decoder_finds_the_faces_that_opencv_finds_within_half_a_pixel(name: str) -> None:
    picture = collage(3, 2) if name == "collage" else photograph(name)
    expected, ours = opencvs(picture), load_yunet(str(YUNET), 0.7)(picture)
    assert len(ours) == len(expected) == {"astronaut": 1, "camera": 1, "collage": 3}.get(name, 0)
    check_equal(ours, expected)


def opencvs(picture: Image.Image) -> np.ndarray:
    """What OpenCV finds: (faces, 15), of which the last is the probability."""
    import cv2

    theirs = cv2.FaceDetectorYN.create(str(YUNET), "", picture.size, 0.7, 0.3, 5000)
    _, found = theirs.detect(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]))
    return np.empty((0, 15), np.float32) if found is None else found


def check_equal(ours: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(ours[:, :4], expected[:, :4], atol=0.5)
    np.testing.assert_allclose(ours[:, 5:], expected[:, 4:14], atol=0.5)
    np.testing.assert_allclose(ours[:, 4], expected[:, 14], atol=0.01)


@needs_yunet
@pytest.mark.parametrize("name", runtime.RUNTIMES)
def test_faces_at_the_edges_of_pictures_of_any_size_are_those_that_opencv_finds(name: str) -> None:
    rng = np.random.default_rng(0)
    find = YuNet(runtime.load_onnx(YUNET.read_bytes(), name, "YuNet"), 0.7, "YuNet")
    at_edges = 0
    for _ in range(20):
        width, height = (int(side) for side in rng.integers(200, 641, 2))
        sheet = Image.new("RGB", (width, height), tuple(int(part) for part in rng.integers(0, 255, 3)))
        for corner in ((width - 90, height - 110), (0, height - 80), (width - 60, 0), (width // 3, height // 4)):
            side = int(rng.integers(150, 400))
            face = photograph("astronaut").resize((side, side)).crop((side // 4, 0, side * 3 // 4, side // 2))
            sheet.paste(face, corner)
        expected, ours = opencvs(sheet), find(sheet)
        assert len(ours) == len(expected)
        nearest = np.abs(expected[:, np.newaxis, :4] - ours[np.newaxis, :, :4]).max(axis=2).argmin(axis=1)
        check_equal(ours[nearest], expected)
        reach = ours[:, :2] + ours[:, 2:4]
        at_edges += int((reach > np.array([width, height]) - 16).any(axis=1).sum())
    assert at_edges > 10


@needs_yunet
def test_both_runtimes_and_both_shapes_of_the_network_find_the_same() -> None:
    picture = collage(3, 2)
    networks = [
        runtime.load_onnx(path.read_bytes(), name, path.name)
        for name in runtime.RUNTIMES
        for path in (YUNET, FREE_SHAPE)
    ]
    assert [network.shape for network in networks] == [None] * 4  # the hub's file fixes it, and is set free
    first, *others = (YuNet(network, 0.7, "YuNet")(picture) for network in networks)
    assert len(first) == 3
    for other in others:
        np.testing.assert_allclose(other, first, atol=0.5)
    np.testing.assert_allclose(others[1], first, atol=0.01)
    np.testing.assert_allclose(others[2], others[0], atol=0.01)


@needs_yunet
def test_boxes_are_in_the_pixels_of_a_huge_picture() -> None:
    whole = photograph("astronaut")
    huge = Image.new("RGB", (5000, 3000), "gray")
    huge.paste(whole.resize((2048, 2048)), (1900, 500))
    ((x, y, width, height, _),) = find_faces(huge, str(YUNET))
    wanted = np.array(ASTRONAUT) * 4 + (1900, 500, 0, 0)
    np.testing.assert_allclose((x, y, width, height), wanted, atol=30)  # 8 pixels of it are one of the network's


@needs_yunet
def test_a_threshold_a_least_size_and_a_number_choose_among_faces() -> None:
    sheet = collage(3, 2)
    found = find_faces(sheet, str(YUNET))
    assert len(found) == 3
    areas = found[:, 2] * found[:, 3]
    assert list(areas) == sorted(areas, reverse=True)
    assert np.array_equal(find_faces(sheet, str(YUNET), max_faces=1), found[:1])
    smallest = float(found[:, 2:4].min())
    assert len(find_faces(sheet, str(YUNET), min_size=smallest + 0.1)) == 2
    assert len(find_faces(sheet, str(YUNET), threshold=0.99)) == 0


@needs_yunet
def test_pictures_of_any_shape_are_looked_at() -> None:
    for size in ((1, 1), (3, 900), (4000, 2), (33, 31)):
        assert find_faces(Image.new("RGB", size, "white"), str(YUNET)).shape == (0, 5)


@needs_yunet
def test_the_photographs_have_the_faces_that_one_sees_in_them_with_their_landmarks() -> None:
    for name, box in {"astronaut": ASTRONAUT, "camera": CAMERA}.items():
        (face,) = find_faces(photograph(name), YUNET, landmarks=True)
        np.testing.assert_allclose(face[:4], box, atol=1)
        assert np.array_equal(face[:5], find_faces(photograph(name), YUNET)[0])
        right_eye, left_eye, nose, right_mouth, left_mouth = face[5:].reshape(5, 2)
        assert right_eye[0] < left_eye[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
        assert right_mouth[0] < left_mouth[0]
        assert ((face[5:].reshape(5, 2) > face[:2]) & (face[5:].reshape(5, 2) < face[:2] + face[2:4])).all()
    for name in ("coffee", "rocket"):
        assert find_faces(photograph(name), YUNET, landmarks=True).shape == (0, 15)


def test_a_detector_of_ones_own_may_give_landmarks_too() -> None:
    picture, told = (
        Image.new("RGB", (100, 100)),
        np.array([[1, 2, 30, 40, 0.9, *range(10)], [0, 0, 9, 9, 0.9, *[5] * 10]]),
    )
    assert np.array_equal(find_faces(picture, lambda pixels: told, landmarks=True), told.astype(np.float32))
    assert np.array_equal(find_faces(picture, lambda pixels: told), told[:, :5].astype(np.float32))
    few = find_faces(picture, lambda pixels: told[:, :6], landmarks=True)
    assert np.isnan(few[:, 5:]).all()


@needs_yunet
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "I;16"])
def test_a_picture_of_any_mode_is_looked_at_as_rgb(mode: str) -> None:
    picture = photograph("astronaut").convert("L" if mode == "I;16" else mode).convert(mode)
    assert np.array_equal(find_faces(picture, YUNET), find_faces(picture.convert("RGB"), YUNET))


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("threshold", [70, -3, float("nan"), None, "0.7", True]),
        ("min_size", [-1, float("nan"), None]),
        ("max_faces", [-1, 0, 2.5, True]),
        ("detector", [3, b"x"]),
    ],
)
def test_what_find_faces_cannot_work_with_is_refused_and_never_means_no_faces(
    option: str, values: list[object]
) -> None:
    for value in values:
        arguments = {"detector": lambda pixels: [(0, 0, 5, 5, 0.9)], option: value}
        with pytest.raises(OptionError, match=option):
            find_faces(Image.new("RGB", (9, 9)), **arguments)  # type: ignore[arg-type]


def test_pixels_and_paths_are_no_pictures() -> None:
    for value in (np.zeros((9, 9, 3), np.uint8), "a.png", None):
        with pytest.raises(OptionError, match="give an upright PIL image"):
            find_faces(value, lambda pixels: [])  # type: ignore[arg-type]


@needs_yunet
def test_weights_come_from_the_hub_and_no_others_than_those_that_are_known(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder, content in ((good, YUNET.read_bytes()), (bad, FREE_SHAPE.read_bytes())):
        folder.mkdir()
        (folder / weights.FILE).write_bytes(content)
    code = (
        "from emotion_ops.faces.weights import file_sha256, resolve_weights; print(file_sha256(resolve_weights(None)))"
    )
    for folder, home in ((good, "a"), (bad, "b")):
        with HubServer() as hub:
            hub.add_commit(weights.REPOSITORY, folder, "a" * 40)
            environment = {
                "HF_ENDPOINT": hub.endpoint,
                "HF_HUB_OFFLINE": "0",
                "HF_HOME": str(tmp_path / home),
                "HF_HUB_DISABLE_XET": "1",
            }
            done = run(code, environment)
        if folder is good:
            assert done.stdout.strip() == weights.SHA256, done.stderr
            assert run(code, {**environment, "HF_HUB_OFFLINE": "1"}).stdout.strip() == weights.SHA256
        else:
            assert "UnsafeWeightsError" in done.stderr
            assert weights.SHA256 in done.stderr


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def test_a_file_that_is_no_detector_is_refused_and_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such file"):
        find_faces(photograph("coffee"), str(tmp_path / "none.onnx"))
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(b"no model")
    with pytest.raises(ModelError, match="give a YuNet file"):
        find_faces(photograph("coffee"), str(torn))
    with pytest.raises(ModelError, match=r"^detector '.*none.onnx': there is no such file"):  # no model
        find_faces(photograph("coffee"), tmp_path / "none.onnx")
    assert issubclass(UnsafeWeightsError, ModelError)


class OnAnotherDevice:
    """An array that numpy may not have, as torch's with a gradient or on a GPU."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise RuntimeError("use tensor.detach().numpy()")


NO_FACES = {
    "too few numbers": [(1.0, 2.0)],
    "a text": "faces",
    "nothing": None,
    "a mapping": {},
    "not a number": [[0, 0, float("nan"), 1, 1]],
    "above all numbers": [[0, 0, 1e39, 1, 0.9]],
    "three dimensions": np.zeros((2, 3, 5)),
    "complex numbers": np.zeros((1, 5), complex),
    "no rows of three": np.empty((0, 3)),
    "another device": OnAnotherDevice(),
    "a percentage": [(0, 0, 9, 9, 95.0)],
    "a huge probability": [(0, 0, 9, 9, 1e30)],
    "a negative probability": [(0, 0, 9, 9, -0.1)],
}


@pytest.mark.parametrize("name", NO_FACES)
def test_what_a_detector_of_ones_own_says_is_checked(name: str) -> None:
    with pytest.raises(ModelError, match="no array of faces"):
        find_faces(photograph("coffee"), lambda pixels: NO_FACES[name])


def test_a_detector_of_ones_own_is_given_rgb_and_may_find_nothing() -> None:
    given: list[np.ndarray] = []
    assert find_faces(photograph("coffee"), lambda pixels: given.append(pixels) or []).shape == (0, 5)
    assert np.array_equal(given[0], np.asarray(photograph("coffee")))
    (face,) = find_faces(photograph("coffee"), lambda pixels: [(590, -5, 100, 20, 0.8, 1, 2)])
    np.testing.assert_allclose(face, (590, 0, 10, 15, 0.8), rtol=1e-6)


boxes = st.lists(
    st.tuples(
        *[st.floats(-200, 400, width=32)] * 2,
        *[st.floats(-10, 500, width=32)] * 2,
        st.sampled_from([0.5, 0.7, 0.8, 1.0]),
    ),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@example([(0, 0, 1, 2, 0.8), (0, 0, 2, 1, 0.8)], 300, 300, 0.0, Random(1))
@example([(0, 0, 1, 2, 0.8), (0, 0, 2, 1, 0.8)], 300, 300, 0.0, Random(2))
@given(boxes, st.integers(1, 300), st.integers(1, 300), st.sampled_from([0.0, 0.1, 0.4]), st.randoms())
def test_boxes_lie_inside_the_picture_in_a_stable_order_and_no_crop_is_empty(
    found: list[tuple[float, ...]], width: int, height: int, margin: float, random: object
) -> None:
    array = np.array(found, np.float32).reshape(-1, 5)
    faces = sort_faces(array, (width, height), 0.7, 0, None)
    shuffled = array.copy()
    random.shuffle(order := list(range(len(array))))  # type: ignore[attr-defined]
    assert np.array_equal(sort_faces(shuffled[order], (width, height), 0.7, 0, None), faces)
    assert (faces[:, :2] >= 0).all()
    assert (faces[:, 0] + faces[:, 2] <= width * (1 + 1e-6)).all()
    assert (faces[:, 1] + faces[:, 3] <= height * (1 + 1e-6)).all()
    areas = (faces[:, 2] * faces[:, 3]).tolist()
    assert areas == sorted(areas, reverse=True)
    picture = Image.new("RGB", (width, height), (10, 20, 30))
    for face in faces:
        cut = crop_face(picture, face, margin)
        assert cut.width == cut.height >= 1
        assert abs(cut.width - face[2:4].max() * (1 + 2 * margin)) <= 1
        assert np.unique(np.asarray(cut).reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]  # edges repeated, not black


def test_the_larger_of_two_faces_comes_first_though_float32_cannot_tell() -> None:
    told = np.array([[0, 0, 4097, 4099, 0.9], [0, 0, 4098, 4098, 0.8]], np.float32)
    assert sort_faces(told, (9000, 9000), 0.7, 0, None)[:, 2].tolist() == [4098, 4097]
    equal = np.array([[0, 0, 1, 2, 0.8], [0, 0, 2, 1, 0.8]], np.float32)
    assert np.array_equal(sort_faces(equal, (9, 9), 0.7, 0, None), sort_faces(equal[::-1], (9, 9), 0.7, 0, None))


def test_a_crop_is_the_square_around_the_boxs_centre() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = np.arange(200), np.arange(100)[:, np.newaxis]
    picture = Image.fromarray(pixels)
    inside = np.asarray(crop_face(picture, np.array([50, 40, 10, 20], np.float32), 0.0))
    assert np.array_equal(inside, pixels[40:60, 45:65])
    wider = np.asarray(crop_face(picture, np.array([50, 40, 10, 20], np.float32), 0.1))
    assert np.array_equal(wider, pixels[38:62, 43:67])
    corner = np.asarray(crop_face(picture, np.array([0, 0, 4, 10], np.float32), 0.0))
    assert corner.shape == (10, 10, 3)
    assert np.array_equal(corner[:, 3:], pixels[:10, :7])
    assert np.array_equal(corner[:, :3], np.repeat(pixels[:10, :1], 3, axis=1))


def test_of_boxes_that_overlap_the_most_probable_stays() -> None:
    faces = np.zeros((4, 15), np.float32)
    faces[:, :5] = [[0, 0, 10, 10, 0.8], [1, 0, 10, 10, 0.9], [20, 0, 10, 10, 0.7], [24.9, 0, 10, 10, 0.95]]
    assert suppress_overlaps(faces, 0.3)[:, 4].tolist() == np.float32([0.95, 0.9]).tolist()
    assert len(suppress_overlaps(faces, 0.35)) == 3
    assert suppress_overlaps(faces[:0], 0.3).shape == (0, 15)


SAYS_IT = """
import functools
from dataclasses import dataclass
from test_faces import kept
from emotion_ops.faces.identity import detector_identity

@dataclass(frozen=True)
class Detector:
    names: frozenset[str]
    def __call__(self, pixels):
        return []

names = frozenset({"left", "right", "up", "down", "near"})
print(detector_identity(functools.partial(kept, names=names, more={"a": {1, 2}})), detector_identity(Detector(names)))
"""


def kept(pixels: np.ndarray, names: frozenset[str] = frozenset(), more: object = None) -> list[object]:
    return []


def test_a_detector_that_holds_a_set_is_told_alike_in_every_process() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", SAYS_IT],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1
    assert "'left'" in told.pop()


def test_arrays_have_no_identity_since_their_repr_rounds() -> None:
    assert detector_identity(functools.partial(kept, more=np.float64(0.25))) != detector_identity(
        functools.partial(kept, more=0.5)
    )
    for held in (np.array([0.9, 0.123456789]), [np.array([1.0])]):
        with pytest.raises(OptionError, match="could not be told from those of another"):
            detector_identity(functools.partial(kept, more=held))
