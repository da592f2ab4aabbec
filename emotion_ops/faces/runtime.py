"""A file of ONNX → a function from arrays to arrays, by ONNX Runtime or OpenVINO, whichever is installed."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import MissingDependencyError, ModelError

Floats = NDArray[np.float32]

RUNTIMES = ("onnxruntime", "openvino")
"""In the order in which they are taken."""


@dataclass(frozen=True)
class Session:
    """A network that may be run from many threads at once, in one thread each.

    Attributes:
        shape: (height, width) that it takes; None where it takes any.
        run: uint8 or float input (1, 3, height, width) as float32 → the outputs by name.
    """

    shape: tuple[int, int] | None
    run: Callable[[Floats], Mapping[str, Floats]]


def installed() -> str:
    """The runtime that is taken here.

    Raises:
        MissingDependencyError: There is none.
    """
    for name in RUNTIMES:
        if importlib.util.find_spec(name) is not None:
            return name
    raise MissingDependencyError("onnxruntime", "detecting faces", "faces")


def open_session(path: Path, runtime: str) -> Session:
    """Load a network of one input.

    Args:
        path: An ONNX file.
        runtime: One of ``RUNTIMES``.

    Raises:
        ModelError: It is no ONNX file, or not one that the runtime runs.
    """
    try:
        return _onnxruntime(path) if runtime == "onnxruntime" else _openvino(path)
    except Exception as error:  # either runtime has errors of its own, some of them of no public type
        said = (str(error).strip().splitlines() or [""])[0][:200]
        cure = "give a YuNet file in ONNX format"
        raise ModelError(str(path), f"{runtime} cannot load it ({type(error).__name__}: {said})", cure) from error


def _onnxruntime(path: Path) -> Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # pictures go side by side, one a thread
    options.log_severity_level = 3
    network = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (taken,) = network.get_inputs()
    names = [output.name for output in network.get_outputs()]
    _, _, height, width = taken.shape
    shape = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def run(pixels: Floats) -> Mapping[str, Floats]:
        return dict(zip(names, network.run(names, {taken.name: pixels}), strict=True))

    return Session(shape, run)


def _openvino(path: Path) -> Session:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    network = openvino.Core().compile_model(str(path), "CPU", settings)
    (taken,) = network.inputs
    names = {name: place for place, output in enumerate(network.outputs) for name in output.names}
    height, width = taken.partial_shape[2], taken.partial_shape[3]
    shape = (height.get_length(), width.get_length()) if height.is_static and width.is_static else None
    of_thread = threading.local()

    def run(pixels: Floats) -> Mapping[str, Floats]:
        request: Any = getattr(of_thread, "request", None)
        if request is None:
            request = of_thread.request = network.create_infer_request()
        request.infer({0: pixels})
        return {name: request.get_output_tensor(place).data.copy() for name, place in names.items()}

    return Session(shape, run)
