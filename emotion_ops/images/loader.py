"""One cell → the uint8 pixels that the network takes: what each decoding thread runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import ImageError, RowErrorCode
from emotion_ops.images.cells import Cell
from emotion_ops.images.decode import Channels, open_encoded, picture_of_pixels
from emotion_ops.images.decoder import Geometry, PictureDecoder
from emotion_ops.images.fetch import read
from emotion_ops.images.isolation import DecoderPool, shared_pool
from emotion_ops.images.limits import Limits
from emotion_ops.images.location import Access
from emotion_ops.images.meter import Meter
from emotion_ops.images.preprocess import Resize


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


class ByteBudget:
    """Lets threads hold memory together up to a limit; one that needs more than all of it goes alone.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait until ``amount`` bytes are free, and hold them for the length of the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + amount <= self._limit)
            self._held += amount
        try:
            yield
        finally:
            with self._changed:
                self._held -= amount
                self._changed.notify_all()


@dataclass(frozen=True)
class ImageLoader:
    """Fetch, decode, turn upright and resize one image.

    Attributes:
        access: What a path may reach.
        limits: What an image may cost.
        channels: The order of the colours in decoded pixels; encoded images say it themselves.
        geometry: An RGB picture → uint8 (height, width, 3).
        budget: The memory that all threads together may fill with decoded pixels.
        pool: Processes that decode encoded images; None decodes them in the calling thread.
        meter: Measures what it takes.
    """

    access: Access
    limits: Limits
    channels: Channels
    geometry: Geometry
    budget: ByteBudget
    pool: DecoderPool | None = None
    meter: Meter = field(default_factory=Meter)

    def load(self, cell: Cell) -> NDArray[np.uint8]:
        """The pixels that the network takes.

        Args:
            cell: Any cell; see ``emotion_ops.images.cells``.

        Returns:
            uint8 (height, width, 3), RGB.

        Raises:
            ImageError: The row's own error, with its code.
        """
        with contextlib.ExitStack() as held:

            def reserve(amount: int) -> None:
                held.enter_context(self.budget.hold(amount))
                held.enter_context(self.meter.time("decode"))  # from here on: waiting for room is no decoding

            if self.pool is None or not isinstance(cell, str | bytes | memoryview):  # pixels have no decoder to fear
                return PictureDecoder(self.limits, self.geometry).finish(self.open(cell), reserve)
            pixels = self.pool.decode(self._encoded(cell), reserve)
            return pixels if isinstance(self.geometry, Resize) else self.geometry(Image.fromarray(pixels))

    def open(self, cell: Cell) -> Image.Image:
        """The picture of a cell, of an encoded one only the header; raises as ``load`` does."""
        if cell is None:
            raise ImageError(RowErrorCode.MISSING, "the cell is null")
        if isinstance(cell, str | bytes | memoryview):
            encoded = self._encoded(cell)
            with self.meter.time("decode"):
                return open_encoded(encoded, self.limits)
        if isinstance(cell, Image.Image):
            return cell
        if isinstance(cell, np.ndarray):
            return picture_of_pixels(cell, self.channels)
        raise ImageError(
            RowErrorCode.UNSUPPORTED,
            f"a cell of type {type(cell).__name__}; give a path, bytes, a PIL image or a uint8 array",
        )

    def _encoded(self, cell: str | bytes | memoryview) -> bytes | memoryview:
        if isinstance(cell, str):
            with self.meter.time("fetch"):
                cell = read(cell, self.access)
            self.meter.read(len(cell))
        self.meter.image(cell)
        return cell
