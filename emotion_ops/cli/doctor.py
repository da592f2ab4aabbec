"""``emotion-ops doctor``: check an installation before its numbers are used."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
import os
import platform
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from emotion_ops.cli.arguments import Json
from emotion_ops.cli.output import ExitCode, out, print_json, two_columns
from emotion_ops.demo import sample_faces
from emotion_ops.errors import EmotionOpsError
from emotion_ops.flags.fields import FlagSet, read_flags
from emotion_ops.flags.values import build_arguments
from emotion_ops.images.meter import Meter
from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.models.engines.choice import ENGINES, can_run
from emotion_ops.models.engines.int8 import FLOAT_PRECISIONS, Int8
from emotion_ops.models.engines.reference import library_versions, reference_probabilities
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.resources import Cache
from emotion_ops.version import __version__

EXACT = 1e-5
"""The largest difference from a plain forward pass of transformers that is healthy in fp32."""

CLEAR_MARGIN = 0.1
"""If the two highest probabilities are closer than this, a lower precision may choose the other label."""

_SECONDS = 2.0  # about, of the throughput sample


def flag_sets(operator: str) -> tuple[FlagSet, ...]:
    """The flags of the command."""
    return (read_flags(ClassifyEmotions).only("model", "revision", "device", "calibration"),)


def doctor(
    as_json: Json = False,
    **options: Any,
) -> None:
    """Check an installation: versions, devices, known images, throughput.

    The numbers of each engine and precision are compared with those of transformers. The exit code is 1 if they differ.

    emotion-ops doctor --model demo
    """
    calibration = options.pop("calibration", None)
    operator = ClassifyEmotions(**build_arguments(read_flags(ClassifyEmotions), options))
    checkpoint = resolve_checkpoint(operator.model, operator.revision)
    operator = dataclasses.replace(operator, revision=checkpoint.commit)
    golden = _golden_images()
    expected = reference_probabilities(checkpoint, [Image.open(io.BytesIO(data)) for data in golden.values()])
    engines = [
        _compare(dataclasses.replace(operator, engine=engine, precision=precision), golden, expected)
        for engine in ENGINES
        for precision in (*FLOAT_PRECISIONS[1:], *([Int8(calibration)] if calibration else []))
        if can_run(engine, operator.device, "int8" if isinstance(precision, Int8) else precision)
    ]
    healthy = all(engine["healthy"] for engine in engines)
    report = {
        "healthy": healthy,
        "versions": _versions(),
        "model": {
            "name": operator.model,
            "revision": checkpoint.revision(),
            "weights_sha256": checkpoint.weights_sha256(),
            "labels": list(operator.output_columns().labels),
        },
        "golden_images": list(golden),
        "engines": engines,
        "throughput": _throughput(operator),
    }
    if as_json:
        print_json(report)
    else:
        _show(report)
    raise typer.Exit(ExitCode.OK if healthy else ExitCode.FOUND_WRONG)


def _golden_images() -> dict[str, bytes]:
    """Images in modes and formats that are often read wrongly: alpha, CMYK, 16 bits, EXIF orientation."""
    faces = [face.resize((200 + 13 * number,) * 2) for number, face in enumerate(_faces()[:7])]
    alpha = faces[1].copy()
    alpha.putalpha(Image.linear_gradient("L").resize(alpha.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(np.asarray(faces[5].convert("L")).astype(np.uint16))
    return {
        "RGB JPEG": _encoded(faces[0], "JPEG", quality=90),
        "RGBA PNG": _encoded(alpha, "PNG"),
        "grey WebP": _encoded(faces[2].convert("L"), "WEBP"),
        "CMYK JPEG": _encoded(faces[3].convert("CMYK"), "JPEG"),
        "palette GIF": _encoded(faces[4].quantize(64), "GIF"),
        "16-bit PNG": _encoded(wide, "PNG"),
        "EXIF-rotated JPEG": _encoded(faces[6].resize((301, 197)), "JPEG", exif=exif),
        "RGB BMP, 33 × 57": _encoded(faces[0].resize((33, 57)), "BMP"),
    }


def _faces() -> list[Image.Image]:
    cells = sample_faces()["image"].to_pylist()
    return [Image.open(io.BytesIO(cell["bytes"])) for cell in cells]


def _compare(operator: ClassifyEmotions, golden: dict[str, bytes], expected: NDArray[np.float32]) -> dict[str, Any]:
    """One engine and precision, compared with the plain forward pass."""
    precision = "int8" if isinstance(operator.precision, Int8) else operator.precision
    facts: dict[str, Any] = {"engine": operator.engine, "precision": precision}
    try:
        device = operator.load_engine().device
        found = operator.predict(list(golden.values()))
    except (EmotionOpsError, RuntimeError) as error:  # a precision that this device does not have
        return {**facts, "healthy": precision != "fp32", "problem": str(error).splitlines()[0]}
    if np.isnan(found).any():
        return {**facts, "healthy": False, "problem": f"{int(np.isnan(found).any(axis=1).sum())} golden images failed"}
    largest = float(np.abs(found - expected).max())
    top = np.sort(expected, axis=1)
    clear = top[:, -1] - top[:, -2] > CLEAR_MARGIN
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    return {
        **facts,
        "device": device,
        "largest_difference": largest,
        "labels_agree": f"{int(same.sum())} of {len(same)}",
        "healthy": largest <= EXACT if precision == "fp32" else bool(same[clear].all()),
    }


def _throughput(operator: ClassifyEmotions) -> dict[str, Any]:
    """Images per second: decoding alone, the network alone, and both at the same time."""
    encoded = _encoded(_faces()[3].resize((640, 480)), "JPEG", quality=92)
    operator = dataclasses.replace(operator, cache=Cache(0))
    batch_size = operator.load_engine().batch_size
    _, seconds = _measure(operator, encoded, batch_size)
    rows = batch_size * max(2, round(_SECONDS / seconds))
    stages, seconds = _measure(operator, encoded, rows)
    decode = rows * operator.resources.thread_count / stages["decode"]
    network = rows / stages["compute"]
    limit, advice = "network", "a faster device (--device cuda) or a lower precision helps"
    if decode < network:
        limit, advice = "decode", "more processors or smaller images help"
    return {
        "image": f"640 × 480 JPEG of {len(encoded) / 1000:.0f} kB",
        "batch_size": batch_size,
        "decode_images_per_second": round(decode, 1),
        "network_images_per_second": round(network, 1),
        "end_to_end_images_per_second": round(rows / seconds, 1),
        "limit": limit,
        "advice": advice,
    }


def _measure(operator: ClassifyEmotions, encoded: bytes, rows: int) -> tuple[Mapping[str, float], float]:
    """Seconds by stage, and in total without loading, for so many equal images."""
    meter, started = Meter(), time.perf_counter()
    batch = pa.record_batch({operator.image: [encoded] * rows})
    for _ in operator.run([(None, batch)], meter):
        pass
    stages = meter.take().seconds
    return stages, time.perf_counter() - started - stages["load"]


def _versions() -> dict[str, str]:
    packages = ("pyarrow", "pandas", "numpy", "pillow", "safetensors", "huggingface_hub", "narwhals", "fsspec")
    return {
        "emotion_ops": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": str(os.cpu_count()),
        **library_versions(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _show(report: dict[str, Any]) -> None:
    for title in ("versions", "model"):
        out.print(title, style="bold")
        grid = two_columns()
        for name, value in report[title].items():
            grid.add_row(f"  {name}", ", ".join(value) if isinstance(value, list) else value)
        out.print(grid)
    out.print(
        f"golden images compared with a plain forward pass of transformers: {', '.join(report['golden_images'])}",
        style="bold",
    )
    table = Table(box=None, padding=(0, 2))
    for name in ("engine", "precision", "largest difference", "labels agree", ""):
        table.add_column(name)
    for engine in report["engines"]:
        difference = f"{engine['largest_difference']:.1e}" if "largest_difference" in engine else engine["problem"]
        verdict = (
            "ok" if engine["healthy"] and "problem" not in engine else "not available" if engine["healthy"] else "WRONG"
        )
        table.add_row(f"  {engine['engine']}", engine["precision"], difference, engine.get("labels_agree", ""), verdict)
    out.print(table)
    sample = report["throughput"]
    out.print(f"throughput, {sample['image']}, batches of {sample['batch_size']}", style="bold")
    for name in ("decode", "network", "end_to_end"):
        out.print(f"  {name.replace('_', ' '):<12} {sample[f'{name}_images_per_second']:>10,.1f} images/s")
    out.print(f"  the limit is the {sample['limit']}: {sample['advice']}")
    out.print("healthy" if report["healthy"] else "NOT healthy: do not use numbers of this installation", style="bold")


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()
