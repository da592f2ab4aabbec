"""Loading images stays within the memory budget: bytes are reserved before they are filled, and released afterwards."""

from __future__ import annotations

import json
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from memory_probe import large, measured, on_linux
from pictures import encode, photo
from PIL import Image

from emotion_ops import RowError, RowErrorCode
from emotion_ops.faces.crops import MAX_PADDED_SIDE, crop_face
from emotion_ops.images.decoder import ImageDecoder
from emotion_ops.images.decoding import Decoding
from emotion_ops.images.limits import Limits
from emotion_ops.images.loader import ImageLoader
from emotion_ops.images.memory import ByteBudget, Memory, Reservation
from emotion_ops.io.access import Access
from emotion_ops.io.bounded import read_bounded

EACH = """
return_freed_memory()
decoder, found = ImageDecoder(limits, resize), {}
for path in sorted(folder.iterdir()):
    encoded, asked = path.read_bytes(), []
    decoder(encoded, asked.append)  # the library's own memory, which stays
    asked.clear()
    found[path.name] = peak_of(lambda: decoder(encoded, asked.append)), asked[0] / 1e6
print(json.dumps(found))
"""

ALL = """
loader = ImageLoader(Access(), limits, Decoding(), resize, Memory(int(sys.argv[2])))
cells = [cell for path in sorted(folder.iterdir()) for cell in ([str(path)] if sys.argv[3] == "paths" else [path.read_bytes()])]
with ThreadPoolExecutor(8) as threads:
    list(threads.map(loader.load, cells[:1] * 8))
    print(peak_of(lambda: list(threads.map(loader.load, cells * 6))))
"""


FACES = """
import numpy as np
from emotion_ops.images.memory import ByteBudget
from emotion_ops.operators.classify.face_loader import FaceLoader
from emotion_ops.operators.classify.faces import Faces
from emotion_ops.operators.resources import Resources
from emotion_ops.operators.rows import Row
from emotion_ops.operators.run import Run

def everything(pixels):
    return [(0, 0, pixels.shape[1], pixels.shape[0], 1.0)]

class Asked(ByteBudget):
    def take(self, amount):
        asked.append(amount)
        super().take(amount)

return_freed_memory()
asked, found, memory = [], {}, Memory(2**32)
memory.decoded = Asked(2**31)
for isolation in ("thread", "process"):
    waiting = {"timeout": 60.0, "memory": 2**31} if isolation == "process" else {}
    run = Run(Resources(), Access(), limits, Decoding(isolation=isolation, **waiting))
    run._memory = memory
    load = FaceLoader("image", Faces("all", everything, margin=0.2), resize)
    for path in sorted(folder.iterdir()):
        cells = {"file": path.read_bytes()}
        if isolation == "thread":
            cells["pixels"] = np.asarray(Image.open(path).convert("RGB"))
        for kind, cell in cells.items():
            row = Row.from_values({"image": cell}, run)
            load(row)  # the library's own memory, which stays
            asked.clear()
            peak = peak_of(lambda: load(row))
            found[f"{path.name} {kind} {isolation}"] = peak, asked[-1] / 1e6
print(json.dumps(found))
"""


