"""The network in OpenVINO, on a CPU.

    checkpoint ──▶ torch ──▶ OpenVINO's graph ──▶ [int8] ──▶ cache on disk ──▶ compiled for this processor

Normalisation and softmax are part of the graph, so that uint8 goes in and probabilities come out. The graph is kept
on disk by the weights' hash, what was compiled of it beside it, so that the second start needs neither.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from emotion_ops.models.int8 import Calibration
from emotion_ops.models.spec import PixelSpec, labels_of, pixels_of
from emotion_ops.models.weights import Checkpoint

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}  # int8 is in the graph; the rest of it runs in bf16
_FORMAT = 1  # raised whenever another graph is made of the same checkpoint


class OpenVinoEngine:
    """Loads a checkpoint at once and keeps it; ``predict`` may be called from any thread, one runs at a time.

    Args:
        checkpoint: Where the weights are.
        precision: ``fp32``, ``bf16`` or ``int8``. A processor without bf16 instructions computes in fp32 instead.
        calibration: What int8 is calibrated on; None in the other precisions.

    Raises:
        UnsupportedModelError: As ``TorchEngine`` does.
    """

    name = "openvino"
    device = "cpu"
    batch_size = 16

    def __init__(self, checkpoint: Checkpoint, precision: str, calibration: Calibration | None) -> None:
        self.checkpoint = checkpoint
        self.labels = labels_of(checkpoint)
        self.pixels = pixels_of(checkpoint)
        self.precision = precision
        self._turn = threading.Lock()
        core = ov.Core()
        core.set_property({"CACHE_DIR": str(_cache() / "compiled")})
        hints = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
        if precision == "fp32":
            hints["EXECUTION_MODE_HINT"] = "ACCURACY"
        compiled = core.compile_model(_graph(core, checkpoint, self.pixels, calibration), "CPU", hints)
        self._request = compiled.create_infer_request()

    def predict(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of a batch of pictures; see ``Engine.predict``."""
        with self._turn:
            self._request.infer({0: np.ascontiguousarray(batch)}, share_inputs=True)
            probabilities: NDArray[np.float32] = self._request.get_output_tensor(0).data.copy()
        return probabilities


def _cache() -> Path:
    """Where graphs are kept: ``EMOTION_OPS_CACHE``, else ``emotion_ops`` in the user's cache folder."""
    home = os.environ.get("EMOTION_OPS_CACHE")
    if home is None:
        home = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emotion_ops")
    return Path(home).expanduser() / "openvino"


def _graph(core: ov.Core, checkpoint: Checkpoint, pixels: PixelSpec, calibration: Calibration | None) -> Path:
    """The file of the network's graph; made where it is not there, whole or not at all."""
    made_of = (_FORMAT, ov.get_version(), checkpoint.weights_sha256(), checkpoint.config(), pixels.height,
               pixels.width, pixels.scale, pixels.offset, calibration and calibration.digest)  # fmt: skip
    folder = _cache() / hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]
    if not (folder / "network.xml").exists():
        network = _converted(checkpoint, pixels)
        if calibration is not None:
            network = calibration.quantise(network)
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            ov.save_model(network, unfinished / "network.xml", compress_to_fp16=False)
            unfinished.rename(folder)
        except OSError:
            if not (folder / "network.xml").exists():  # another process was quicker
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder / "network.xml"


def _converted(checkpoint: Checkpoint, pixels: PixelSpec) -> ov.Model:
    """The network, with normalisation before and softmax behind it: uint8 NHWC → float32 (N, labels).

    Through OpenVINO's PyTorch front end itself: ``openvino.convert_model`` does the same and reports its use to
    the makers unless told otherwise.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from emotion_ops.models.torch_engine import Whole, load_network

    whole = Whole(load_network(checkpoint), pixels).eval()
    example = torch.zeros(2, pixels.height, pixels.width, 3, dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: sizes are taken for constants, which they are here
        decoder = TorchScriptPythonDecoder(whole, example_input=(example,))
        front_end = FrontEndManager().load_by_framework("pytorch")
        model = front_end.convert(front_end.load(decoder))
    model.reshape([-1, pixels.height, pixels.width, 3])
    return model
