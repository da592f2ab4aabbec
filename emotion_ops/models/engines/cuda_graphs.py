"""Batches of one shape on a CUDA GPU: recorded once as a CUDA graph and replayed, with copies during computation.

    batch ──▶ pinned memory ──▶ device ──▶ CUDA graph ──▶ pinned memory ──▶ probabilities

Each recording has its own stream and buffers, so that one copies while another computes. The bus carries uint8, a
quarter of the bytes of float32. A replay saves the launches of some hundred kernels.
"""

from __future__ import annotations

import logging
import queue
import threading

import numpy as np
import torch
from numpy.typing import NDArray

CONCURRENCY = 2
"""Batches at the same time: one computes while the other is copied."""

_WARM_UPS = 3  # before recording: in the first passes libraries choose their kernels and workspaces
_recording = threading.Lock()  # for the whole process: a recording and another's synchronisation exclude each other
_log = logging.getLogger("emotion_ops")


class CudaGraphPool:
    """The CUDA graphs of one network; ``run`` may be called from any thread.

    A shape is recorded when it comes a second time, unless a larger one is recorded. Batches of other shapes, such as
    the last batch of a table, run kernel by kernel. So do all batches after a recording failed: a network that
    synchronises with the host cannot be recorded, and a recording needs additional memory.

    Args:
        network: uint8 (N, height, width, 3) → float32 (N, labels), on the device.
        device: A CUDA device.
    """

    def __init__(self, network: torch.nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self._lock = threading.Lock()
        self._seen: set[tuple[int, ...]] = set()
        self._graphs = _Graphs()
        self._is_disabled = False

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of images; waits for a free graph.

        Raises:
            torch.OutOfMemoryError: The device does not have enough memory for the batch.
        """
        graphs = self._graphs_for(batch.shape)
        if graphs is None:
            with torch.inference_mode():
                output: NDArray[np.float32] = self._network(torch.from_numpy(batch).to(self._device)).cpu().numpy()
            return output
        graph = graphs.free.get()
        try:
            return graph.run(batch)
        finally:
            graphs.free.put(graph)

    def disable(self) -> None:
        """Free the recordings and make no more: their memory is needed."""
        with self._lock:
            self._is_disabled, self._graphs = True, _Graphs()

    def _graphs_for(self, shape: tuple[int, ...]) -> _Graphs | None:
        """The graphs for this shape, recorded now if it is time; None if it runs kernel by kernel."""
        with self._lock:
            if shape in self._seen and shape > self._graphs.shape and not self._is_disabled:
                self._record(shape)
            self._seen.add(shape)
            return self._graphs if shape == self._graphs.shape else None

    def _record(self, shape: tuple[int, ...]) -> None:
        self._graphs = _Graphs()  # a thread that uses a graph of the smaller shape has its own reference to it
        try:
            with _recording:
                graphs = [_Graph(self._network, shape, self._device) for _ in range(CONCURRENCY)]
        except RuntimeError as error:
            _log.warning("batches of %d run kernel by kernel: they cannot be recorded (%s)", shape[0], error)
            self._is_disabled = True
            return
        self._graphs = _Graphs(shape)
        for graph in graphs:
            self._graphs.free.put(graph)


class _Graphs:
    """The graphs of one shape; the first shape is empty."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.shape = shape
        self.free: queue.SimpleQueue[_Graph] = queue.SimpleQueue()


class _Graph:
    def __init__(self, network: torch.nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # untyped in torch
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # untyped; waits without spinning
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._host_input = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            self._input = torch.zeros_like(self._host_input, device=device)
            for _ in range(_WARM_UPS):
                network(self._input)
            self._stream.synchronize()
            self._recording = torch.cuda.CUDAGraph()
            # Other threads may use the GPU at the same time: only the calls of this thread are recorded.
            with torch.cuda.graph(self._recording, stream=self._stream, capture_error_mode="thread_local"):
                self._output = network(self._input)
            self._host_output = torch.empty(self._output.shape, dtype=self._output.dtype, pin_memory=True)
            self._stream.synchronize()

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._host_input.copy_(torch.from_numpy(batch))
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._input.copy_(self._host_input, non_blocking=True)
            self._recording.replay()
            self._host_output.copy_(self._output, non_blocking=True)
            self._done.record(self._stream)
        self._done.synchronize()
        probabilities: NDArray[np.float32] = self._host_output.numpy().copy()
        return probabilities
