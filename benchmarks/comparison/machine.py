"""The machine and the versions of the packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

from emotion_ops.version import __version__

_INSTRUCTIONS = re.compile(r"(avx2|avx512f|avx512_bf16|avx512_fp16|avx512_vnni|avx_vnni|amx_\w+|asimd|bf16|i8mm|sve)")
_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")  # these may slow torch down
PACKAGES = (
    "torch", "transformers", "openvino", "nncf", "numpy", "pillow", "pyarrow", "datasets", "ray", "daft",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Return processor, cores, instruction sets, memory, system, load, and settings of the environment."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", about, re.MULTILINE))
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return {
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "instructions": [flag for flag in flags if _INSTRUCTIONS.fullmatch(flag)],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "environment": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
    }


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the versions of Python, this project and the packages that are installed."""
    found = {"python": platform.python_version(), "emotion-ops": __version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def as_lines(about: dict[str, Any], packages: dict[str, str]) -> list[str]:
    """Return both as lines of text."""
    instructions = ", ".join(about["instructions"]) or "unknown instruction sets"
    lines = [
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, {instructions}",
        ", ".join(f"{name} {version}" for name, version in packages.items()),
    ]
    if about["environment"]:
        lines.append("set: " + ", ".join(f"{name}={value}" for name, value in about["environment"].items()))
    return lines
