"""A network in ONNX → a function from arrays to arrays, by ONNX Runtime or OpenVINO, whichever is installed."""

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

from emotion_ops import fork_safety as forked
from emotion_ops.errors import MissingDependencyError, ModelError

Floats = NDArray[np.float32]

RUNTIMES = ("onnxruntime", "openvino")
"""In the order in which they are taken."""


@dataclass(frozen=True, eq=False)
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
        ModelError: There is OpenVINO alone, and it ran before this process was forked.
    """
    present = [name for name in RUNTIMES if importlib.util.find_spec(name) is not None]
    if not present:
        raise MissingDependencyError("onnxruntime", "detecting faces", "faces")
    if forked.after_openvino:
        present = [name for name in present if name != "openvino"]
    if not present:
        raise ModelError(
            "YuNet",
            "OpenVINO ran before this process was forked, and does not survive a fork",
            "pip install 'emotion-ops[faces]', whose runtime does, or start processes by spawn or forkserver",
            kind="detector",
        )
    return present[0]


def open_session(content: bytes, runtime: str, name: str) -> Session:
    """Load a network of one input.

    Args:
        content: What an ONNX file holds. Where it fixes the input at 640 × 640 pixels, as the hub's does, they are
            made free: then no more black is added to a picture than the network needs.
        runtime: One of ``RUNTIMES``.
        name: What it is called in messages.

    Raises:
        ModelError: It is no network in ONNX, or not one that the runtime runs.
    """
    content = content.replace(_FIXED, _FREE)
    try:
        session = _onnxruntime(content) if runtime == "onnxruntime" else _openvino(content)
    except Exception as error:  # either runtime has errors of its own, some of them of no public type
        said = (str(error).strip().splitlines() or [""])[0][:200]
        what = f"{runtime} cannot load it ({type(error).__name__}: {said})"
        raise ModelError(name, what, "give a YuNet file in ONNX format", kind="detector") from error
    _alive.add(session)
    return session


_IMAGE = b"\x0a\x02\x08\x01\x0a\x02\x08\x03"
_FIXED = _IMAGE + b"\x0a\x03\x08\x80\x05" * 2
"""The shape (1, 3, 640, 640) as ONNX, a protobuf, has it: a dimension is a number (field 1) or a name (field 2)."""
_FREE = _IMAGE + b"\x0a\x03\x12\x01h\x0a\x03\x12\x01w"
"""The shape (1, 3, h, w), of as many bytes, so that no length before it changes."""


def _onnxruntime(content: bytes) -> Session:
    # Unless told so before it is imported, it reports to its maker from a thread, for which a forked child's end waits.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # pictures go side by side, one a thread
    options.log_severity_level = 3
    network = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (taken,) = network.get_inputs()
    names = [output.name for output in network.get_outputs()]
    _, _, height, width = taken.shape
    shape = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def run(pixels: Floats) -> Mapping[str, Floats]:
        return dict(zip(names, network.run(names, {taken.name: pixels}), strict=True))

    return Session(shape, run)


def _openvino(content: bytes) -> Session:
    import openvino

    forked.openvino_runs()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    network = core.compile_model(core.read_model(io.BytesIO(content)), "CPU", settings)
    (taken,) = network.inputs
    names = {name: place for place, output in enumerate(network.outputs) for name in output.names}
    height, width = taken.partial_shape[2], taken.partial_shape[3]
    shape = (height.get_length(), width.get_length()) if height.is_static and width.is_static else None
    requests: list[Any] = []  # all of them, and not one in each thread: see _leave_to_parent
    idle: deque[Any] = deque()

    def run(pixels: Floats) -> Mapping[str, Floats]:
        try:
            request = idle.pop()
        except IndexError:
            request = network.create_infer_request()
            requests.append(request)
        try:
            request.infer({0: pixels})
            return {name: request.get_output_tensor(place).data.copy() for name, place in names.items()}
        finally:
            idle.append(request)

    return Session(shape, run)


_alive: weakref.WeakSet[Session] = weakref.WeakSet()
_of_parent: list[Session] = []


def _leave_to_parent() -> None:
    """In a forked child: never take apart what the parent loaded. OpenVINO would wait for the parent's threads."""
    _of_parent.extend(_alive)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_of_parent))  # not when the interpreter ends either


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
