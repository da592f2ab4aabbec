"""Images that the caller opened with Pillow are read by one thread at a time, and are not changed."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pictures import encode, every_mode, jpeg, photo, with_orientation
from PIL import Image, ImageOps

from emotion_ops import ClassifyEmotions, Limits, RowError, classify_emotions
from emotion_ops.images.decoding import Decoding
from emotion_ops.images.loader import ImageLoader
from emotion_ops.images.memory import Memory
from emotion_ops.io.access import Access

FORMS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")


def opened(encoded: bytes) -> Image.Image:
    return Image.open(io.BytesIO(encoded))


def loader(**limits: int) -> ImageLoader:
    return ImageLoader(Access(), Limits(**limits), Decoding(), np.asarray, Memory(2**28))


def is_undecoded(image: Image.Image) -> bool:
    return image._im is None


def all_at_once(images: list[Image.Image]) -> list[np.ndarray]:
    load = loader().load
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(load, images))


@pytest.mark.parametrize("form", [*FORMS, "PPM"])
def test_one_image_in_many_rows_gives_the_same_pixels_in_each(form: str) -> None:
    encoded = encode(photo(0, 400, 300), form)
    expected = np.asarray(opened(encoded).convert("RGB"))
    for pixels in all_at_once([opened(encoded)] * 32):
        np.testing.assert_array_equal(pixels, expected)


def test_one_image_in_many_rows_of_a_frame_and_a_list(tiny_model: str) -> None:
    encoded = encode(photo(1, 600, 600))
    frame = classify_emotions(pd.DataFrame({"image": [opened(encoded)] * 32}), model=tiny_model)
    assert frame["emotion_error"].isna().all()
    expected = ClassifyEmotions(model=tiny_model)(pa.table({"image": [encoded]}))
    probabilities = ClassifyEmotions(on_error="raise", model=tiny_model).predict([opened(encoded)] * 16)
    for column, name in zip(probabilities.T, expected.column_names[2:-1], strict=True):
        np.testing.assert_allclose(column, expected[name][0].as_py(), atol=1e-6)


def test_images_that_share_a_file_get_their_own_pixels() -> None:
    first, second = encode(photo(1, 300, 300)), encode(photo(2, 300, 300))
    file = io.BytesIO(first)
    images = [Image.open(file) for _ in range(8)]
    for pixels in all_at_once(images * 4):
        np.testing.assert_array_equal(pixels, np.asarray(opened(first)))
    pages = [opened(encode(opened(first), "TIFF", save_all=True, append_images=[opened(second)])) for _ in range(2)]
    pages[1].fp = pages[0].fp
    pages[1].seek(1)
    for row, pixels in enumerate(all_at_once(pages * 8)):
        np.testing.assert_array_equal(pixels, np.asarray(opened((first, second)[row % 2])))


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # of the comparison
@pytest.mark.parametrize("name", [*(name for name in every_mode())])
def test_an_undecoded_image_gives_the_pixels_of_its_file_and_stays_undecoded(name: str, tmp_path: Path) -> None:
    encoded = every_mode()[name]
    (tmp_path / "image").write_bytes(encoded)
    for image in (opened(encoded), Image.open(tmp_path / "image")):
        with image:
            np.testing.assert_array_equal(loader().load(image), loader().load(encoded))
            assert is_undecoded(image)
            np.testing.assert_array_equal(loader().load(image), loader().load(encoded))
            assert np.asarray(ImageOps.exif_transpose(image).convert("RGB")).shape == loader().load(encoded).shape


def test_an_image_is_read_in_the_state_that_its_owner_left() -> None:
    animated = encode(photo(1), "GIF", save_all=True, append_images=[photo(2)])
    later = opened(animated)
    later.seek(1)
    by_itself = opened(animated)
    by_itself.seek(1)
    np.testing.assert_array_equal(loader().load(later), np.asarray(by_itself.convert("RGB")))
    turned = opened(with_orientation(6))
    turned.getexif()[0x0112] = 3
    np.testing.assert_array_equal(
        loader().load(turned), np.asarray(ImageOps.exif_transpose(opened(with_orientation(3))))
    )
    draft = opened(jpeg(1, 400, 400))
    draft.draft("RGB", (100, 100))
    assert loader().load(draft).shape == (100, 100, 3)
    done = photo(3).convert("RGBA")
    np.testing.assert_array_equal(loader().load(done), np.asarray(photo(3)))


def test_the_limits_hold_for_images_and_pixels_and_before_decoding() -> None:
    image, pixels = opened(encode(photo())), np.asarray(photo())
    for cell in (image, photo(), pixels, opened(encode(photo(), "PPM"))):
        with pytest.raises(RowError, match=r"^too_large: 97 × 131 pixels, more than max_pixels=12,706$"):
            loader(max_pixels=97 * 131 - 1).load(cell)
        with pytest.raises(RowError, match=r"^too_large: 97 × 131 pixels, a side longer than max_side=130$"):
            loader(max_side=130).load(cell)
        assert loader(max_side=131, max_pixels=97 * 131).load(cell).shape == (131, 97, 3)
    with pytest.raises(RowError, match=r"^too_large: .* encoded bytes, more than max_bytes=100$"):
        loader(max_bytes=100).load(image)
    assert is_undecoded(image)


def test_the_limits_hold_for_tensors(tiny_model: str) -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((2, 9, 8, 3), np.uint8))
    out = ClassifyEmotions(model=tiny_model, limits=Limits(max_pixels=71))(pa.table({"image": tensors}))
    assert out["emotion_error"].to_pylist() == ["too_large: 8 × 9 pixels, more than max_pixels=71"] * 2


def test_a_truncated_image_is_undecodable_in_every_row() -> None:
    broken = opened(encode(photo(0, 300, 300))[:-5000])
    for _ in range(3):
        with pytest.raises(RowError, match=r"^undecodable: broken PNG data"):
            loader().load(broken)


def test_a_file_that_was_closed_is_its_rows_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(photo()))
    closed = Image.open(tmp_path / "a.png")
    closed.close()
    with pytest.raises(RowError, match=r"^undecodable: broken PNG data"):
        loader().load(closed)
