"""Images of every mode and format, the same each time."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, features


def photo(seed: int = 0, width: int = 97, height: int = 131) -> Image.Image:
    """An image with gradients, edges and noise, so that a change of resampling changes its pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    base = np.stack([rows * 200 // height, columns * 200 // width, (rows * columns) % 251], axis=-1)
    x, y = rng.integers(0, width // 2), rng.integers(0, height // 2)
    base[y : y + height // 3, x : x + width // 3] = rng.integers(0, 255, size=3)
    return Image.fromarray(np.clip(base + rng.integers(-30, 30, base.shape), 0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def jpeg(seed: int = 0, width: int = 97, height: int = 131) -> bytes:
    return encode(photo(seed, width, height), "JPEG", quality=90)


def with_orientation(orientation: int, form: str = "JPEG", seed: int = 3) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(photo(seed, 120, 80), form, exif=exif)


def every_mode() -> dict[str, bytes]:
    """Encoded images by name: every colour mode in every format that supports it, and EXIF orientations."""
    rgb = photo(1)
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, rgb.width, dtype=np.uint8), (rgb.height, 1)))
    rgba, grey = rgb.copy(), rgb.convert("L")
    rgba.putalpha(alpha)
    grey_alpha = grey.copy()
    grey_alpha.putalpha(alpha)
    wide = np.asarray(grey).astype(np.uint16) * 3  # above 255, where Pillow clips
    palette = rgb.quantize(64)
    modes = {
        "RGB": (rgb, ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")),
        "L": (grey, ("JPEG", "PNG", "WEBP", "TIFF")),
        "LA": (grey_alpha, ("PNG", "WEBP")),
        "RGBA": (rgba, ("PNG", "WEBP", "TIFF")),
        "P": (palette, ("PNG", "GIF", "BMP")),
        "CMYK": (rgb.convert("CMYK"), ("JPEG", "TIFF")),
        "I;16": (Image.fromarray(wide), ("PNG", "TIFF")),
        "1": (grey.convert("1"), ("PNG",)),
    }
    images = {f"{mode} {form}": encode(image, form) for mode, (image, forms) in modes.items() for form in forms}
    palette_alpha = palette.copy()
    palette_alpha.info["transparency"] = bytes(range(0, 256, 4))
    images["P with transparency PNG"] = encode(palette_alpha, "PNG", transparency=bytes(range(0, 256, 4)))
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        images |= {
            f"orientation {turn} {form}": with_orientation(turn, form)
            for turn in ((3, 6) if form != "JPEG" else range(1, 9))
        }
    if features.check("avif"):
        images["RGB AVIF"] = encode(rgb, "AVIF")
    return images


def png_bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A small, valid PNG that would decode to width × height pixels of black."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    compressor = zlib.compressobj(9)
    row = bytes(1 + width // 8 + 1)
    data = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
