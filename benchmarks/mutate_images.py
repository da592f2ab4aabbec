"""Decode mutated images: does one crash the decoder, hang it, fill memory, or raise anything but its row's error?

    python benchmarks/mutate_images.py --images 100000

Small images of every format and of most of its variants are damaged: bits are flipped, parts are cut, repeated,
inserted or exchanged, numbers are forged. Each image has its own seed, so ``--first N --images 1`` makes image N again.
A watched process opens, decodes and resizes them with the package's own code. Exit code 1: a problem was found.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.decoder import ImageDecoder
from emotion_ops.images.isolation.pool import DecoderPool
from emotion_ops.images.limits import Limits
from emotion_ops.images.resize import Resize
from emotion_ops.io.bounded import Reserve

LIMITS = Limits(max_pixels=4_000_000)
SLOWEST = 10.0  # seconds for one image; more is a hang
GROWTH = 64 * 2**20  # bytes that the process may grow between the first tenth and the end
PEAK = LIMITS.memory
ESCAPED = RowErrorCode.UNREADABLE  # a code that decoders do not use

_decoder = ImageDecoder(LIMITS, Resize((224, 224), Image.Resampling.BILINEAR, None))


def decode(encoded: bytes | memoryview, reserve: Reserve) -> NDArray[np.uint8]:
    """Decode as the package does, and mark every exception that is not a short ``RowError``."""
    try:
        pixels = _decoder(encoded, reserve)
    except RowError as error:
        if len(error.detail) > 300 or not error.detail.isprintable():
            raise RowError(ESCAPED, f"not a short line: {error.detail[:100]!r}") from None
        raise
    except Exception as error:
        raise RowError(ESCAPED, repr(error)[:200]) from None
    if pixels.shape != (224, 224, 3):
        raise RowError(ESCAPED, f"pixels of shape {pixels.shape}")
    return pixels


def sources() -> dict[str, bytes]:
    """Small images by name, the same each time."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((40, 30), Image.Resampling.BICUBIC)
    rgba, grey, palette = rgb.convert("RGBA"), rgb.convert("L"), rgb.quantize(32)
    rgba.putalpha(grey)
    frames = [rgb.rotate(angle) for angle in (90, 180)]
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 200)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "somebody"
    animation: dict[str, Any] = {"save_all": True, "append_images": frames}
    images: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("JPEG", rgb, {}),
        ("JPEG", rgb, {"progressive": True}),
        ("JPEG", rgb.convert("CMYK"), {}),
        ("JPEG", grey, {"exif": exif}),
        ("JPEG", rgb, {"subsampling": "4:4:4", "restart_marker_blocks": 2, "icc_profile": bytes(200)}),
        ("MPO", rgb, animation),
        ("PNG", rgb, {"exif": exif}),
        ("PNG", rgba, {}),
        ("PNG", palette, {}),
        ("PNG", palette, {"transparency": bytes(range(32))}),
        ("PNG", grey.convert("LA"), {"icc_profile": bytes(200)}),
        ("PNG", grey.convert("1"), {}),
        ("PNG", wide, {}),
        ("PNG", rgb, animation),
        ("WEBP", rgb, {"exif": exif}),
        ("WEBP", rgba, {}),
        ("WEBP", rgba, {"lossless": True}),
        ("WEBP", rgb, animation),
        ("BMP", rgb, {}),
        ("BMP", palette, {}),
        ("BMP", rgba, {}),
        ("BMP", grey.convert("1"), {}),
        ("GIF", palette, {}),
        ("GIF", palette, {"interlace": True, "comment": b"hello", "transparency": 3}),
        ("GIF", rgb, animation),
        *(
            ("TIFF", rgb, {"compression": name})
            for name in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        ),
        ("TIFF", grey.convert("1"), {"compression": "group4"}),
        ("TIFF", palette, {}),
        ("TIFF", wide, {"exif": exif}),
        ("TIFF", rgb.convert("CMYK"), {"compression": "tiff_lzw"}),
        ("TIFF", rgb, animation),
        ("TIFF", rgb, {"big_tiff": True}),
        ("AVIF", rgb, {"exif": exif}),
        ("AVIF", rgba, {"subsampling": "4:4:4"}),
        ("AVIF", rgb, animation),
    ]
    found = {}
    for number, (form, image, options) in enumerate(images):
        stream = io.BytesIO()
        if "append_images" in options:
            options = {**options, "append_images": [frame.copy() for frame in frames]}
        image.copy().save(stream, form, **options)  # copies: some encoders leave their settings in the image
        found[f"{form} {number}"] = stream.getvalue()
    return found | {"BMP of runs": _bmp_of_runs()}