@pytest.mark.slow
@on_linux
def test_no_image_fills_more_memory_than_was_reserved_for_it(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds: list[tuple[str, str, dict[str, object]]] = [
        ("JPEG", "RGB", {}), ("JPEG", "RGB", {"exif": turned}), ("JPEG", "L", {"exif": turned}),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0, "exif": turned}),
        ("JPEG", "L", {"progressive": True}), ("JPEG", "CMYK", {"exif": turned}),
        ("JPEG", "CMYK", {"exif": turned, "progressive": True}),
        ("PNG", "RGBA", {"exif": turned, "compress_level": 1}), ("PNG", "LA", {"exif": turned, "compress_level": 1}),
        ("PNG", "I;16", {"exif": turned, "compress_level": 1}),
        ("PNG", "P", {"exif": turned, "transparency": bytes(range(64))}),
        ("WEBP", "RGBA", {"exif": turned}), ("WEBP", "RGBA", {"exif": turned, "lossless": True, "method": 0}),
        ("AVIF", "RGBA", {"exif": turned, "subsampling": "4:4:4", "speed": 10}),
        ("BMP", "RGB", {}), ("BMP", "P", {}), ("GIF", "P", {"interlace": 1}),
        *(("TIFF", mode, {"tiffinfo": {274: 6, 278: 1500}, "compression": compression})
          for mode in ("RGBA", "CMYK", "F", "I;16") for compression in (None, "tiff_lzw")),
        ("TIFF", "RGB", {"tiffinfo": {274: 6}, "compression": "jpeg"}),
    ]  # fmt: skip
    for number, (form, mode, options) in enumerate(kinds):
        (tmp_path / f"{number:02} {form} {mode}").write_bytes(encode(large(mode), form, **options))
    found = json.loads(measured(EACH, str(tmp_path)))
    assert len(found) == len(kinds)
    assert {name: (peak, asked) for name, (peak, asked) in found.items() if peak > asked + 3} == {}, "MB"


@pytest.mark.slow
@on_linux
def test_finding_and_cropping_faces_fills_no_more_memory_than_was_reserved(tmp_path: Path) -> None:
    """The worst is a face from edge to edge of a long picture: its square is many times the picture."""
    for name, size in (("wide", (4000, 300)), ("tall", (300, 4000)), ("even", (1500, 1500)), ("small", (90, 60))):
        (tmp_path / f"{name}.jpg").write_bytes(encode(photo(0, 100, 100).resize(size), "JPEG"))
    (tmp_path / "alpha.png").write_bytes(encode(large("RGBA"), "PNG", compress_level=1))
    found = json.loads(measured(FACES, str(tmp_path)))
    assert len(found) == 5 * 3
    assert {name: (peak, asked) for name, (peak, asked) in found.items() if peak > asked + 3} == {}, "MB"
    assert max(asked for _, asked in found.values()) < 80, "MB: as much as the pictures, not their squares, take"


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 4000)] * 2), st.tuples(*[st.floats(0, 0.99)] * 4), st.floats(0, 1))
def test_a_crop_is_not_larger_than_its_image_or_than_a_network_needs(
    size: tuple[int, int], part: tuple[float, ...], margin: float
) -> None:
    width, height = size[0] if size[1] < 300 else min(size[0], 300), size[1]
    x, y = part[0] * width, part[1] * height
    box = np.array([x, y, max(0.01, (width - x) * part[2]), max(0.01, (height - y) * part[3])], np.float32)
    cut = crop_face(Image.new("RGB", (width, height), (10, 20, 30)), box, margin)
    assert 1 <= cut.width == cut.height <= max(MAX_PADDED_SIDE, min(width, height))
    assert cut.getcolors() == [(cut.width**2, (10, 20, 30))]


@pytest.mark.parametrize("size", [(3000, 200), (200, 3000), (1500, 1100)])
def test_a_large_crop_equals_the_full_crop_after_resizing(size: tuple[int, int]) -> None:
    picture = photo(0, 60, 60).resize(size, Image.Resampling.BICUBIC)
    (width, height), side = size, round(max(size) * 1.2)
    left, top = (side - width) // 2, (side - height) // 2
    beyond = ((top, side - height - top), (left, side - width - left), (0, 0))
    full = Image.fromarray(np.pad(np.asarray(picture), beyond, mode="edge"))
    wanted = full.resize((MAX_PADDED_SIDE, MAX_PADDED_SIDE), Image.Resampling.BILINEAR)
    cut = crop_face(picture, np.array([0, 0, width, height], np.float32), 0.1)
    assert np.array_equal(np.asarray(cut), np.asarray(wanted))


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize("cells", ["paths", "bytes"])
def test_many_large_images_at_the_same_time_stay_within_the_memory_budget(cells: str, tmp_path: Path) -> None:
    for number, form in enumerate(("PNG", "BMP", "JPEG", "TIFF")):
        (tmp_path / f"{number} {form}").write_bytes(encode(large(side=2000), form))  # 16 MB decoded, 12 MB as BMP
    assert float(measured(ALL, str(tmp_path), str(110 * 10**6), cells)) < 120


