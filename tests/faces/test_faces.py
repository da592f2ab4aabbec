"""Faces in images: YuNet compared with OpenCV's, how faces are filtered and ordered, and the crops."""

from __future__ import annotations

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
from emotion_ops.faces.order import sort_faces
from emotion_ops.faces.yunet import YuNet

ASTRONAUT = (178.2, 62.9, 89.9, 113.3)
CAMERA = (195.6, 113.1, 60.7, 81.1)


def collage(columns: int, rows: int, side: int = 200) -> Image.Image:
    """The two photographs with a face, and two without one, in turns."""
    names = ["astronaut", "coffee", "camera", "rocket"]
    sheet = Image.new("RGB", (columns * side, rows * side), "gray")
    for place in range(columns * rows):
        image = ImageOps.fit(photograph(names[place % 4]), (side, side))
        sheet.paste(image, (place % columns * side, place // columns * side))
    return sheet


@needs_yunet
@pytest.mark.parametrize("name", ["astronaut", "camera", "coffee", "rocket", "collage"])
def test_yunet_finds_the_faces_that_opencv_finds_within_half_a_pixel(name: str) -> None:
    image = collage(3, 2) if name == "collage" else photograph(name)
    expected, ours = find_with_opencv(image), load_yunet(str(YUNET), 0.7)(image)
    assert len(ours) == len(expected) == {"astronaut": 1, "camera": 1, "collage": 3}.get(name, 0)
    check_equal(ours, expected)


def find_with_opencv(image: Image.Image) -> np.ndarray:
    """The faces that OpenCV finds: (faces, 15); the last column is the probability."""
    import cv2

    detector = cv2.FaceDetectorYN.create(str(YUNET), "", image.size, 0.7, 0.3, 5000)
    _, found = detector.detect(np.ascontiguousarray(np.asarray(image)[:, :, ::-1]))
    return np.empty((0, 15), np.float32) if found is None else found


def check_equal(ours: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(ours[:, :4], expected[:, :4], atol=0.5)
    np.testing.assert_allclose(ours[:, 5:], expected[:, 4:14], atol=0.5)
    np.testing.assert_allclose(ours[:, 4], expected[:, 14], atol=0.01)


@needs_yunet
@pytest.mark.parametrize("name", runtime.RUNTIMES)
def test_faces_at_the_edges_of_images_of_any_size_are_those_that_opencv_finds(name: str) -> None:
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
        expected, ours = find_with_opencv(sheet), find(sheet)
        assert len(ours) == len(expected)
        nearest = np.abs(expected[:, np.newaxis, :4] - ours[np.newaxis, :, :4]).max(axis=2).argmin(axis=1)
        check_equal(ours[nearest], expected)
        reach = ours[:, :2] + ours[:, 2:4]
        at_edges += int((reach > np.array([width, height]) - 16).any(axis=1).sum())
    assert at_edges > 10


@needs_yunet
def test_both_runtimes_and_both_shapes_of_the_network_find_the_same() -> None:
    image = collage(3, 2)
    networks = [
        runtime.load_onnx(path.read_bytes(), name, path.name)
        for name in runtime.RUNTIMES
        for path in (YUNET, FREE_SHAPE)
    ]
    assert [network.shape for network in networks] == [None] * 4  # the hub's file has a fixed shape, which is made free
    first, *others = (YuNet(network, 0.7, "YuNet")(image) for network in networks)
    assert len(first) == 3
    for other in others:
        np.testing.assert_allclose(other, first, atol=0.5)
    np.testing.assert_allclose(others[1], first, atol=0.01)
    np.testing.assert_allclose(others[2], others[0], atol=0.01)


@needs_yunet
def test_boxes_of_a_huge_image_are_in_its_pixels() -> None:
    whole = photograph("astronaut")
    huge = Image.new("RGB", (5000, 3000), "gray")
    huge.paste(whole.resize((2048, 2048)), (1900, 500))
    ((x, y, width, height, _),) = find_faces(huge, str(YUNET))
    expected = np.array(ASTRONAUT) * 4 + (1900, 500, 0, 0)
    np.testing.assert_allclose((x, y, width, height), expected, atol=30)  # 8 of its pixels are one of the network's


@needs_yunet
def test_threshold_min_size_and_max_faces_filter_faces() -> None:
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
def test_images_of_any_shape_can_be_searched() -> None:
    for size in ((1, 1), (3, 900), (4000, 2), (33, 31)):
        assert find_faces(Image.new("RGB", size, "white"), str(YUNET)).shape == (0, 5)


@needs_yunet
def test_faces_and_landmarks_of_the_photographs_are_where_they_are_seen() -> None:
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


def test_a_custom_detector_may_return_landmarks() -> None:
    image = Image.new("RGB", (100, 100))
    returned = np.array([[1, 2, 30, 40, 0.9, *range(10)], [0, 0, 9, 9, 0.9, *[5] * 10]])
    assert np.array_equal(find_faces(image, lambda pixels: returned, landmarks=True), returned.astype(np.float32))
    assert np.array_equal(find_faces(image, lambda pixels: returned), returned[:, :5].astype(np.float32))
    few = find_faces(image, lambda pixels: returned[:, :6], landmarks=True)
    assert np.isnan(few[:, 5:]).all()


@needs_yunet
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "I;16"])
def test_an_image_of_any_mode_is_searched_as_rgb(mode: str) -> None:
    image = photograph("astronaut").convert("L" if mode == "I;16" else mode).convert(mode)
    assert np.array_equal(find_faces(image, YUNET), find_faces(image.convert("RGB"), YUNET))


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("threshold", [70, -3, float("nan"), None, "0.7", True]),
        ("min_size", [-1, float("nan"), None]),
        ("max_faces", [-1, 0, 2.5, True]),
        ("detector", [3, b"x"]),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_instead_of_finding_no_faces(
    option: str, values: list[object]
) -> None:
    for value in values:
        arguments = {"detector": lambda pixels: [(0, 0, 5, 5, 0.9)], option: value}
        with pytest.raises(OptionError, match=option):
            find_faces(Image.new("RGB", (9, 9)), **arguments)  # type: ignore[arg-type]


def test_pixels_and_paths_are_refused() -> None:
    for value in (np.zeros((9, 9, 3), np.uint8), "a.png", None):
        with pytest.raises(OptionError, match="give an upright PIL image"):
            find_faces(value, lambda pixels: [])  # type: ignore[arg-type]


@needs_yunet
def test_the_weights_of_the_hub_are_used_only_with_the_known_hash(tmp_path: Path) -> None:
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


def test_without_a_runtime_the_error_comes_before_the_hub_is_asked_and_before_a_network_is_loaded(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = sys.modules['openvino'] = None\n"
        "from emotion_ops import ClassifyEmotions, MissingDependencyError, find_faces\n"
        "from emotion_ops.testing import faces_table\n"
        "image, table = __import__('PIL.Image').Image.new('RGB', (9, 9)), faces_table(1)\n"
        "for work in (lambda: find_faces(image), lambda: ClassifyEmotions(model='demo', faces='all')(table)):\n"
        "    try: work()\n"
        "    except MissingDependencyError as error: print(error, 'torch' in sys.modules)\n"
    )
    with HubServer() as hub:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
        done = run(code, environment)
    message = "detecting faces needs the package onnxruntime: pip install 'emotion-ops[faces]' False\n"
    assert done.stdout == 2 * message, done.stderr
    assert hub.requests == []


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def test_a_file_that_is_not_a_detector_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such file"):
        find_faces(photograph("coffee"), str(tmp_path / "none.onnx"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelError, match="give a YuNet file"):
        find_faces(photograph("coffee"), str(broken))
    with pytest.raises(ModelError, match=r"^detector '.*none.onnx': there is no such file"):  # not "model"
        find_faces(photograph("coffee"), tmp_path / "none.onnx")
    assert issubclass(UnsafeWeightsError, ModelError)


class OnAnotherDevice:
    """An array that numpy cannot read, such as a torch tensor with a gradient or on a GPU."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise RuntimeError("use tensor.detach().numpy()")


NOT_FACES = {
    "too few columns": [(1.0, 2.0)],
    "text": "faces",
    "nothing": None,
    "a mapping": {},
    "not a number": [[0, 0, float("nan"), 1, 1]],
    "beyond float32": [[0, 0, 1e39, 1, 0.9]],
    "three dimensions": np.zeros((2, 3, 5)),
    "complex numbers": np.zeros((1, 5), complex),
    "empty, of three columns": np.empty((0, 3)),
    "another device": OnAnotherDevice(),
    "a percentage": [(0, 0, 9, 9, 95.0)],
    "a huge probability": [(0, 0, 9, 9, 1e30)],
    "a negative probability": [(0, 0, 9, 9, -0.1)],
}


@pytest.mark.parametrize("name", NOT_FACES)
def test_the_result_of_a_custom_detector_is_checked(name: str) -> None:
    with pytest.raises(ModelError, match="not an array of faces"):
        find_faces(photograph("coffee"), lambda pixels: NOT_FACES[name])


def test_a_custom_detector_receives_rgb_and_may_find_nothing() -> None:
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
def test_boxes_are_inside_the_image_in_a_stable_order_and_no_crop_is_empty(
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
    image = Image.new("RGB", (width, height), (10, 20, 30))
    for face in faces:
        cut = crop_face(image, face, margin)
        assert cut.width == cut.height >= 1
        assert abs(cut.width - face[2:4].max() * (1 + 2 * margin)) <= 1
        assert np.unique(np.asarray(cut).reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]  # edges repeated, not black


def test_the_larger_of_two_faces_is_first_even_if_their_areas_are_equal_in_float32() -> None:
    faces = np.array([[0, 0, 4097, 4099, 0.9], [0, 0, 4098, 4098, 0.8]], np.float32)
    assert sort_faces(faces, (9000, 9000), 0.7, 0, None)[:, 2].tolist() == [4098, 4097]
    equal = np.array([[0, 0, 1, 2, 0.8], [0, 0, 2, 1, 0.8]], np.float32)
    assert np.array_equal(sort_faces(equal, (9, 9), 0.7, 0, None), sort_faces(equal[::-1], (9, 9), 0.7, 0, None))


def test_a_crop_is_the_square_around_the_boxs_centre() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = np.arange(200), np.arange(100)[:, np.newaxis]
    image = Image.fromarray(pixels)
    inside = np.asarray(crop_face(image, np.array([50, 40, 10, 20], np.float32), 0.0))
    assert np.array_equal(inside, pixels[40:60, 45:65])
    wider = np.asarray(crop_face(image, np.array([50, 40, 10, 20], np.float32), 0.1))
    assert np.array_equal(wider, pixels[38:62, 43:67])
    corner = np.asarray(crop_face(image, np.array([0, 0, 4, 10], np.float32), 0.0))
    assert corner.shape == (10, 10, 3)
    assert np.array_equal(corner[:, 3:], pixels[:10, :7])
    assert np.array_equal(corner[:, :3], np.repeat(pixels[:10, :1], 3, axis=1))


def test_the_most_probable_of_overlapping_boxes_is_chosen() -> None:
    faces = np.zeros((4, 15), np.float32)
    faces[:, :5] = [[0, 0, 10, 10, 0.8], [1, 0, 10, 10, 0.9], [20, 0, 10, 10, 0.7], [24.9, 0, 10, 10, 0.95]]
    assert suppress_overlaps(faces, 0.3)[:, 4].tolist() == np.float32([0.95, 0.9]).tolist()
    assert len(suppress_overlaps(faces, 0.35)) == 3
    assert suppress_overlaps(faces[:0], 0.3).shape == (0, 15)
