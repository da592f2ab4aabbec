"""Which engine, device and precision run a network on this machine."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from emotion_ops import fork_safety
from emotion_ops.errors import MissingDependencyError, OptionError
from emotion_ops.models.engines import openmp
from emotion_ops.models.gc_paused import gc_paused

EngineName: TypeAlias = Literal["auto", "torch", "openvino"]
Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16", "int8"]
ENGINES: tuple[EngineName, ...] = ("torch", "openvino")
"""What can run a network."""

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")
"""What a network can compute in."""

OPENVINO_ARCHITECTURES = frozenset({"vit", "swin", "beit", "convnext", "resnet", "levit", "mobilevit"})
"""Architectures (``model_type``) that ``auto`` gives to OpenVINO: those that the tests compare with torch."""

_log = logging.getLogger("emotion_ops")


@dataclass(frozen=True)
class EngineChoice:
    """What runs a network; nothing is ``auto``.

    Attributes:
        engine: ``torch`` or ``openvino``.
        device: A torch device name: ``cpu``, ``cuda:0``, ``mps``.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    """

    engine: str
    device: str
    precision: str


def choose(engine: str, device: str, precision: str, architecture: str) -> EngineChoice:
    """Replace each ``auto`` by what is best on this machine, and log the choice once for each process.

    ``auto`` never costs accuracy: it is the fastest device, fp32, and the faster engine. That is OpenVINO on a CPU
    where it is installed and known to run the architecture, and torch elsewhere.

    Args:
        engine: ``auto``, ``torch`` or ``openvino``.
        device: ``auto``, or a torch device name.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        architecture: The network's ``model_type``.

    Raises:
        OptionError: The device does not exist, or engine, device and precision cannot be combined.
        MissingDependencyError: A package that was asked for is not installed.
    """
    return _choose_once(os.getpid(), engine, device, precision, architecture)


@functools.lru_cache(maxsize=32)
def _choose_once(process: int, engine: str, device: str, precision: str, architecture: str) -> EngineChoice:
    choice, reason = _resolve(engine, device, precision, architecture)
    default = "; fp32 is the default precision and costs no accuracy" if precision == "auto" else ""
    _log.info("network: %s on %s in %s (%s%s)", choice.engine, choice.device, choice.precision, reason, default)
    return choice


def _resolve(engine: str, device: str, precision: str, architecture: str) -> tuple[EngineChoice, str]:
    device = _resolve_device(device)
    precision = "fp32" if precision == "auto" else precision
    reason = "as asked for"
    if engine == "auto":
        engine, reason = _faster_engine(device, precision, architecture)
    _check(engine, device, precision)
    return EngineChoice(engine, device, precision), reason


def can_run(engine: str, device: str, precision: str) -> bool:
    """Whether these can be combined and run here; only the device may be ``auto``."""
    try:
        _resolve(engine, device, precision, "")
    except (OptionError, MissingDependencyError):
        return False
    return True


def _resolve_device(name: str) -> str:
    """See ``torch_engine.resolve_device``. torch takes seconds to load, so it is asked only if there may be a GPU."""
    openmp.use_passive_waiting()
    if name == "cpu" or (name == "auto" and _has_no_gpu_driver()):
        return "cpu"
    with gc_paused():
        from emotion_ops.models.engines.torch_engine import resolve_device

    return resolve_device(name)


def _has_no_gpu_driver() -> bool:
    """Whether this Linux has no driver of a GPU that torch could use: NVIDIA's, AMD's, or that of WSL."""
    drivers = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvgpu", "/dev/nvhost-gpu")
    return sys.platform == "linux" and not any(Path(driver).exists() for driver in drivers)


def _faster_engine(device: str, precision: str, architecture: str) -> tuple[str, str]:
    """The engine for a device, and why."""
    if precision == "int8":
        return "openvino", "only OpenVINO computes in int8"
    if device != "cpu":
        return "torch", "only torch runs on this device"
    if precision == "fp16":
        return "torch", "only torch computes in fp16"
    if fork_safety.forked_after_openvino:
        return "torch", "OpenVINO ran before this process was forked"
    if architecture not in OPENVINO_ARCHITECTURES:
        return "torch", f"OpenVINO is not known to run {architecture!r}"
    if not importlib.util.find_spec("openvino"):
        return "torch", "OpenVINO would be faster on a CPU: pip install 'emotion-ops[openvino]'"
    return "openvino", "the faster one on a CPU"


def _check(engine: str, device: str, precision: str) -> None:
    if engine == "openvino":
        if device != "cpu":
            raise OptionError("engine", engine, f"give engine='torch' for {device}: OpenVINO runs on the CPU only")
        if precision == "fp16":
            raise OptionError("precision", precision, "give fp32, bf16 or int8: OpenVINO does not compute in fp16")
        if fork_safety.forked_after_openvino:
            hint = "start processes by spawn or forkserver, or give engine='torch': OpenVINO does not survive a fork"
            raise OptionError("engine", engine, hint)
        if not importlib.util.find_spec("openvino"):
            raise MissingDependencyError("openvino", "engine='openvino'", "openvino")
    if precision == "int8":
        if engine != "openvino":
            raise OptionError("precision", precision, "give engine='openvino' and device='cpu', which compute in int8")
        if not importlib.util.find_spec("nncf"):
            raise MissingDependencyError("nncf", "precision='int8'", "openvino")
