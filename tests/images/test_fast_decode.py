"""Mode ``fast`` decodes a JPEG at a part of its size. Orientation, errors and limits stay the same."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from bad_images import BAD_BYTES
from hypothesis import given, settings, strategies as st
from memory_probe import large, measured, on_linux
from pictures import encode, every_mode, jpeg, photo
from PIL import Image

from emotion_ops import ClassifyEmotions, Decoding, Limits, RowError
from emotion_ops.images.decoder import ImageDecoder
from emotion_ops.images.formats import open_encoded
from emotion_ops.images.resize import Resize
from emotion_ops.images.scaled import scale_down

BILINEAR = Image.Resampling.BILINEAR
SQUARE = Resize((64, 64), BILINEAR, None)


def decoded(encoded: bytes, resize: Resize, decode: str) -> np.ndarray:
    return ImageDecoder(Limits(), resize, decode)(encoded, lambda amount: None).astype(int)


def smooth(width: int, height: int) -> Image.Image:
    """Like a photograph: edges are a few pixels wide, and all corners are different."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (7, 9, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )


@given(
    st.integers(1, 700), st.integers(1, 700), st.sampled_from([(64, 64), (32, 80), 50, None]),
    st.sampled_from([None, (40, 40)]), st.integers(1, 8), st.sampled_from(["RGB", "L", "CMYK"]), st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_fast_differs_from_exact_by_a_few_grey_levels_at_any_size_and_orientation(
    width: int, height: int, size: object, crop: object, orientation: int, mode: str, progressive: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(smooth(width, height).convert(mode), "JPEG", quality=95, exif=exif, progressive=progressive)
    resize = Resize(size, BILINEAR, crop)
    exact, fast = (decoded(encoded, resize, decode) for decode in ("exact", "fast"))
    assert exact.shape == fast.shape
    assert np.abs(exact - fast).mean() < 2.5


def test_the_comparison_detects_an_image_shifted_by_half_a_pixel() -> None:
    encoded = encode(smooth(517, 389), "JPEG", quality=95)
    exact = decoded(encoded, SQUARE, "exact")
    wrong = open_encoded(encoded, Limits())
    wrong.draft(None, (64, 64))
    assert (
        np.abs(exact - np.asarray(wrong.resize((64, 64), BILINEAR)).astype(int)).mean()
        > np.abs(exact - decoded(encoded, SQUARE, "fast")).mean()
    )


@pytest.mark.parametrize(
    ("width", "height", "size", "scaled"),
    [(640, 480, (64, 64), (160, 120)), (640, 480, (224, 224), (320, 240)), (4000, 3000, (224, 224), (500, 375)),
     (447, 600, (224, 224), (447, 600)), (448, 600, (224, 224), (224, 300)), (900, 500, 224, (450, 250)),
     (640, 480, None, (640, 480))],
)  # fmt: skip
def test_no_side_is_decoded_shorter_than_the_network_needs(
    width: int, height: int, size: object, scaled: tuple[int, int]
) -> None:
    image = open_encoded(encode(Image.new("RGB", (width, height)), "JPEG"), Limits())
    scale_down(image, Resize(size, BILINEAR, None))
    assert image.size == scaled


def test_small_jpegs_and_other_formats_are_decoded_exactly() -> None:
    for name, encoded in every_mode().items():
        resize = Resize((90, 90), BILINEAR, None)
        assert np.array_equal(decoded(encoded, resize, "exact"), decoded(encoded, resize, "fast")), name
    png = encode(photo(0, 300, 300))
    assert np.array_equal(decoded(png, SQUARE, "exact"), decoded(png, SQUARE, "fast"))


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_broken_files_and_files_over_the_limits_have_the_same_errors(tiny_model: str, isolation: str) -> None:
    whole = jpeg(0, 400, 300)
    cells = [whole, whole[:-900], whole[:200], whole[: len(whole) // 2], encode(Image.new("L", (500, 300)), "JPEG"),
             jpeg(1, 700, 300), *(cell for cell, _ in BAD_BYTES.values())]  # fmt: skip
    table = pa.table({"image": pa.array(cells, pa.binary())})
    exact, fast = (
        ClassifyEmotions(
            model=tiny_model, decoding=Decoding(mode=decode, isolation=isolation), limits=Limits(max_side=600)
        )(table)
        for decode in ("exact", "fast")
    )
    assert exact["emotion_error"].to_pylist() == fast["emotion_error"].to_pylist()
    assert exact["emotion_error"].null_count == 2


def test_threads_and_processes_give_the_same_pixels(tiny_model: str) -> None:
    table = pa.table({"image": pa.array([jpeg(seed, 400, 300) for seed in range(3)], pa.binary())})
    fast = ClassifyEmotions(model=tiny_model, decoding="fast", cache=0)
    in_processes = ClassifyEmotions(model=tiny_model, decoding=Decoding("fast", isolation="process"), cache=0)
    assert in_processes(table).equals(fast(table))
    assert not fast(table).equals(ClassifyEmotions(model=tiny_model)(table))


def test_an_image_of_the_caller_is_not_changed_and_is_decoded_fast_if_it_has_its_file(
    tiny_model: str,
) -> None:
    encoded = jpeg(0, 400, 300)
    unread, read = Image.open(io.BytesIO(encoded)), Image.open(io.BytesIO(encoded))
    read.load()
    operator = ClassifyEmotions(model=tiny_model, decoding=Decoding(mode="fast"), cache=0)
    first, second, third = (operator.append_columns({"image": [cell]}) for cell in (encoded, unread, read))
    assert first.equals(second)
    assert third.equals(ClassifyEmotions(model=tiny_model, cache=0).append_columns({"image": [encoded]}))
    assert unread.size == read.size == (400, 300)


def test_a_checkpoints_own_transform_gets_the_exact_image() -> None:
    seen: list[tuple[int, int]] = []

    def own(image: Image.Image) -> np.ndarray:
        seen.append(image.size)
        return np.asarray(image)

    ImageDecoder(Limits(), own, "fast")(jpeg(0, 400, 300), lambda amount: None)
    assert seen == [(400, 300)]


def test_a_strip_that_would_be_resized_to_too_many_pixels_is_too_large_in_both_modes() -> None:
    for decode in ("exact", "fast"):
        with pytest.raises(RowError, match="too_large"):
            decoded(encode(Image.new("L", (1, 60_000)), "JPEG"), Resize(224, BILINEAR, (224, 224)), decode)


EACH = """
return_freed_memory()
decoder, found = ImageDecoder(limits, resize, "fast"), {}
for path in sorted(folder.iterdir()):
    encoded, asked = path.read_bytes(), []
    decoder(encoded, asked.append)
    asked.clear()
    found[path.name] = peak_of(lambda: decoder(encoded, asked.append)), asked[0] / 1e6
print(json.dumps(found))
"""


@on_linux
def test_a_scaled_image_uses_no_more_memory_than_was_reserved_and_less_than_at_full_size(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = [("RGB", {}), ("RGB", {"exif": turned}), ("RGB", {"progressive": True, "subsampling": 0, "exif": turned}),
             ("L", {"progressive": True}), ("CMYK", {"exif": turned}), ("CMYK", {"progressive": True})]  # fmt: skip
    for number, (mode, options) in enumerate(kinds):
        (tmp_path / f"{number} {mode}").write_bytes(encode(large(mode, 2000), "JPEG", **options))
    found = json.loads(measured(EACH, str(tmp_path)))
    assert {name: (peak, asked) for name, (peak, asked) in found.items() if peak > asked + 3} == {}, "MB"
    assert found["0 RGB"][1] < 1  # the whole takes 20
