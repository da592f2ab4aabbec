"""The network in OpenVINO, on a CPU."""

from __future__ import annotations

import logging
import threading

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from emotion_ops import fork_safety as forked
from emotion_ops.models.engines.int8 import Calibration
from emotion_ops.models.halving import HalvingEngine
from emotion_ops.models.openvino_graph import compiled, graph_of
from emotion_ops.models.spec import labels_of, pixels_of
from emotion_ops.models.weights import Checkpoint

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}  # int8 is in the graph; the rest of it runs in bf16
_OUT_OF_MEMORY = ("Failed to allocate", "bad_alloc")  # OpenVINO has no class for it
_log = logging.getLogger("emotion_ops")


class OpenVinoEngine(HalvingEngine):
    """Loads a checkpoint at once and keeps it; ``predict`` may be called from any thread, one runs at a time.

    Args:
        checkpoint: Where the weights are.
        precision: ``fp32``, ``bf16`` or ``int8``. A processor without the instructions computes in fp32 instead.
        calibration: What int8 is calibrated on; None in the other precisions.

    Raises:
        UnsupportedModelError: As ``TorchEngine`` does, and where OpenVINO gives other numbers than torch.
    """

    name = "openvino"
    device = "cpu"
    batch_size = 16

    def __init__(self, checkpoint: Checkpoint, precision: str, calibration: Calibration | None) -> None:
        super().__init__()
        forked.openvino_runs()
        self.checkpoint = checkpoint
        self.labels = labels_of(checkpoint)
        self.pixels = pixels_of(checkpoint)
        self.precision = precision
        self._turn = threading.Lock()
        able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision.upper() not in able:
            _log.warning("this processor computes in %s, and in %s no faster than in fp32", ", ".join(able), precision)
        network = graph_of(checkpoint, self.pixels, calibration)
        self._request = compiled(network, _HINTS[precision]).create_infer_request()

    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._turn:
            try:
                self._request.infer({0: np.ascontiguousarray(batch)}, share_inputs=True)
            except RuntimeError as error:
                if not any(words in str(error) for words in _OUT_OF_MEMORY):
                    raise
                raise MemoryError(str(error).strip().splitlines()[-1]) from error
            probabilities: NDArray[np.float32] = self._request.get_output_tensor(0).data.copy()
        return probabilities
