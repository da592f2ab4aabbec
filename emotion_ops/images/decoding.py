"""How images are decoded: the options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from emotion_ops.errors import OptionError
from emotion_ops.images.limits import Limits
from emotion_ops.options import OptionGroup, byte_count, one_of, option, optional, seconds

DecodeMode: TypeAlias = Literal["exact", "fast"]
Channels: TypeAlias = Literal["rgb", "bgr"]
Isolation: TypeAlias = Literal["thread", "process"]

_TIMEOUT = 30.0


@dataclass(frozen=True)
class Decoding(OptionGroup):
    """How images are decoded.

    Args:
        mode: ``"exact"`` decodes every pixel. ``"fast"`` decodes a JPEG whose sides are at least twice what the
            network needs at a half, a quarter or an eighth of its size. It changes the numbers a little
            (docs/performance.md). Other formats and decoded pixels are always decoded exactly.
        channels: Order of the colours in decoded uint8 pixels, ``"rgb"`` or ``"bgr"`` (OpenCV). Encoded images and
            Spark's image struct define their own order.
        isolation: ``"thread"`` decodes in threads of this process. ``"process"`` decodes encoded images in watched
            child processes (POSIX only). A decoder that crashes, hangs or fills memory then fails its row with
            ``undecodable``, and the job goes on. The numbers are the same.
        timeout: Seconds for decoding one image, with ``isolation="process"`` only. None is 30.
        memory: Bytes for decoding one image, with ``isolation="process"`` on Linux only. None is what the largest
            image within the limits needs in any format.

    Raises:
        OptionError: A value cannot be used, or ``timeout`` or ``memory`` is given without ``isolation="process"``.
    """

    mode: DecodeMode = option(one_of("exact", "fast"), "exact", flag="decode")
    channels: Channels = option(one_of("rgb", "bgr"), "rgb")
    isolation: Isolation = option(one_of("thread", "process"), "thread", changes_values=False)
    timeout: float | None = option(optional(seconds), None, flag="decode_timeout", changes_values=False)
    memory: int | None = option(optional(byte_count), None, flag="decode_memory", changes_values=False)

    def __post_init__(self) -> None:
        """Check every value, and that no value is without effect."""
        super().__post_init__()
        for name in ("timeout", "memory") if self.isolation == "thread" else ():
            if getattr(self, name) is not None:
                hint = 'remove it, or give isolation="process": threads have no such limit'
                raise OptionError(f"Decoding.{name}", getattr(self, name), hint)

    @property
    def timeout_seconds(self) -> float:
        """Seconds for decoding one image in a child process."""
        return _TIMEOUT if self.timeout is None else self.timeout

    def memory_bytes(self, limits: Limits) -> int:
        """Bytes for decoding one image in a child process, for images within these limits."""
        return limits.memory if self.memory is None else self.memory
