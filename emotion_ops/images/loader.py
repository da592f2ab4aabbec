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
from emotion_ops.images.decode import admit_pixels, open_encoded, picture_of_pixels
from emotion_ops.images.decoder import MeasuredTransform, PictureDecoder, Transform, peak_beside, resized
from emotion_ops.images.decoding import Decoding
from emotion_ops.images.isolation import DecoderPool, Stop, shared_pool
from emotion_ops.images.limits import Limits
from emotion_ops.images.memory import Memory, Room
from emotion_ops.images.meter import Meter
from emotion_ops.images.pil_images import encoded_of, reading
from emotion_ops.images.preprocess import Resize
from emotion_ops.io.access import Access
from emotion_ops.io.bounded import Reserve, no_op
from emotion_ops.io.fetch import read

Known: TypeAlias = Callable[[bytes], bool]
"""Called with the digest of an encoded image before it is decoded (the first 16 bytes of its SHA-256). Returns whether
the pixels are not needed, because the result of an equal image is known."""


def decoder_pool(decoding: Decoding, limits: Limits, transform: Transform) -> DecoderPool | None:
    """The processes that decode for an ``ImageLoader``, shared by equal options; None with ``isolation="thread"``.

    The processes run the transform if it is a ``MeasuredTransform``, that is, one of ours, which needs only Pillow.
    Otherwise they return all pixels, and the transform runs in this process.

    Args:
        decoding: How images are decoded.
        limits: What one image may cost.
        transform: An upright RGB image → the network's pixels.

    Raises:
        OptionError: This system has no such processes.
    """
    if decoding.isolation == "thread":
        return None
    decoder = PictureDecoder(limits, transform if isinstance(transform, MeasuredTransform) else None, decoding.mode)
    return shared_pool(decoder, decoding.timeout_seconds, decoding.memory_bytes(limits))


@dataclass(frozen=True)
class ImageLoader:
    """Fetch, decode, turn upright and resize one image.

    Attributes:
        access: What a path may reach.
        limits: What an image may cost.
        decoding: How images are decoded.
        transform: An RGB picture → uint8 (height, width, 3).
        memory: What all threads together may fill.
        pool: Processes that decode encoded images, from ``decoder_pool``. None: the calling thread decodes them.
        meter: Measures what it takes.
        stop: Ends what the pool decodes for this loader, for those who want no more of it.
    """

    access: Access
    limits: Limits
    decoding: Decoding
    transform: Transform
    memory: Memory
    pool: DecoderPool | None = None
    meter: Meter = field(default_factory=Meter)
    stop: Stop = field(default_factory=Stop)

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

    def _load(
        self, cell: Cell, reserve_encoded: Reserve, reserve: Reserve, known: Known | None
    ) -> NDArray[np.uint8] | None:
        """What ``load`` does, in a frame of its own: what was read and decoded is gone before its room is let go."""
        if isinstance(cell, Image.Image):
            cell = encoded_of(cell, self.limits, reserve_encoded) or cell
        if isinstance(cell, np.ndarray):
            admit_pixels(cell, self.limits)
            height, width = cell.shape[:2]
            reserve(height * width * 8 + peak_beside(self.transform, width, height))
            return resized(picture_of_pixels(cell, self.decoding.channels), self.transform)
        decoder = PictureDecoder(self.limits, self.transform, self.decoding.mode)
        if not isinstance(cell, str | bytes | memoryview):
            picture = self.open(cell)
            return decoder.finish(picture, reserve, reading())
        encoded = self._encoded(cell, reserve_encoded)
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
            return self._opened(self._encoded(cell, no_op))
        if isinstance(cell, Image.Image):
            self.limits.admit_size(*cell.size)
            return cell
        if isinstance(cell, np.ndarray):
            admit_pixels(cell, self.limits)
            return picture_of_pixels(cell, self.decoding.channels)
        raise RowError(
            RowErrorCode.UNSUPPORTED,
            f"a cell of type {type(cell).__name__}; give a path, bytes, a PIL image or a uint8 array",
        )

    def _opened(self, encoded: bytes | memoryview) -> Image.Image:
        with self.meter.time("decode"):
            return open_encoded(encoded, self.limits)

    def _encoded(self, cell: str | bytes | memoryview, reserve_encoded: Reserve) -> bytes | memoryview:
        if isinstance(cell, str):
            with self.meter.time("fetch"):
                cell = read(cell, self.access, self.limits.max_bytes, reserve_encoded)
            self.meter.read(len(cell))
        else:
            self.limits.admit_bytes(len(cell))
            reserve_encoded(len(cell))  # a copy of it is made, or sent
        return cell
