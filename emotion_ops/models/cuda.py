"""Batches of one size on a CUDA GPU: recorded once, replayed, with copies beside the computation.

    batch ──▶ pinned memory ──▶ device ──▶ recorded kernels ──▶ pinned memory ──▶ probabilities

Each lane has a stream and buffers of its own, so that while one lane computes the other copies. Uint8 goes over the
bus, a quarter of what float32 would be; replaying a recording spares launching some hundred kernels one by one.
"""

from __future__ import annotations

import queue
import threading

import numpy as np
import torch
from numpy.typing import NDArray

AT_ONCE = 2
"""Batches that run side by side: one computes while the other is copied."""

_WARM_UPS = 3  # before recording: libraries choose their kernels and their workspaces in the first passes


class Lanes:
    """The lanes of one network; ``run`` may be called from any thread.

    Args:
        network: uint8 (N, height, width, 3) → float32 (N, labels), on the device.
        device: A CUDA device.
    """

    def __init__(self, network: torch.nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self._recording = threading.Lock()
        self._last: tuple[int, ...] | None = None
        self._shape: tuple[int, ...] | None = None
        self._free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures; waits for a lane.

        The first shape that comes twice in a row is recorded; batches of another, such as a table's last, run
        kernel by kernel.

        Raises:
            torch.OutOfMemoryError: The device has not enough memory for so many.
        """
        if not self._is_recorded(batch.shape):
            with torch.inference_mode():
                answer: NDArray[np.float32] = self._network(torch.from_numpy(batch).to(self._device)).cpu().numpy()
            return answer
        lane = self._free.get()
        try:
            return lane.run(batch)
        finally:
            self._free.put(lane)

    def _is_recorded(self, shape: tuple[int, ...]) -> bool:
        with self._recording:
            if self._shape is None and shape == self._last:
                lanes = [_Lane(self._network, shape, self._device) for _ in range(AT_ONCE)]
                for lane in lanes:
                    self._free.put(lane)
                self._shape = shape
            self._last = shape
            return shape == self._shape


class _Lane:
    def __init__(self, network: torch.nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._in = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        with torch.inference_mode(), torch.cuda.stream(self._stream):
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
        self._stream.synchronize()
        probabilities: NDArray[np.float32] = self._out.numpy().copy()
        return probabilities
