"""One cell → the uint8 pixels that the network takes: what each decoding thread runs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.cells import Cell
from emotion_ops.images.decode import Channels, admit_pixels, open_encoded, picture_of_pixels
from emotion_ops.images.decoder import MeasuredTransform, PictureDecoder, Reserve, Transform, peak_beside, resized
from emotion_ops.images.fetch import read
from emotion_ops.images.isolation import DecoderPool, Stop, shared_pool
from emotion_ops.images.limits import Limits
from emotion_ops.images.location import Access
from emotion_ops.images.memory import Memory, Room
from emotion_ops.images.meter import Meter
from emotion_ops.images.pil_images import encoded_of, reading
from emotion_ops.images.preprocess import Resize
from emotion_ops.images.scaled import Decode
from emotion_ops.images.stores import Admit, nobody

Known: TypeAlias = Callable[[bytes], bool]
"""Told of the digest of an encoded image before it is decoded: SHA-256, of which 16 bytes are kept. Says whether that
is needless, since the answer is to be had elsewhere."""


def pool_for(
    limits: Limits, transform: Transform, timeout: float, memory: int, decode: Decode = "exact"
) -> DecoderPool:
    """The processes that decode for an ``ImageLoader`` of these limits and transform, shared by equal options.

    They run the transform where it is our own, which needs nothing but Pillow; the checkpoint's own processor
    stays in this process.

    Args:
        limits: What an image may cost.
        transform: An upright RGB picture → the network's pixels.
        timeout: Seconds for one image.
        memory: Bytes that decoding one image may fill.
        decode: How exactly.
    """
    decoder = PictureDecoder(limits, transform if isinstance(transform, MeasuredTransform) else None, decode)
    return shared_pool(decoder, timeout, memory)


@dataclass(frozen=True)
class ImageLoader:
    """Fetch, decode, turn upright and resize one image.

    Attributes:
        access: What a path may reach.
        limits: What an image may cost.
        channels: The order of the colours in decoded pixels; encoded images say it themselves.
        transform: An RGB picture → uint8 (height, width, 3).
        memory: What all threads together may fill.
        pool: Processes that decode encoded images; None decodes them in the calling thread.
        meter: Measures what it takes.
        stop: Ends what the pool decodes for this loader, for those who want no more of it.
        decode: How exactly encoded images are decoded in this process; the pool has its own.
    """

    access: Access
    limits: Limits
    channels: Channels
    transform: Transform
    memory: Memory
    pool: DecoderPool | None = None
    meter: Meter = field(default_factory=Meter)
    stop: Stop = field(default_factory=Stop)
    decode: Decode = "exact"

    def load(self, cell: Cell) -> NDArray[np.uint8]:
        """The pixels that the network takes.

        Args:
            cell: Any cell; see ``emotion_ops.images.cells``.

        Returns:
            uint8 (height, width, 3), RGB.

        Raises:
            RowError: The row's own error, with its code.
        """
        pixels = self.load_unless(cell, None)
        assert pixels is not None
        return pixels

    def load_unless(self, cell: Cell, known: Known | None) -> NDArray[np.uint8] | None:
        """The pixels that the network takes, as ``load`` gives them; None where ``known`` says they are needless.

        Args:
            cell: Any cell.
            known: Asked about encoded images, wherever they lie, when they have been read; decoded pixels have no
                digest.
        """
        with (
            Room(self.memory.encoded) as encoded,
            Room(self.memory.decoded) as decoded,
            contextlib.ExitStack() as timed,
        ):

            def reserve(amount: int) -> None:
                decoded.need(amount)
                timed.enter_context(self.meter.time("decode"))  # from here on: waiting for room is no decoding

            try:
                return self._load(cell, encoded.need, reserve, known)
            except RowError as error:
                error.__context__ = error.__cause__ = None
                raise error.with_traceback(None) from None  # its frames would keep file and picture

    def _load(self, cell: Cell, admit: Admit, reserve: Reserve, known: Known | None) -> NDArray[np.uint8] | None:
        """What ``load`` does, in a frame of its own: what was read and decoded is gone before its room is let go."""
        if isinstance(cell, Image.Image):
            cell = encoded_of(cell, self.limits, admit) or cell
        if isinstance(cell, np.ndarray):
            admit_pixels(cell, self.limits)
            height, width = cell.shape[:2]
            reserve(height * width * 8 + peak_beside(self.transform, width, height))
            return resized(picture_of_pixels(cell, self.channels), self.transform)
        decoder = PictureDecoder(self.limits, self.transform, self.decode)
        if not isinstance(cell, str | bytes | memoryview):
            picture = self.open(cell)
            return decoder.finish(picture, reserve, reading())
        encoded = self._encoded(cell, admit)
        if known is not None and known(hashlib.sha256(encoded).digest()[:16]):
            return None
        if self.pool is None:
            return decoder.finish(self._opened(encoded), reserve)
        pixels = self.pool.decode(encoded, reserve, self.stop)
        return pixels if isinstance(self.transform, Resize) else resized(Image.fromarray(pixels), self.transform)

    def open(self, cell: Cell) -> Image.Image:
        """The picture of a cell, of an encoded one only the header; raises as ``load`` does."""
        if cell is None:
            raise RowError(RowErrorCode.MISSING, "the cell is null")
        if isinstance(cell, str | bytes | memoryview):
            return self._opened(self._encoded(cell, nobody))
        if isinstance(cell, Image.Image):
            self.limits.admit_size(*cell.size)
            return cell
        if isinstance(cell, np.ndarray):
            admit_pixels(cell, self.limits)
            return picture_of_pixels(cell, self.channels)
        raise RowError(
            RowErrorCode.UNSUPPORTED,
            f"a cell of type {type(cell).__name__}; give a path, bytes, a PIL image or a uint8 array",
        )

    def _opened(self, encoded: bytes | memoryview) -> Image.Image:
        with self.meter.time("decode"):
            return open_encoded(encoded, self.limits)

    def _encoded(self, cell: str | bytes | memoryview, admit: Admit) -> bytes | memoryview:
        if isinstance(cell, str):
            with self.meter.time("fetch"):
                cell = read(cell, self.access, admit)
            self.meter.read(len(cell))
        else:
            self.limits.admit_bytes(len(cell))
            admit(len(cell))  # a copy of it is made, or sent
        return cell
