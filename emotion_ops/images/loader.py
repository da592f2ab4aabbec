"""One cell → the uint8 pixels that a network takes: what each loading thread runs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.decoder import ImageDecoder, MeasuredTransform, Transform, apply_transform, transform_bytes
from emotion_ops.images.decoding import Channels, Decoding
from emotion_ops.images.formats import open_encoded
from emotion_ops.images.isolation.pool import DecoderPool, shared_pool
from emotion_ops.images.isolation.stop import Stop
from emotion_ops.images.limits import Limits
from emotion_ops.images.memory import Memory, Reservation
from emotion_ops.images.meter import Meter
from emotion_ops.images.objects import Cell, foreign_code
from emotion_ops.images.pil_images import image_lock, read_file
from emotion_ops.images.resize import Resize
from emotion_ops.images.rgb import check_pixels, image_from_pixels
from emotion_ops.images.spark import SparkImage
from emotion_ops.io.access import Access
from emotion_ops.io.bounded import Reserve
from emotion_ops.io.fetch import read

IsKnown: TypeAlias = Callable[[bytes], bool]
"""Called with the digest of an encoded image before it is decoded: the first 16 bytes of its SHA-256. Returns True if
the pixels are not needed, because the result of an equal image is known or being computed."""


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
    decoder = ImageDecoder(limits, transform if isinstance(transform, MeasuredTransform) else None, decoding.mode)
    return shared_pool(decoder, decoding.timeout_seconds, decoding.memory_bytes(limits))


@dataclass(frozen=True)
class ImageLoader:
    """Fetches, decodes, turns upright and transforms images. Threads may share it.

    Attributes:
        access: What paths may reach.
        limits: What one image may cost.
        decoding: How images are decoded.
        transform: An upright RGB image → an array, uint8 (height, width, 3) for example. It is called while the
            memory of the image is reserved. ``dataclasses.replace`` gives the loader another one, at no cost.
        memory: What all threads together may use.
        pool: Processes that decode encoded images, from ``decoder_pool``. None: the calling thread decodes them.
        meter: Measures the stages.
        stop: Call it to end what the pool does for this loader.
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
        """Load the image of a cell.

        Args:
            cell: The cell; see ``emotion_ops.images.objects``.

        Returns:
            What the transform returns.

        Raises:
            RowError: The image cannot be fetched, decoded or transformed.
            StoppedError: ``stop`` was called.
        """
        pixels = self.load_unless(cell, None)
        assert pixels is not None
        return pixels

    def load_unless(self, cell: Cell, is_known: IsKnown | None) -> NDArray[np.uint8] | None:
        """As ``load``; None if ``is_known`` says that the pixels are not needed.

        Args:
            cell: The cell.
            is_known: Called for encoded images, after they are fetched; decoded pixels have no digest.
        """
        with (
            Reservation(self.memory.encoded) as encoded,
            Reservation(self.memory.decoded) as decoded,
            contextlib.ExitStack() as timed,
        ):

            def reserve_decoded(amount: int) -> None:
                decoded.acquire(amount)
                timed.enter_context(self.meter.time("decode"))  # from now on: waiting for memory is not decoding

            try:
                return self._load(cell, encoded.acquire, reserve_decoded, is_known)
            except RowError as error:
                error.__context__ = error.__cause__ = None
                raise error.with_traceback(None) from None  # its frames would keep the file and the image in memory

    def open(self, cell: Cell) -> Image.Image:
        """The image of a cell; of an encoded one only the header is read. No memory is reserved.

        Raises:
            RowError: As in ``load``.
        """
        if isinstance(cell, str | bytes | memoryview):
            encoded = read(cell, self.access, self.limits.max_bytes) if isinstance(cell, str) else cell
            with foreign_code(cell):
                return open_encoded(encoded, self.limits)
        if isinstance(cell, Image.Image):
            with foreign_code(cell):
                self.limits.check_image(*cell.size)
            return cell
        pixels = cell.pixels if isinstance(cell, SparkImage) else cell
        if not isinstance(pixels, np.ndarray):
            raise _unusable(cell)
        with foreign_code(pixels):
            check_pixels(pixels, self.limits)
        return image_from_pixels(pixels, "bgr" if isinstance(cell, SparkImage) else self.decoding.channels)

    def _load(
        self, cell: Any, reserve_encoded: Reserve, reserve_decoded: Reserve, is_known: IsKnown | None
    ) -> NDArray[np.uint8] | None:
        """In its own frame: the file and the image are freed before their memory is given back."""
        if isinstance(cell, SparkImage):
            return self._load_pixels(cell.pixels, "bgr", reserve_decoded)
        if isinstance(cell, np.ndarray):
            return self._load_pixels(cell, self.decoding.channels, reserve_decoded)
        decoder = ImageDecoder(self.limits, self.transform, self.decoding.mode)
        encoded: bytes | memoryview
        if isinstance(cell, Image.Image):
            file = read_file(cell, self.limits, reserve_encoded)
            if file is None:
                with foreign_code(cell):
                    self.limits.check_image(*cell.size)
                return decoder.decode(cell, reserve_decoded, image_lock())
            encoded = file
        elif isinstance(cell, str):
            with self.meter.time("fetch"):
                encoded = read(cell, self.access, self.limits.max_bytes, reserve_encoded)
            self.meter.read(len(encoded))
        elif isinstance(cell, bytes | memoryview):
            encoded = cell
            with foreign_code(cell):
                self.limits.check_bytes(len(cell))
            reserve_encoded(len(cell))  # decoding copies it, or sends it to another process
        else:
            raise _unusable(cell)
        if is_known is not None and is_known(hashlib.sha256(encoded).digest()[:16]):
            return None
        if self.pool is None:
            with self.meter.time("decode"):
                image = open_encoded(encoded, self.limits)
            return decoder.decode(image, reserve_decoded)
        pixels = self.pool.decode(encoded, reserve_decoded, self.stop)
        return (
            pixels if isinstance(self.transform, Resize) else apply_transform(Image.fromarray(pixels), self.transform)
        )

    def _load_pixels(self, pixels: NDArray[np.uint8], channels: Channels, reserve: Reserve) -> NDArray[np.uint8]:
        with foreign_code(pixels):
            check_pixels(pixels, self.limits)
        height, width = pixels.shape[:2]
        reserve(height * width * 8 + transform_bytes(self.transform, width, height))
        return apply_transform(image_from_pixels(pixels, channels), self.transform)


def _unusable(cell: object) -> RowError:
    """The error of a cell that is null, or of a type that holds no image."""
    if cell is None:
        return RowError(RowErrorCode.MISSING, "the cell is null")
    what = f"a cell of type {type(cell).__name__}; give a path, bytes, a PIL image or a uint8 array"
    return RowError(RowErrorCode.UNSUPPORTED, what)
