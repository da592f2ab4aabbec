"""One of each kind of broken image, with the code of its error."""

from __future__ import annotations

from pictures import encode, jpeg, photo, png_bomb

BAD_BYTES: dict[str, tuple[bytes | None, str]] = {
    "null cell": (None, "missing"),
    "zero bytes": (b"", "undecodable"),
    "text": (b"this is no picture at all", "unsupported"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported"),
    "pdf named jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "unsupported"),
    "truncated JPEG": (jpeg()[:1500], "undecodable"),
    "truncated PNG": (encode(photo())[:2000], "undecodable"),
    "truncated WebP": (encode(photo(), "WEBP")[:400], "undecodable"),
    "JPEG header alone": (b"\xff\xd8\xff\xe0", "undecodable"),
    "PNG header alone": (b"\x89PNG\r\n\x1a\n", "undecodable"),
    "PNG bomb of 2.5 gigapixels": (png_bomb(), "too_large"),
}
