"""One cell → the uint8 pixels that the network takes: what each decoding thread runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import ImageError, RowErrorCode
from emotion_ops.images.cells import Cell
from emotion_ops.images.decode import AT_ONCE, Channels, admit_pixels, open_encoded, picture_of_pixels
from emotion_ops.images.decoder import Geometry, PictureDecoder, Reserve, resized
from emotion_ops.images.fetch import read
from emotion_ops.images.isolation import DecoderPool, Stop, shared_pool
from emotion_ops.images.limits import Limits
from emotion_ops.images.location import Access
from emotion_ops.images.memory import Memory, Room
from emotion_ops.images.meter import Meter
from emotion_ops.images.opened import encoded_of, reading
from emotion_ops.images.preprocess import Resize
from emotion_ops.images.stores import Admit, nobody


def pool_for(limits: Limits, geometry: Geometry, timeout: float, memory: int) -> DecoderPool:
    """The processes that decode for an ``ImageLoader`` of these limits and geometry, shared by equal options.

    They resize where the geometry is our own, which needs nothing but Pillow; the checkpoint's own processor
    stays in this process.

    Args:
        limits: What an image may cost.
        geometry: An upright RGB picture → the network's pixels.
        timeout: Seconds for one image.
        memory: Bytes that decoding one image may fill.
    """
    return shared_pool(PictureDecoder(limits, geometry if isinstance(geometry, Resize) else None), timeout, memory)


@dataclass(frozen=True)
class ImageLoader:
    """Fetch, decode, turn upright and resize one image.

    Attributes:
        access: What a path may reach.
        limits: What an image may cost.
        channels: The order of the colours in decoded pixels; encoded images say it themselves.
        geometry: An RGB picture → uint8 (height, width, 3).
        memory: What all threads together may fill.
        pool: Processes that decode encoded images; None decodes them in the calling thread.
        meter: Measures what it takes.
        stop: Ends what the pool decodes for this loader, for those who want no more of it.
    """

    access: Access
    limits: Limits
    channels: Channels
    geometry: Geometry
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
            ImageError: The row's own error, with its code.
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
                return self._load(cell, encoded.need, reserve)
            except ImageError as error:
                error.__context__ = error.__cause__ = None
                raise error.with_traceback(None) from None  # its frames would keep file and picture

    def _load(self, cell: Cell, admit: Admit, reserve: Reserve) -> NDArray[np.uint8]:
        """What ``load`` does, in a frame of its own: what was read and decoded is gone before its room is let go."""
        if isinstance(cell, Image.Image):
            cell = encoded_of(cell, self.limits, admit) or cell
        if isinstance(cell, np.ndarray):
            admit_pixels(cell, self.limits)
            reserve(cell.shape[0] * cell.shape[1] * 8)
            return resized(picture_of_pixels(cell, self.channels), self.geometry)
        if self.pool is None or not isinstance(cell, str | bytes | memoryview):  # a cell that holds no file
            picture = self.open(cell, admit)
            guard = reading() if picture is cell else AT_ONCE
            return PictureDecoder(self.limits, self.geometry).finish(picture, reserve, guard)
        pixels = self.pool.decode(self._encoded(cell, admit), reserve, self.stop)
        return pixels if isinstance(self.geometry, Resize) else resized(Image.fromarray(pixels), self.geometry)

    def open(self, cell: Cell, admit: Admit = nobody) -> Image.Image:
        """The picture of a cell, of an encoded one only the header; raises as ``load`` does.

        Args:
            cell: Any cell.
            admit: Told of the encoded bytes before they are read; may wait.
        """
        if cell is None:
            raise ImageError(RowErrorCode.MISSING, "the cell is null")
        if isinstance(cell, str | bytes | memoryview):
            encoded = self._encoded(cell, admit)
            with self.meter.time("decode"):
                return open_encoded(encoded, self.limits)
        if isinstance(cell, Image.Image):
            self.limits.admit_size(*cell.size)
            return cell
        if isinstance(cell, np.ndarray):
            admit_pixels(cell, self.limits)
            return picture_of_pixels(cell, self.channels)
        raise ImageError(
            RowErrorCode.UNSUPPORTED,
            f"a cell of type {type(cell).__name__}; give a path, bytes, a PIL image or a uint8 array",
        )

    def _encoded(self, cell: str | bytes | memoryview, admit: Admit) -> bytes | memoryview:
        if isinstance(cell, str):
            with self.meter.time("fetch"):
                cell = read(cell, self.access, admit)
            self.meter.read(len(cell))
        else:
            self.limits.admit_bytes(len(cell))
            admit(len(cell))  # a copy of it is made, or sent
        self.meter.image(cell)
        return cell
