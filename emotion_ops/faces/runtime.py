"""An ONNX network → a function from arrays to arrays, by ONNX Runtime or OpenVINO, whichever is installed."""

from __future__ import annotations

import ctypes
import importlib.util
import io
import os
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_ops import fork_safety
from emotion_ops.errors import MissingDependencyError, ModelError, first_line

Floats = NDArray[np.float32]

RUNTIMES = ("onnxruntime", "openvino")
"""In order of preference."""


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """A network that many threads may run at the same time; each call uses one thread.

    Attributes:
        shape: (height, width) of its input; None if it takes any.
        run: float32 (1, 3, height, width) → the outputs by name.
    """

    shape: tuple[int, int] | None
    run: Callable[[Floats], Mapping[str, Floats]]


def choose_runtime() -> str:
    """The preferred runtime among those that are installed.

    Raises:
        MissingDependencyError: None is installed.
        ModelError: Only OpenVINO is installed, and it ran before this process was forked.
    """
    found = [name for name in RUNTIMES if importlib.util.find_spec(name) is not None]
    if not found:
        raise MissingDependencyError("onnxruntime", "detecting faces", "faces")
    if fork_safety.forked_after_openvino:
        found = [name for name in found if name != "openvino"]
    if not found:
        raise ModelError(
            "YuNet",
            "OpenVINO ran before this process was forked, and does not survive a fork",
            "pip install 'emotion-ops[faces]', whose runtime does, or start processes by spawn or forkserver",
            kind="detector",
        )
    return found[0]


def load_onnx(content: bytes, runtime: str, name: str) -> OnnxNetwork:
    """Load a network with one input.

    Args:
        content: The bytes of an ONNX file. If it fixes the input at 640 × 640 pixels, as the hub's does, these become
            free dimensions. Then an image is padded no more than the network needs.
        runtime: One of ``RUNTIMES``.
        name: The file's name, for messages.

    Raises:
        ModelError: The runtime cannot load it.
    """
    content = content.replace(_FIXED_SHAPE, _FREE_SHAPE)
    try:
        network = _load_in_onnxruntime(content) if runtime == "onnxruntime" else _load_in_openvino(content)
    except Exception as error:  # the runtimes have their own error types, some of them not public
        what = f"{runtime} cannot load it ({type(error).__name__}: {first_line(error)})"
        raise ModelError(name, what, "give a YuNet file in ONNX format", kind="detector") from error
    _loaded.add(network)
    return network


_BATCH_AND_CHANNELS = b"\x0a\x02\x08\x01\x0a\x02\x08\x03"
_FIXED_SHAPE = _BATCH_AND_CHANNELS + b"\x0a\x03\x08\x80\x05" * 2
"""The shape (1, 3, 640, 640) in ONNX, a protobuf: a dimension is a number (field 1) or a name (field 2)."""
_FREE_SHAPE = _BATCH_AND_CHANNELS + b"\x0a\x03\x12\x01h\x0a\x03\x12\x01w"
"""The shape (1, 3, h, w), with the same number of bytes, so that the lengths of the messages around it stay valid."""


def _load_in_onnxruntime(content: bytes) -> OnnxNetwork:
    # Must be set before the import. Else it sends statistics from a thread, which blocks the exit of forked children.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # images run in parallel, each in one thread
    options.log_severity_level = 3
    network = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (network_input,) = network.get_inputs()
    names = [output.name for output in network.get_outputs()]
    _, _, height, width = network_input.shape
    shape = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def run(pixels: Floats) -> Mapping[str, Floats]:
        return dict(zip(names, network.run(names, {network_input.name: pixels}), strict=True))

    return OnnxNetwork(shape, run)


def _load_in_openvino(content: bytes) -> OnnxNetwork:
    import openvino

    fork_safety.mark_openvino_used()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    network = core.compile_model(core.read_model(io.BytesIO(content)), "CPU", settings)
    (network_input,) = network.inputs
    positions = {name: position for position, output in enumerate(network.outputs) for name in output.names}
    height, width = network_input.partial_shape[2], network_input.partial_shape[3]
    shape = (height.get_length(), width.get_length()) if height.is_static and width.is_static else None
    requests: list[Any] = []  # of all threads; a thread's own would be freed in a forked child, see _keep_loaded
    idle: deque[Any] = deque()

    def run(pixels: Floats) -> Mapping[str, Floats]:
        try:
            request = idle.pop()
        except IndexError:
            request = network.create_infer_request()
            requests.append(request)
        try:
            request.infer({0: pixels})
            return {name: request.get_output_tensor(position).data.copy() for name, position in positions.items()}
        finally:
            idle.append(request)

    return OnnxNetwork(shape, run)


_loaded: weakref.WeakSet[OnnxNetwork] = weakref.WeakSet()
_from_parent: list[OnnxNetwork] = []


def _keep_loaded() -> None:
    """In a forked child: never free the parent's networks. OpenVINO would wait for the parent's threads."""
    _from_parent.extend(_loaded)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_from_parent))  # not even when the interpreter ends


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_loaded)
