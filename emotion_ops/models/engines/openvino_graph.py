"""A checkpoint → OpenVINO's graph of its network, made once and stored on disk.

    checkpoint ──▶ torch ──▶ OpenVINO's graph ──▶ [compared with torch] ──▶ [int8] ──▶ disk

Normalisation and softmax are part of the graph, so that uint8 goes in and probabilities come out.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from emotion_ops.errors import UnsupportedModelError, first_line
from emotion_ops.models.checkpoint import Checkpoint
from emotion_ops.models.disk_cache import cache_folder, cache_key, unfinished_folder
from emotion_ops.models.engines.int8 import Calibration
from emotion_ops.models.pixel_spec import PixelSpec

TOLERANCE = 1e-5
"""Largest accepted difference of a probability between OpenVINO and torch, in fp32."""

_FORMAT = 2  # raised when another graph is made of the same checkpoint
_FILES = ("network.xml", "network.bin")
_HINT = "give engine='torch', which runs it as transformers does"
_log = logging.getLogger("emotion_ops")


def compile_graph(graph: ov.Model, precision: str) -> ov.CompiledModel:
    """Compile a graph for this processor, in ``f32`` or ``bf16``, for the lowest latency of one request."""
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if precision == "f32":
        hints["EXECUTION_MODE_HINT"] = "ACCURACY"
    return ov.Core().compile_model(graph, "CPU", hints)


def load_graph(checkpoint: Checkpoint, pixels: PixelSpec, calibration: Calibration | None) -> ov.Model:
    """A network's graph: read from the cache folder, or made and stored there.

    Its name there is a hash of all that it is made of, and it appears there complete or not at all. If the folder
    cannot be written, each process makes the graph.

    Args:
        checkpoint: Where the weights are.
        pixels: What the network's input looks like.
        calibration: What int8 is calibrated on; None leaves the graph in float.

    Raises:
        UnsupportedModelError: torch or OpenVINO cannot run it, or their numbers differ.
    """
    libraries = [importlib.metadata.version(name) for name in ("torch", "transformers")]
    if calibration is not None:
        libraries.append(importlib.metadata.version("nncf"))
    inputs = (_FORMAT, ov.get_version(), *libraries, checkpoint.weights_sha256(), checkpoint.config(), pixels.height,
              pixels.width, pixels.scale, pixels.offset, calibration and calibration.digest)  # fmt: skip
    name = cache_key(*inputs)
    try:
        folder = cache_folder() / "openvino" / name
        if _is_complete(folder):
            return ov.Core().read_model(folder / _FILES[0])
    except RuntimeError as error:
        _log.debug("no stored graph can be read: %s", error)
    _log.info("making OpenVINO's graph of %s, once for these weights", checkpoint.model)
    graph = _make_graph(checkpoint, pixels)
    if calibration is not None:
        graph = calibration.quantise(graph)
    try:
        _store(graph, cache_folder() / "openvino" / name)
    except (OSError, RuntimeError) as error:
        _log.warning("OpenVINO's graph cannot be stored (%s): set EMOTION_OPS_CACHE to a folder", error)
    return graph


def _make_graph(checkpoint: Checkpoint, pixels: PixelSpec) -> ov.Model:
    """Convert a network, and check that the graph gives torch's numbers."""
    from emotion_ops.models.engines.torch_engine import TorchEngine

    reference = TorchEngine(checkpoint, "cpu", "fp32")
    probe = np.random.default_rng(0).integers(0, 256, (2, pixels.height, pixels.width, 3), np.uint8)
    try:
        graph = _convert(reference.network, probe)
        found = compile_graph(graph, "f32")({0: probe})[0]
    except Exception as error:  # OpenVINO may raise anything for a network that it does not know
        problem = f"OpenVINO cannot run its network ({first_line(error)})"
        raise UnsupportedModelError(checkpoint.model, problem, _HINT) from error
    expected = reference.predict(probe)  # NaN if the weights are broken, which is reported where they are used
    if np.isfinite(expected).all() and not (difference := float(np.abs(found - expected).max())) <= TOLERANCE:
        problem = f"OpenVINO's probabilities differ from torch's by {difference:.1e}, more than {TOLERANCE}"
        raise UnsupportedModelError(checkpoint.model, problem, _HINT)
    return graph


def _convert(network: object, example: NDArray[np.uint8]) -> ov.Model:
    """A torch module's graph: uint8 (N, height, width, 3) → float32 (N, labels), for any N.

    It uses OpenVINO's PyTorch front end. ``openvino.convert_model`` does the same and sends usage statistics.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from emotion_ops.models.engines.torch_network import quiet

    with torch.inference_mode(), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns that it takes sizes for constants, which they are here
        decoder = TorchScriptPythonDecoder(network, example_input=(torch.from_numpy(example),))
        front_end = FrontEndManager().load_by_framework("pytorch")
        graph = front_end.convert(front_end.load(decoder))
    graph.reshape([-1, *example.shape[1:]])
    return graph


def _store(graph: ov.Model, folder: Path) -> None:
    """Write a graph and its checksum. If several processes write the same graph, one copy remains."""
    try:
        with unfinished_folder(folder.parent) as written:
            ov.save_model(graph, written / _FILES[0], compress_to_fp16=False)
            (written / "sha256").write_text(_digest(written))
            if folder.exists() and not _is_complete(folder):
                shutil.rmtree(folder, ignore_errors=True)
            written.rename(folder)
    except OSError:
        if not _is_complete(folder):  # else another process was faster
            raise


def _is_complete(folder: Path) -> bool:
    """Whether a graph is unchanged since it was written: broken weights would give wrong numbers without an error."""
    try:
        return (folder / "sha256").read_text() == _digest(folder)
    except OSError:
        return False


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in _FILES:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
