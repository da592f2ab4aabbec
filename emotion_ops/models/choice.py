"""Which engine, device and precision run a network on this machine."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from emotion_ops import fork_safety as forked
from emotion_ops.errors import MissingDependencyError, OptionError
from emotion_ops.models import openmp
from emotion_ops.models.gc_paused import uncollected

_log = logging.getLogger("emotion_ops")


OPENVINO_RUNS = frozenset({"vit", "swin", "beit", "convnext", "resnet", "levit", "mobilevit"})
"""Architectures (``model_type``) that ``auto`` gives to OpenVINO: those that the tests hold against torch."""


@dataclass(frozen=True)
class Choice:
    """What runs a network, with nothing left open.

    Attributes:
        engine: ``torch`` or ``openvino``.
        device: As torch names it: ``cpu``, ``cuda:0``, ``mps``.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
    """

    engine: str
    device: str
    precision: str


def choose(engine: str, device: str, precision: str, architecture: str) -> Choice:
    """Settle what ``auto`` leaves open by what the machine has, and log it, once a process.

    ``auto`` never trades accuracy: it is the fastest device, fp32, and the faster engine, which is OpenVINO on a CPU
    where it is installed and known to run the architecture, and torch elsewhere.

    Args:
        engine: ``auto``, ``torch`` or ``openvino``.
        device: ``auto``, or what torch calls a device.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        architecture: The network's ``model_type``.

    Raises:
        OptionError: The device is not there, or engine, device and precision do not go together.
        MissingDependencyError: A package that was asked for is not installed.
    """
    return _chosen(os.getpid(), engine, device, precision, architecture)


@functools.lru_cache(maxsize=32)
def _chosen(process: int, engine: str, device: str, precision: str, architecture: str) -> Choice:
    choice, why = _settled(engine, device, precision, architecture)
    exact = "; no precision was asked for, and fp32 costs no accuracy" if precision == "auto" else ""
    _log.info("network: %s on %s in %s (%s%s)", choice.engine, choice.device, choice.precision, why, exact)
    return choice


def _settled(engine: str, device: str, precision: str, architecture: str) -> tuple[Choice, str]:
    found = _device(device)
    precision = "fp32" if precision == "auto" else precision
    why = "as asked"
    if engine == "auto":
        engine, why = _faster(found, precision, architecture)
    _check(engine, found, precision)
    return Choice(engine, found, precision), why


def goes_together(engine: str, device: str, precision: str) -> bool:
    """Whether these can run a network here; nothing of them is ``auto`` but perhaps the device."""
    try:
        _settled(engine, device, precision, "")
    except (OptionError, MissingDependencyError):
        return False
    return True


def _device(name: str) -> str:
    """As ``device_of`` names it; torch, which takes seconds to load, is asked only where there may be a choice."""
    openmp.wait_passively()
    if name == "cpu" or (name == "auto" and _has_cpu_alone()):
        return "cpu"
    with uncollected():
        from emotion_ops.models.torch_engine import device_of

    return device_of(name)


def _has_cpu_alone() -> bool:
    """Whether Linux has no driver of a GPU that torch could use: NVIDIA's, AMD's, or that of Windows' Linux."""
    drivers = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvgpu", "/dev/nvhost-gpu")
    return sys.platform == "linux" and not any(Path(driver).exists() for driver in drivers)


def _faster(device: str, precision: str, architecture: str) -> tuple[str, str]:
    """The engine for a device, and why."""
    if precision == "int8":
        return "openvino", "which alone computes in int8"
    if device != "cpu":
        return "torch", "which alone runs there"
    if precision == "fp16":
        return "torch", "which alone computes in fp16"
    if forked.after_openvino:
        return "torch", "OpenVINO ran before this process was forked"
    if architecture not in OPENVINO_RUNS:
        return "torch", f"OpenVINO is not known to run {architecture!r}"
    if not importlib.util.find_spec("openvino"):
        return "torch", "OpenVINO would be faster on a CPU: pip install 'emotion-ops[openvino]'"
    return "openvino", "the faster one on a CPU"


def _check(engine: str, device: str, precision: str) -> None:
    if engine == "openvino":
        if device != "cpu":
            raise OptionError("engine", engine, f"give engine='torch' for {device}: OpenVINO runs on the CPU here")
        if precision == "fp16":
            raise OptionError("precision", precision, "give fp32, bf16 or int8: no CPU of OpenVINO's computes in fp16")
        if forked.after_openvino:
            hint = "start processes by spawn or forkserver, or give engine='torch': OpenVINO does not survive a fork"
            raise OptionError("engine", engine, hint)
        if not importlib.util.find_spec("openvino"):
            raise MissingDependencyError("openvino", "engine='openvino'", "openvino")
    if precision == "int8":
        if engine != "openvino":
            raise OptionError("precision", precision, "give engine='openvino' and device='cpu', which compute in int8")
        if not importlib.util.find_spec("nncf"):
            raise MissingDependencyError("nncf", "precision='int8'", "openvino")
