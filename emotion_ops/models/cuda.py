"""Batches of one size on a CUDA GPU: recorded once, replayed, with copies beside the computation.

    batch ──▶ pinned memory ──▶ device ──▶ recorded kernels ──▶ pinned memory ──▶ probabilities

Each lane has a stream and buffers of its own, so that while one lane computes the other copies. Uint8 goes over the
bus, a quarter of what float32 would be; replaying a recording spares launching some hundred kernels one by one.
"""

from __future__ import annotations

import logging
import queue
import threading

import numpy as np
import torch
from numpy.typing import NDArray

AT_ONCE = 2
"""Batches that run side by side: one computes while the other is copied."""

_WARM_UPS = 3  # before recording: libraries choose their kernels and their workspaces in the first passes
_recording = threading.Lock()  # of the whole process: a recording may not meet another's synchronisation
_log = logging.getLogger("emotion_ops")


class CudaGraphPool:
    """The lanes of one network; ``run`` may be called from any thread.

    A shape that comes a second time is recorded, unless a larger one is; batches of another, such as a table's last,
    run kernel by kernel. So do all where recording failed: a network that talks to the host on its way cannot be
    recorded, and a recording takes memory of its own.

    Args:
        network: uint8 (N, height, width, 3) → float32 (N, labels), on the device.
        device: A CUDA device.
    """

    def __init__(self, network: torch.nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self._lock = threading.Lock()
        self._met: set[tuple[int, ...]] = set()
        self._set = _Set()
        self._is_given_up = False

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures; waits for a lane.

        Raises:
            torch.OutOfMemoryError: The device has not enough memory for so many.
        """
        lanes = self._lanes_for(batch.shape)
        if lanes is None:
            with torch.inference_mode():
                answer: NDArray[np.float32] = self._network(torch.from_numpy(batch).to(self._device)).cpu().numpy()
            return answer
        lane = lanes.free.get()
        try:
            return lane.run(batch)
        finally:
            lanes.free.put(lane)

    def give_up(self) -> None:
        """Let go of the recordings, and make no more: their memory is needed."""
        with self._lock:
            self._is_given_up, self._set = True, _Set()

    def _lanes_for(self, shape: tuple[int, ...]) -> _Set | None:
        """The lanes that take this shape, recorded now if it is time; None where it runs kernel by kernel."""
        with self._lock:
            if shape in self._met and shape > self._set.shape and not self._is_given_up:
                self._record(shape)
            self._met.add(shape)
            return self._set if shape == self._set.shape else None

    def _record(self, shape: tuple[int, ...]) -> None:
        self._set = _Set()  # a thread that uses a lane of the smaller shape keeps it until it is through
        try:
            with _recording:
                lanes = [_Lane(self._network, shape, self._device) for _ in range(AT_ONCE)]
        except RuntimeError as error:
            _log.warning("batches of %d run kernel by kernel: they cannot be recorded (%s)", shape[0], error)
            self._is_given_up = True
            return
        self._set = _Set(shape)
        for lane in lanes:
            self._set.free.put(lane)


class _Set:
    """The lanes of one shape; of no shape at first."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.shape = shape
        self.free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()


class _Lane:
    def __init__(self, network: torch.nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # to wait is not to spin
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._in = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            self._there = torch.zeros_like(self._in, device=device)
            for _ in range(_WARM_UPS):
                network(self._there)
            self._stream.synchronize()
            self._recording = torch.cuda.CUDAGraph()
            # Other threads may use the GPU meanwhile, whatever for: only this one's calls are recorded.
            with torch.cuda.graph(self._recording, stream=self._stream, capture_error_mode="thread_local"):
                self._answer = network(self._there)
            self._out = torch.empty(self._answer.shape, dtype=self._answer.dtype, pin_memory=True)
            self._stream.synchronize()

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._in.copy_(torch.from_numpy(batch))
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._there.copy_(self._in, non_blocking=True)
            self._recording.replay()
            self._out.copy_(self._answer, non_blocking=True)
            self._done.record(self._stream)
        self._done.synchronize()
        probabilities: NDArray[np.float32] = self._out.numpy().copy()
        return probabilities