def _bmp_of_runs() -> bytes:
    """A BMP with run-length encoding, which Pillow can read but not write."""
    rows = b"".join(bytes([20, row, 0, 4, 1, 2, 3, 4, 16, 9, 0, 0]) for row in range(30)) + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, 40, 30, 1, 8, 1, len(rows), 0, 0, 256, 0)
    colours = bytes(value for index in range(256) for value in (index, 255 - index, index // 2, 0))
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(rows), 0, 0, 54 + 1024) + head + colours + rows


def mutated(number: int, seed: int, images: list[bytes]) -> bytes:
    """Image ``number`` of a seed: one of the images after one to four mutations."""
    rng = random.Random(f"{seed} {number}")
    data = bytearray(rng.choice(images))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice(_MUTATIONS)(rng, data, images)
    if data.startswith(b"\x89PNG") and rng.random() < 0.7:
        _correct_checksums(data)
    return bytes(data)


def _place(rng: random.Random, data: bytearray) -> int:
    """Where a mutation happens: half of them near the start, where the headers are."""
    end = min(len(data), 200) if rng.random() < 0.5 else len(data)
    return rng.randrange(end) if end else 0


def _flip(rng: random.Random, data: bytearray, images: list[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if data:
            data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, data: bytearray, images: list[bytes]) -> None:
    place = _place(rng, data)
    stop = min(len(data), place + rng.choice((1, 2, 8, 64)))
    data[place:stop] = rng.randbytes(stop - place)


def _forge(rng: random.Random, data: bytearray, images: list[bytes]) -> None:
    """A number that could mislead a reader, in either byte order."""
    size = rng.choice((1, 2, 4, 4, 8))
    value = rng.choice((0, 1, 2, 255, 256, 1999, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1))
    place = _place(rng, data)
    data[place : place + size] = (value % 256**size).to_bytes(size, rng.choice(("little", "big")))


def _cut(rng: random.Random, data: bytearray, images: list[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(rng: random.Random, data: bytearray, images: list[bytes]) -> None:
    place = _place(rng, data)
    del data[place : place + rng.choice((1, 2, 4, 50, 500))]


def _repeat(rng: random.Random, data: bytearray, images: list[bytes]) -> None:
    place = _place(rng, data)
    part = data[place : place + rng.choice((1, 4, 12, 40, 400))]
    data[place:place] = part * rng.choice((1, 2, 10, 300))


def _insert(rng: random.Random, data: bytearray, images: list[bytes]) -> None:
    place = _place(rng, data)
    data[place:place] = rng.randbytes(rng.choice((1, 2, 30, 1000)))


def _splice(rng: random.Random, data: bytearray, images: list[bytes]) -> None:
    other = rng.choice(images)
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other)) :]


_MUTATIONS: tuple[Callable[[random.Random, bytearray, list[bytes]], None], ...] = (
    _flip, _flip, _overwrite, _forge, _forge, _cut, _remove, _repeat, _insert, _splice,
)  # fmt: skip


def _correct_checksums(data: bytearray) -> None:
    """Correct a PNG's checksums, as an attacker who forges a header would."""
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[position + 4 : end]).to_bytes(4, "big")
        position = end + 4


@dataclass
class Found:
    """The result.

    Attributes:
        images: Number of images.
        decoded: How many of them could be decoded.
        errors: How many failed, by code.
        lost: Crashes and hangs, by the number of the image.
        escaped: Exceptions that were not a short ``RowError``, by the number of the image.
        slowest: Maximum seconds for an image.
        growth: Memory of the process at the end minus that after the first tenth, in bytes.
        peak: Maximum memory of the process, in bytes.
    """

    images: int = 0
    decoded: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    lost: dict[int, str] = field(default_factory=dict)
    escaped: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    growth: int = 0
    peak: int = 0

    @property
    def good(self) -> bool:
        """Whether no problem was found."""
        return not self.lost and not self.escaped and self.growth <= GROWTH and self.peak <= PEAK


def run(images: int, seed: int = 0, first: int = 0, progress: Callable[[int], None] = lambda done: None) -> Found:
    """Decode mutated images one after the other in a watched process."""
    found, base = Found(), list(sources().values())
    pool = DecoderPool(decode, SLOWEST, LIMITS.memory)
    baseline = 0
    for number in range(first, first + images):
        encoded, started = mutated(number, seed, base), time.perf_counter()
        lost = pool.lost
        try:
            pool.decode(encoded, lambda amount: None)
            found.decoded += 1
        except RowError as error:
            found.errors[str(error.code)] += 1
            if pool.lost > lost:
                found.lost[number] = error.detail
            elif error.code is ESCAPED:
                found.escaped[number] = error.detail
        found.images += 1
        found.slowest = max(found.slowest, time.perf_counter() - started)
        if number % 500 == 499 or found.images in (images // 10, images):
            progress(found.images)
            now = sum(psutil.Process(pid).memory_info().rss for pid in pool.processes())
            found.peak = max(found.peak, now, *map(_peak, pool.processes()))
            baseline = now if found.images <= max(images // 10, 500) else baseline or now
            found.growth = max(0, now - baseline)
    pool.close()
    return found


def _peak(pid: int) -> int:
    """Maximum memory of a process, in bytes, if the system reports it."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Folder for the images that caused a problem.")
    options = parser.parse_args()
    started = time.perf_counter()
    found = run(options.images, options.seed, options.first, lambda done: print(f"\r{done:,}", end="", file=sys.stderr))
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for number in {**found.lost, **found.escaped}:
            data = mutated(number, options.seed, list(sources().values()))
            (options.keep / f"{options.seed}-{number}.bin").write_bytes(data)
    report = {
        "images": found.images,
        "decoded": found.decoded,
        "errors": dict(found.errors),
        "crashes_and_hangs": found.lost,
        "escaped": found.escaped,
        "slowest_seconds": round(found.slowest, 2),
        "growth_mb": round(found.growth / 1e6, 1),
        "peak_mb": round(found.peak / 1e6, 1),
        "seconds": round(time.perf_counter() - started),
    }
    print("\n" + json.dumps(report, indent=2))
    sys.exit(0 if found.good else 1)


if __name__ == "__main__":
    from mutate_images import main as importable  # so that a worker can import ``decode`` by its name

    importable()
