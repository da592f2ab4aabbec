"""Files that would cost too much, each with the code of its row's error, or None if it can be decoded."""

from __future__ import annotations

import functools
import io
import struct
import zlib

from pictures import encode, jpeg, photo, png_bomb
from PIL import Image

MILLION = 1_000_000


@functools.cache
def hostile_images() -> dict[str, tuple[bytes, str | None]]:
    png, gif, tiff, small = encode(photo()), encode(photo(), "GIF"), encode(photo(), "TIFF"), jpeg()
    webp, avif = encode(photo(), "WEBP"), encode(photo(), "AVIF")
    return {
        "PNG of 2.5 gigapixels": (png_bomb(), "too_large"),
        "PNG of one endless row": (png_bomb(70_000, 1), "too_large"),
        "PNG with packed text that unpacks to 30 MB": (_with_text(b"zTXt", b"Comment\0\0" + _packed(30)), "undecodable"),
        "PNG with a packed colour profile of 30 MB": (_with_text(b"iCCP", b"icc\0\0" + _packed(30)), "undecodable"),
        "PNG with EXIF of 2 MB": (_with_text(b"eXIf", _exif_of_rationals(2)), "too_large"),
        "PNG with EXIF in text": (
            _with_text(b"tEXt", b"Raw profile type exif\0\nexif\n0\n" + _exif_of_rationals(3).hex().encode()), "too_large",
        ),
        "PNG of 70,000 empty chunks": (png[:33] + _chunk(b"prVt") * 70_000 + png[33:], "too_large"),
        "PNG that ends in 70,000 empty chunks": (png[:-12] + _chunk(b"prVt") * 70_000 + png[-12:], "too_large"),
        "PNG that announces two billion frames": (png[:33] + _chunk(b"acTL", struct.pack(">II", 2**31, 0)) + png[33:], "too_large"),
        "PNG that goes on for ever": (png[:-12] + bytes(5 * MILLION), None),
        "JPEG header of 5 million fill bytes": (b"\xff" * 2 + b"\xd8\xff\xff" + b"\xff" * 5 * MILLION, "unsupported"),
        "JPEG header of 5 million fill bytes after its start": (small[:2] + b"\xff" * 5 * MILLION + small[2:], "too_large"),
        "JPEG of 70,000 empty segments": (small[:2] + b"\xff\xe5\0\2" * 70_000 + small[2:], "too_large"),
        "JPEG with EXIF of 2 MB": (_jpeg_with_exif(_exif_of_rationals(2, 282)), "too_large"),
        "JPEG of 800 scans": (_many_scans(), "too_large"),
        "JPEG whose frame is 65,535 pixels each way": (_resized_jpeg(65_535, 65_535), "too_large"),
        "JPEG that never ends": (small[:-2] + bytes(5 * MILLION), None),
        "JPEG that is also a ZIP": (small + b"PK\3\4" + bytes(1000), None),
        "JPEG that says it is an album": (_album(), None),
        "SVG": (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported"),
        "PDF": (b"%PDF-1.7\n" + small, "unsupported"),
        "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported"),
        "PSD": (b"8BPS\0\1" + bytes(100), "unsupported"),
        "GIF with a screen of 65,535 pixels each way": (gif[:6] + b"\xff\xff\xff\xff" + gif[10:], "too_large"),
        "GIF whose frame is larger than its screen": (_gif_frames(1, 65_000, 65_000), "too_large"),
        "GIF of 20,000 frames": (_gif_frames(20_000), "too_large"),
        "GIF of 300 frames": (_gif_frames(300), None),
        "GIF of 200,000 empty comments": (gif[:13] + gif[13:781] + b"!\xfe\1x\0" * 200_000 + gif[781:], "too_large"),
        "TIFF with a million strips": (_tiff_with(273, 4, MILLION), "too_large"),
        "TIFF with a resolution of a million numbers": (_tiff_with(282, 5, MILLION), "too_large"),
        "TIFF with tiles of 60,000 pixels each way": (_tiff_with(322, 4, 1, 60_000, also=(323, 4, 1, 60_000)), "too_large"),
        "TIFF of 100,000 pixels each way": (_tiff_with(256, 4, 1, 100_000, also=(257, 4, 1, 100_000)), "too_large"),
        "TIFF with a strip of 4 GB": (_tiff_with(279, 4, 1, 2**32 - 1, also=(259, 3, 1, 5)), "undecodable"),
        "TIFF whose directory is its own successor": (_looped(tiff), None),
        "TIFF of 20,000 pages": (_pages(20_000), "too_large"),
        "BigTIFF with a directory of 2**40 tags": (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**40) + bytes(MILLION), "too_large"),
        "WebP with a canvas of 16 million pixels each way": (_webp_canvas(2**24, 2**24), "too_large"),
        "WebP with a canvas of 16,000 pixels each way": (_webp_canvas(16_000, 16_000), "too_large"),
        "WebP of 20,000 frames": (_webp_canvas(9, 9) + (b"ANMF" + struct.pack("<I", 0)) * 20_000, "too_large"),
        "WebP of 70,000 empty chunks": (webp + b"XXXX\0\0\0\0" * 70_000, "too_large"),
        "AVIF that says it is 60,000 pixels each way": (_avif_size(avif, 60_000), "undecodable"),
        "AVIF with EXIF of 2 MB": (_avif_with_exif(2), "too_large"),
        "BMP of 100,000 pixels each way": (_bmp(100_000, 100_000), "too_large"),
        "BMP without its pixels": (_bmp(1000, 1000), "undecodable"),
    }  # fmt: skip


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.cache
def _packed(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes * MILLION), 9)


