"""The network in OpenVINO, on a CPU."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from emotion_ops import fork_safety
from emotion_ops.models.checkpoint import Checkpoint
from emotion_ops.models.config import read_labels
from emotion_ops.models.engines.batch_halving import BatchHalvingEngine
from emotion_ops.models.engines.int8 import Calibration
from emotion_ops.models.engines.openvino_graph import compile_graph, load_graph
from emotion_ops.models.pixel_spec import read_pixel_spec

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}  # int8 is in the graph; the rest of it runs in bf16
_OUT_OF_MEMORY = ("Failed to allocate", "bad_alloc")  # OpenVINO has no error class for it
_log = logging.getLogger("emotion_ops")
_loaded: weakref.WeakSet[OpenVinoEngine] = weakref.WeakSet()
_from_parent: list[OpenVinoEngine] = []


def _keep_loaded() -> None:
    """In a forked child: never free the parent's networks. OpenVINO would wait for the parent's threads."""
    _from_parent.extend(_loaded)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_from_parent))  # not even when the interpreter ends


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_loaded)


class OpenVinoEngine(BatchHalvingEngine):
    """Loads a checkpoint when it is made; ``predict`` may be called from any thread, one call runs at a time.

    Args:
        checkpoint: Where the weights are.
        precision: ``fp32``, ``bf16`` or ``int8``. A processor without the instructions computes in fp32 instead.
        calibration: What int8 is calibrated on; None in the other precisions.

    Raises:
        UnsupportedModelError: As ``TorchEngine``, and if OpenVINO gives other numbers than torch.
    """

    name = "openvino"
    device = "cpu"
    batch_size = 16

    def __init__(self, checkpoint: Checkpoint, precision: str, calibration: Calibration | None) -> None:
        super().__init__()
        fork_safety.mark_openvino_used()
        self.checkpoint = checkpoint
        self.labels = read_labels(checkpoint)
        self.pixels = read_pixel_spec(checkpoint)
        self.precision = precision
        self._lock = threading.Lock()
        supported = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision.upper() not in supported:
            _log.warning("this CPU has no %s instructions (only %s): it is not faster than fp32", precision,
                         ", ".join(supported))  # fmt: skip
        graph = load_graph(checkpoint, self.pixels, calibration)
        self._request = compile_graph(graph, _HINTS[precision]).create_infer_request()
        _loaded.add(self)

    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._lock:
            try:
                self._request.infer({0: np.ascontiguousarray(batch)}, share_inputs=True)
            except RuntimeError as error:
                if not any(words in str(error) for words in _OUT_OF_MEMORY):
                    raise
                raise MemoryError(str(error).strip().splitlines()[-1]) from error
            probabilities: NDArray[np.float32] = self._request.get_output_tensor(0).data.copy()
        return probabilities
