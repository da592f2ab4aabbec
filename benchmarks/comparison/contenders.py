"""Who is compared: each is loaded in a process of its own, and answers a folder of Parquet files with JPEG bytes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Job:
    """What every contender is given.

    Attributes:
        model: The checkpoint's folder.
        calibration: Parquet files with other pictures, for int8.
        scratch: An empty folder to write in.
        cores: How many the machine has.
    """

    model: Path
    calibration: Path
    scratch: Path
    cores: int


@dataclass(frozen=True)
class Answer:
    """What a contender says of a folder.

    Attributes:
        probabilities: (rows, labels), in the order of the rows and of the checkpoint's id2label.
        ready: The time (``time.time``) when it had started up, where that is later than when it was called.
    """

    probabilities: NDArray[np.float32]
    ready: float = 0.0


Run = Callable[[Path], Answer]


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Attributes:
        name: Unique.
        group: ``pipeline``, ``other``, ``ours`` or ``network``.
        room: The module of this package that knows it.
        needs: The packages that it needs beside the project's own.
        options: What its room is told.
        batch_size: Rows in one forward pass; None where it is the engine's own choice.
    """

    name: str
    group: str
    room: str
    needs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    batch_size: int | None = None

    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


ENGINES = (("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
"""What goes together on a CPU."""

PIPELINE_BATCHES = (1, 8, 32)
_OTHERS_BATCH = 8  # the pipeline's best on CPUs; it matters little there


def contenders() -> list[Contender]:
    """All of them, installed or not."""
    found = [
        Contender(f"transformers.pipeline, batch {size}", "pipeline", "pipelines", batch_size=size)
        for size in PIPELINE_BATCHES
    ]
    found += [
        Contender(name, "other", "frameworks", (package,), {"framework": package}, _OTHERS_BATCH)
        for name, package in (("datasets.map", "datasets"), ("Ray Data map_batches", "ray"), ("Daft class UDF", "daft"))
    ]
    for engine, precision in ENGINES:
        needs = {"openvino": ("openvino",), "int8": ("openvino", "nncf")}.get(
            precision if precision == "int8" else engine
        )
        options = {"engine": engine, "precision": precision}
        for group, what in (("network", "network only"), ("ours", "stream")):
            found.append(
                Contender(f"{engine} {precision}, {what}", group, "ours", needs or (), {**options, "way": group})
            )
    fastest = {"engine": "auto", "precision": "fp32", "way": "dataset"}
    return [*found, Contender("auto fp32, enrich_dataset", "ours", "ours", (), fastest)]


def network_of(name: str) -> str:
    """The name of the contender that runs the same network and nothing else."""
    return name.partition(",")[0] + ", network only"