def _with_text(kind: bytes, data: bytes) -> bytes:
    png = encode(photo())
    return png[:33] + _chunk(kind, data) + png[33:]


def _exif_of_rationals(megabytes: int, tag: int = 274, kind: int = 5) -> bytes:
    """EXIF of one tag, by default the orientation, with very many rationals."""
    count = megabytes * MILLION // 8
    tags = struct.pack("<HHLL", tag, kind, count, 26)
    return b"II*\0" + struct.pack("<LH", 8, 1) + tags + bytes(4) + bytes([1, 0, 0, 0]) * 2 * count


def _avif_with_exif(megabytes: int) -> bytes:
    honest, hostile = _exif_of_rationals(megabytes, 305, 10), _exif_of_rationals(megabytes)
    return encode(photo(), "AVIF", exif=honest).replace(honest[:20], hostile[:20])


def _jpeg_with_exif(exif: bytes) -> bytes:
    """EXIF in several segments, which Pillow joins."""
    small, segments = jpeg(), b""
    for start in range(0, len(exif), 60_000):
        part = b"Exif\0\0" + exif[start : start + 60_000]
        segments += b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part
    return small[:2] + segments + small[2:]


def _many_scans() -> bytes:
    data = encode(photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 800 + data[-2:]


def _resized_jpeg(width: int, height: int) -> bytes:
    data = jpeg()
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def _album() -> bytes:
    stream = io.BytesIO()
    photo(1).save(stream, "MPO", save_all=True, append_images=[photo(2)])
    data = stream.getvalue()
    return data[: len(data) * 2 // 3]  # the second image is truncated


def _gif_frames(count: int, width: int = 8, height: int = 8) -> bytes:
    one = encode(Image.new("L", (8, 8)), "GIF")
    start = one.index(b"," + bytes(4))
    frame = one[start : start + 5] + struct.pack("<HH", width, height) + one[start + 9 : -1]
    return one[:start] + frame * count + b";"


def _tiff_with(
    tag: int, kind: int, count: int, value: int | None = None, also: tuple[int, int, int, int] | None = None
) -> bytes:
    """A TIFF of 8 × 8 grey pixels with any tags. Without a value, a tag points to numbers at the end of the file."""
    tags = {
        256: (3, 1, 8),
        257: (3, 1, 8),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, 1),
        273: (4, 1, 8),
        279: (4, 1, 64),
    }
    if also is not None:
        tags[also[0]] = also[1:]
    tags[tag] = (kind, count, 8 if value is None else value)
    entries = b"".join(struct.pack("<HHLL", number, *entry) for number, entry in sorted(tags.items()))
    numbers = b"" if value is not None else bytes(count * 8)
    pixels = bytes(range(64)) + numbers
    return b"II*\0" + struct.pack("<L", 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


def _looped(tiff: bytes) -> bytes:
    first = struct.unpack("<L", tiff[4:8])[0]
    following = first + 2 + 12 * struct.unpack("<H", tiff[first : first + 2])[0]
    return tiff[:following] + tiff[4:8] + tiff[following + 4 :]


def _pages(count: int) -> bytes:
    """One real page, then a chain of empty directories."""
    data = bytearray(_tiff_with(256, 3, 1, 8))
    data[-4:] = struct.pack("<L", len(data))
    for _ in range(count):
        data += struct.pack("<HL", 0, len(data) + 6)
    return bytes(data)


def _webp_canvas(width: int, height: int) -> bytes:
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + b"\2\0\0\0"
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    body += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return b"RIFF" + struct.pack("<I", 2**31) + b"WEBP" + body


def _avif_size(avif: bytes, side: int) -> bytes:
    start = avif.index(b"ispe") + 8
    return avif[:start] + struct.pack(">II", side, side) + avif[start + 8 :]


def _bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header
