"""A checkpoint → OpenVINO's graph of its network, made once and kept on disk.

    checkpoint ──▶ torch ──▶ OpenVINO's graph ──▶ [held against torch] ──▶ [int8] ──▶ disk

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

from emotion_ops.errors import UnsupportedModelError
from emotion_ops.models.disk_cache import cache_folder, digest_of, unfinished
from emotion_ops.models.engines.int8 import Calibration
from emotion_ops.models.spec import PixelSpec, first_line
from emotion_ops.models.weights import Checkpoint

TOLERANCE = 1e-5
"""Largest difference of a probability between OpenVINO and torch, in fp32."""

_FORMAT = 2  # raised whenever another graph is made of the same checkpoint
_FILES = ("network.xml", "network.bin")
_CURE = "give engine='torch', which runs it as transformers does"
_log = logging.getLogger("emotion_ops")


def compiled(network: ov.Model, precision: str) -> ov.CompiledModel:
    """A graph, ready to run on this processor in ``f32`` or ``bf16``; one request is as quick as it can be."""
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if precision == "f32":
        hints["EXECUTION_MODE_HINT"] = "ACCURACY"
    return ov.Core().compile_model(network, "CPU", hints)


def graph_of(checkpoint: Checkpoint, pixels: PixelSpec, calibration: Calibration | None) -> ov.Model:
    """A network's graph; made where it is not kept, or not as it was written.

    It stands in the cache folder by a hash of all that it was made of, and appears there whole or not at all. Where
    that folder cannot be written, it is made by each process anew.

    Args:
        checkpoint: Where the weights are.
        pixels: What the network wants to see.
        calibration: What int8 is calibrated on; None leaves the graph in float.

    Raises:
        UnsupportedModelError: torch or OpenVINO cannot run it, or their numbers differ.
    """
    libraries = [importlib.metadata.version(name) for name in ("torch", "transformers")]
    if calibration is not None:
        libraries.append(importlib.metadata.version("nncf"))
    made_of = (_FORMAT, ov.get_version(), *libraries, checkpoint.weights_sha256(), checkpoint.config(), pixels.height,
               pixels.width, pixels.scale, pixels.offset, calibration and calibration.digest)  # fmt: skip
    name = digest_of(*made_of)
    try:
        folder = cache_folder() / "openvino" / name
        if _is_whole(folder):
            return ov.Core().read_model(folder / _FILES[0])
    except RuntimeError as error:
        _log.debug("no graph can be read: %s", error)
    _log.info("making OpenVINO's graph of %s, once for these weights", checkpoint.model)
    network = _checked(checkpoint, pixels)
    if calibration is not None:
        network = calibration.quantise(network)
    try:
        _keep(network, cache_folder() / "openvino" / name)
    except (OSError, RuntimeError) as error:
        _log.warning("OpenVINO's graph cannot be kept (%s): name a folder in EMOTION_OPS_CACHE", error)
    return network


def _checked(checkpoint: Checkpoint, pixels: PixelSpec) -> ov.Model:
    """The graph of a network that gives torch's numbers."""
    from emotion_ops.models.torch_engine import TorchEngine

    torchs = TorchEngine(checkpoint, "cpu", "fp32")
    probe = np.random.default_rng(0).integers(0, 256, (2, pixels.height, pixels.width, 3), np.uint8)
    try:
        network = _converted(torchs.network, probe)
        answer = compiled(network, "f32")({0: probe})[0]
    except Exception as error:  # whatever a front end meets in a network that it does not know
        problem = f"OpenVINO cannot run its network ({first_line(error)})"
        raise UnsupportedModelError(checkpoint.model, problem, _CURE) from error
    right = torchs.predict(probe)  # broken weights give no numbers in either, which is told where they are used
    if np.isfinite(right).all() and not (difference := float(np.abs(answer - right).max())) <= TOLERANCE:
        problem = f"OpenVINO's probabilities differ from torch's by {difference:.1e}, more than {TOLERANCE}"
        raise UnsupportedModelError(checkpoint.model, problem, _CURE)
    return network


def _converted(network: object, example: NDArray[np.uint8]) -> ov.Model:
    """A torch module's graph: uint8 (N, height, width, 3) → float32 (N, labels), for any N.

    Through OpenVINO's PyTorch front end itself: ``openvino.convert_model`` does the same and reports its use to
    the makers unless told otherwise.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from emotion_ops.models.network import quiet

    with torch.inference_mode(), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: sizes are taken for constants, which they are here
        decoder = TorchScriptPythonDecoder(network, example_input=(torch.from_numpy(example),))
        front_end = FrontEndManager().load_by_framework("pytorch")
        graph = front_end.convert(front_end.load(decoder))
    graph.reshape([-1, *example.shape[1:]])
    return graph


def _keep(network: ov.Model, folder: Path) -> None:
    """Write a graph and its checksum; of several processes that do, one is left."""
    try:
        with unfinished(folder.parent) as written:
            ov.save_model(network, written / _FILES[0], compress_to_fp16=False)
            (written / "sha256").write_text(_digest(written))
            if folder.exists() and not _is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
            written.rename(folder)
    except OSError:
        if not _is_whole(folder):  # another process was not quicker
            raise


def _is_whole(folder: Path) -> bool:
    """Whether a graph is there as it was written: broken weights would give wrong numbers and no error."""
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
