"""How long decoding a JPEG and resizing it to 224 × 224 takes in several ways, and how much the pixels differ.

    python benchmarks/decode.py

Ways that need a library that is not installed are skipped (``pip install simplejpeg``). In each round, every way runs
once. The table shows the median of the rounds: milliseconds for an image in one thread and in two threads. The last
column is the mean absolute difference from the pixels of exact decoding, in grey levels of 255.
"""

from __future__ import annotations

import argparse
import importlib
import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.images.decoder import ImageDecoder
from emotion_ops.images.decoding import DecodeMode
from emotion_ops.images.limits import Limits
from emotion_ops.images.resize import Resize

SIDE = 224
RESIZE = Resize((SIDE, SIDE), Image.Resampling.BILINEAR, None)
SIZES = {"640x480": 97, "1920x1080": 90, "4000x3000": 90}
"""The images, and the quality of their JPEGs."""

Way = Callable[[bytes], NDArray[np.uint8]]


def image(width: int, height: int, seed: int) -> Image.Image:
    """Noise of all scales; as in photographs, coarse noise is stronger."""
    rng, pixels, side, strength = np.random.default_rng(seed), np.zeros((height, width, 3), np.float32), 4, 54.0
    while side <= max(width, height):
        for channel in range(3):
            noise = Image.fromarray(rng.normal(size=(side, side)).astype(np.float32))
            pixels[..., channel] += strength * np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))
        side, strength = side * 2, strength * 0.6
    return Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8))


def encode(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def ours(mode: DecodeMode) -> Way:
    decoder = ImageDecoder(Limits(), RESIZE, mode)
    return lambda encoded: decoder(encoded, lambda amount: None)


def drafted(factor: int) -> Way:
    """Pillow's scaled decoding, to at least so many times the network's size."""

    def way(encoded: bytes) -> NDArray[np.uint8]:
        image = Image.open(io.BytesIO(encoded))
        draft = image.draft(None, (SIDE * factor, SIDE * factor))
        return np.asarray(image.resize((SIDE, SIDE), RESIZE.resample, box=draft[1] if draft else None))

    return way


def reduced(encoded: bytes) -> NDArray[np.uint8]:
    """Decoded at full size, and resized with a box filter first."""
    return np.asarray(Image.open(io.BytesIO(encoded)).resize((SIDE, SIDE), RESIZE.resample, reducing_gap=2.0))


def simple(simplejpeg: Any, factor: int) -> Way:
    """Scaled decoding by simplejpeg, to at least so many times the network's size; 0 decodes at full size."""

    def way(encoded: bytes) -> NDArray[np.uint8]:
        pixels = simplejpeg.decode_jpeg(encoded, min_height=SIDE * factor, min_width=SIDE * factor)
        return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), RESIZE.resample))

    return way


def ways() -> dict[str, Way]:
    found = {
        "decode=exact": ours("exact"),
        "decode=fast": ours("fast"),
        "Pillow draft": drafted(1),
        "Pillow draft, 2 ×": drafted(2),
        "Pillow reducing_gap=2": reduced,
    }
    try:
        simplejpeg = importlib.import_module("simplejpeg")
    except ImportError:
        return found
    more = {"simplejpeg, full size": 0, "simplejpeg scaled": 1, "simplejpeg scaled, 2 ×": 2}
    return found | {name: simple(simplejpeg, factor) for name, factor in more.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for size, quality in SIZES.items():
        width, height = map(int, size.split("x"))
        files = [encode(image(width, height, seed), quality) for seed in range(4)]
        report(size, files, max(1, 4_000_000 // (width * height)), options.rounds)


def report(size: str, files: list[bytes], repeats: int, rounds: int) -> None:
    """Time all ways on some files, and print a table."""
    files = files * repeats
    exact = [RESIZE(Image.open(io.BytesIO(file))).astype(int) for file in files[:4]]
    one: dict[str, list[float]] = {name: [] for name in ways()}
    two: dict[str, list[float]] = {name: [] for name in ways()}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            for name, way in ways().items():
                started = time.perf_counter()
                for file in files:
                    way(file)
                one[name].append((time.perf_counter() - started) / len(files) * 1000)
                started = time.perf_counter()
                list(pool.map(way, files))
                two[name].append((time.perf_counter() - started) / len(files) * 1000)
    print(f"{size}, JPEG of {sum(map(len, files)) / len(files) / 1000:,.0f} kB")
    print(f"  {'':24} {'1 thread':>9} {'2 threads':>9} {'differs':>8}")
    for name, way in ways().items():
        difference = np.mean([np.abs(way(file) - right).mean() for file, right in zip(files, exact, strict=False)])
        times = (statistics.median(found[name]) for found in (one, two))
        print("  {:24} {:6.2f} ms {:6.2f} ms {:8.2f}".format(name, *times, difference))


if __name__ == "__main__":
    main()
