"""The contenders: each runs in a new process and classifies a folder of Parquet files with JPEG bytes."""

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
    """The input of every contender.

    Attributes:
        model: The checkpoint's folder.
        calibration: Parquet files with other images, for int8.
        scratch: An empty folder for temporary files.
        cores: How many cores the machine has.
    """

    model: Path
    calibration: Path
    scratch: Path
    cores: int


@dataclass(frozen=True)
class Result:
    """The output of a contender for one folder.

    Attributes:
        probabilities: (rows, labels), in the order of the rows and of the checkpoint's id2label.
        ready: The time (``time.time``) at the end of loading, if the contender was still loading when it was called.
    """

    probabilities: NDArray[np.float32]
    ready: float = 0.0


Run = Callable[[Path], Result]


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Attributes:
        name: Unique.
        group: ``pipeline``, ``other``, ``ours`` or ``network``.
        module: The module of this package whose ``load(job, **options)`` returns a ``Run``.
        needs: Packages it needs that this project does not.
        options: For ``load``.
        batch_size: Rows in one forward pass; None if the engine chooses.
    """

    name: str
    group: str
    module: str
    needs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    batch_size: int | None = None

    def missing(self) -> list[str]:
        """Return the packages that it needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


ENGINES = (("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
"""The engines and precisions of a CPU."""

PIPELINE_BATCHES = (1, 8, 32)
_FRAMEWORK_BATCH = 8  # the best of the pipeline on CPUs; the differences are small


def contenders() -> list[Contender]:
    """Return all contenders, installed or not."""
    found = [
        Contender(f"transformers.pipeline, batch {size}", "pipeline", "pipelines", batch_size=size)
        for size in PIPELINE_BATCHES
    ]
    found += [
        Contender(name, "other", "frameworks", (package,), {"framework": package}, _FRAMEWORK_BATCH)
        for name, package in (("datasets.map", "datasets"), ("Ray Data map_batches", "ray"), ("Daft class UDF", "daft"))
    ]
    for engine, precision in ENGINES:
        needs = {"openvino": ("openvino",), "int8": ("openvino", "nncf")}.get(
            precision if precision == "int8" else engine
        )
        options = {"engine": engine, "precision": precision}
        for group, title in (("network", "network only"), ("ours", "stream")):
            name = f"{engine} {precision}, {title}"
            found.append(Contender(name, group, "ours", needs or (), {**options, "mode": group}))
    options = {"engine": "auto", "precision": "fp32", "mode": "dataset"}
    return [*found, Contender("auto fp32, enrich_dataset", "ours", "ours", (), options)]


def network_name(name: str) -> str:
    """Return the name of the contender that runs only the network of this one."""
    return name.partition(",")[0] + ", network only"
