"""What the rows of one stream share: memory, threads, and how images are loaded."""

from __future__ import annotations

from emotion_ops.faces.crops import PassThrough
from emotion_ops.images.decoder import Transform
from emotion_ops.images.decoding import Decoding
from emotion_ops.images.isolation.stop import Stop
from emotion_ops.images.limits import Limits
from emotion_ops.images.loader import ImageLoader, decoder_pool
from emotion_ops.images.memory import Memory
from emotion_ops.images.meter import Meter
from emotion_ops.images.resize import Resize
from emotion_ops.io.access import Access
from emotion_ops.operators.resources import Resources


class Run:
    """The context of one stream.

    Args:
        resources: Memory and threads.
        access: What paths may reach.
        limits: What one image may cost.
        decoding: How images are decoded.
        meter: Measures what the stages take; None measures nothing.

    Attributes:
        options: The four groups of options, in this order.
        meter: The meter.
        stop: Called at the end of the stream: stops what its loaders do in other processes.
    """

    def __init__(
        self,
        resources: Resources,
        access: Access,
        limits: Limits,
        decoding: Decoding,
        meter: Meter | None = None,
    ) -> None:
        self.options = resources, access, limits, decoding
        self.meter = meter or Meter()
        self.stop = Stop()
        self._memory = Memory(resources.memory)

    @property
    def threads(self) -> int:
        """Rows that are prepared at the same time."""
        return self.options[0].thread_count

    @property
    def ahead_bytes(self) -> int:
        """Bytes of rows that may be read behind the first one that is not prepared."""
        return self.options[0].memory // 2

    def loader(self, transform: Transform, *, in_process: Transform | None = None) -> ImageLoader:
        """A loader of images whose memory is shared with all others of this stream.

        Args:
            transform: An upright RGB image → an array; called while the image's memory is reserved.
            in_process: With ``isolation="process"``, the transform in the child process; the other one gets its result
                here. None: ``Resize`` runs in the child process, any other transform here.
        """
        _, access, limits, decoding = self.options
        in_child = in_process or (transform if isinstance(transform, Resize) else PassThrough(0.0))
        return ImageLoader(
            access=access,
            limits=limits,
            decoding=decoding,
            transform=transform,
            memory=self._memory,
            pool=decoder_pool(decoding, limits, in_child),
            meter=self.meter,
            stop=self.stop,
        )