def test_the_bytes_of_a_file_are_reserved_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(encode(photo(), "BMP"))
    size = (tmp_path / "a.bmp").stat().st_size
    active, most = 0, []
    lock = threading.Lock()

    def watched(picture: Image.Image) -> np.ndarray:
        nonlocal active
        with lock:
            active += 1
            most.append(active)
        time.sleep(0.005)
        with lock:
            active -= 1
        return np.asarray(picture)

    def at_once(fits: int) -> int:
        most.clear()
        memory = Memory(2 * fits * size)
        memory.decoded = ByteBudget(2**30)
        loader = ImageLoader(Access(), Limits(), Decoding(), watched, memory)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(loader.load, [str(tmp_path / "a.bmp")] * 40))
        return max(most)

    assert at_once(fits=1) == 1
    assert at_once(fits=2) == 2


def test_bytes_are_reserved_before_they_are_read_and_again_if_there_are_more_than_expected() -> None:
    data = bytes(3 * 2**20)

    def asked(size: int | None) -> list[int]:
        position, asks = 0, []

        def read(count: int) -> bytes:
            nonlocal position
            assert asks
            position += (taken := min(count, len(data) - position))
            assert sum(asks) >= min(position, 2**20)
            return bytes(taken)

        assert len(read_bounded(read, size, 2**23, "it", asks.append)) == len(data)
        return asks

    assert asked(len(data)) == [len(data)]
    assert asked(None) == [2**20, 2**24]
    assert asked(2**21) == [2**21, 2**24]


def test_two_threads_that_need_more_memory_do_not_wait_for_each_other() -> None:
    budget, both = ByteBudget(100), threading.Barrier(2)

    def grow() -> None:
        with Reservation(budget) as room:
            room.acquire(50)
            both.wait()
            room.acquire(90)
            room.acquire(500)  # more than there is: it goes alone

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(grow) for _ in range(2)]:
            done.result(60)


def test_the_error_of_a_row_refers_neither_to_its_file_nor_to_its_image(tmp_path: Path) -> None:
    def transform(picture: Image.Image) -> np.ndarray:
        raise KeyError

    (tmp_path / "broken.png").write_bytes(encode(photo())[:-5000])
    (tmp_path / "good.png").write_bytes(encode(photo()))
    loader = ImageLoader(Access(), Limits(), Decoding(), transform, Memory(2**28))
    with ThreadPoolExecutor(1) as threads:
        for name in ("broken.png", "good.png"):
            error = threads.submit(loader.load, str(tmp_path / name)).exception()
            assert isinstance(error, RowError)
            assert error.__context__ is error.__cause__ is None
            kept = [value for frame, _ in traceback.walk_tb(error.__traceback__) for value in frame.f_locals.values()]
            assert kept
            assert not any(isinstance(value, Image.Image | bytes) for value in kept)


@pytest.mark.parametrize(
    ("raised", "code", "detail"),
    [(KeyError("a mistake"), RowErrorCode.UNDECODABLE, "97 × 131 pixels could not be resized (KeyError: 'a mistake')"),
     (MemoryError(), RowErrorCode.TOO_LARGE, "97 × 131 pixels could not be resized (MemoryError: )")],
)  # fmt: skip
def test_what_a_transform_raises_is_the_error_of_its_row(raised: Exception, code: RowErrorCode, detail: str) -> None:
    def transform(picture: Image.Image) -> np.ndarray:
        raise raised

    loader = ImageLoader(Access(), Limits(), Decoding(), transform, Memory(2**28))
    for cell in (encode(photo()), photo(), np.asarray(photo())):
        with pytest.raises(RowError) as caught:
            loader.load(cell)
        assert (caught.value.code, caught.value.detail) == (code, detail)


def test_an_interrupt_is_not_an_error_of_a_row() -> None:
    def transform(picture: Image.Image) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ImageDecoder(Limits(), transform)(encode(photo()), lambda amount: None)
