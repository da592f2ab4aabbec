"""``emotion-ops doctor``: prove a set-up before anyone trusts it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
import os
import platform
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from emotion_ops.cli.output import ExitCode, out, print_json, two_columns
from emotion_ops.demo import sample_faces
from emotion_ops.errors import EmotionOpsError
from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.models.engines.choice import ENGINES, PRECISIONS, can_run
from emotion_ops.models.engines.reference import library_versions, reference_probabilities
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.classify.session import engine_of
from emotion_ops.operators.throughput import measure
from emotion_ops.version import __version__

EXACT = 1e-5
"""The largest difference in fp32 from a plain transformers forward pass that is healthy."""

CLEAR_MARGIN = 0.1
"""Between the two highest probabilities; below it, a coarser precision may choose the other label."""

_SECONDS = 2.0  # of each throughput sample, about


def doctor(model: str, revision: str | None, device: str, calibration: str | None = None, *, as_json: bool) -> ExitCode:
    """Check versions, devices, the model, golden images in each engine and precision, and the throughput.

    Args:
        model: Its name.
        revision: Its commit.
        device: Where it runs.
        calibration: What int8 is calibrated on; None leaves int8 out.
        as_json: JSON instead of tables.

    Returns:
        ``OK`` where everything is as it should be, else ``FOUND_WRONG``.
    """
    checkpoint = resolve_checkpoint(model, revision)
    operator = ClassifyEmotions(model=model, revision=checkpoint.commit, device=device)
    golden = _golden_images()
    expected = reference_probabilities(checkpoint, [Image.open(io.BytesIO(data)) for data in golden.values()])
    engines = [
        _compare(dataclasses.replace(operator, engine=engine, precision=precision, calibration=given), golden, expected)
        for engine in ENGINES
        for precision in PRECISIONS
        for given in [calibration if precision == "int8" else None]
        if can_run(engine, operator.device, precision) and (precision != "int8" or given)
    ]
    throughput = _throughput(operator)
    healthy = all(engine["healthy"] for engine in engines)
    answer = {
        "healthy": healthy,
        "versions": _versions(),
        "model": {
            "name": model,
            "revision": checkpoint.revision(),
            "weights_sha256": checkpoint.weights_sha256(),
            "labels": list(operator.output_columns().labels),
        },
        "golden_images": list(golden),
        "engines": engines,
        "throughput": throughput,
    }
    if as_json:
        print_json(answer)
    else:
        _show(answer)
    return ExitCode.OK if healthy else ExitCode.FOUND_WRONG


def _golden_images() -> dict[str, bytes]:
    """Pictures in the modes and formats that go wrong elsewhere: alpha, CMYK, 16 bits, EXIF orientation."""
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


def _compare(checked: ClassifyEmotions, golden: dict[str, bytes], expected: NDArray[np.float32]) -> dict[str, Any]:
    """One engine and precision against the plain forward pass."""
    precision = checked.precision
    answer: dict[str, Any] = {"engine": checked.engine, "precision": precision}
    try:
        engine = engine_of(checked)
        columns = checked.columns_for(list(golden.values()))
    except (EmotionOpsError, RuntimeError) as error:  # a precision that this device cannot do at all
        return {**answer, "healthy": precision != "fp32", "problem": str(error).splitlines()[0]}
    ours = np.stack([columns.column(name).to_numpy() for name in checked.output_columns().probabilities], axis=1)
    if np.isnan(ours).any():
        return {**answer, "healthy": False, "problem": f"{int(np.isnan(ours).any(axis=1).sum())} golden images failed"}
    largest = float(np.abs(ours - expected).max())
    top = np.sort(expected, axis=1)
    clear = top[:, -1] - top[:, -2] > CLEAR_MARGIN
    same = ours.argmax(axis=1) == expected.argmax(axis=1)
    return {
        **answer,
        "device": engine.device,
        "largest_difference": largest,
        "labels_agree": f"{int(same.sum())} of {len(same)}",
        "healthy": largest <= EXACT if precision == "fp32" else bool(same[clear].all()),
    }


def _throughput(operator: ClassifyEmotions) -> dict[str, Any]:
    """Images a second: decoding alone, the network alone, and both together."""
    encoded = _encoded(_faces()[3].resize((640, 480)), "JPEG", quality=92)
    measured = measure(operator, pa.array([encoded] * 16, pa.binary()), _SECONDS)
    return {
        "image": f"640 × 480 JPEG of {len(encoded) / 1000:.0f} kB",
        "batch_size": measured.batch_size,
        "decode_images_per_second": round(measured.decode, 1),
        "network_images_per_second": round(measured.network, 1),
        "end_to_end_images_per_second": round(measured.together, 1),
        "limit": measured.limit,
        "advice": "give it more processors, or smaller images"
        if measured.limit == "decode"
        else "give it a faster device (device=cuda) or a coarser precision",
    }


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


def _show(answer: dict[str, Any]) -> None:
    for title in ("versions", "model"):
        out.print(title, style="bold")
        grid = two_columns()
        for name, value in answer[title].items():
            grid.add_row(f"  {name}", ", ".join(value) if isinstance(value, list) else value)
        out.print(grid)
    out.print(
        f"golden images against a plain transformers forward pass: {', '.join(answer['golden_images'])}", style="bold"
    )
    table = Table(box=None, padding=(0, 2))
    for name in ("engine", "precision", "largest difference", "labels agree", ""):
        table.add_column(name)
    for engine in answer["engines"]:
        difference = f"{engine['largest_difference']:.1e}" if "largest_difference" in engine else engine["problem"]
        verdict = (
            "ok" if engine["healthy"] and "problem" not in engine else "not here" if engine["healthy"] else "WRONG"
        )
        table.add_row(f"  {engine['engine']}", engine["precision"], difference, engine.get("labels_agree", ""), verdict)
    out.print(table)
    sample = answer["throughput"]
    out.print(f"throughput, {sample['image']}, batches of {sample['batch_size']}", style="bold")
    for name in ("decode", "network", "end_to_end"):
        out.print(f"  {name.replace('_', ' '):<12} {sample[f'{name}_images_per_second']:>10,.1f} images/s")
    out.print(f"  the limit is the {sample['limit']}: {sample['advice']}")
    out.print("healthy" if answer["healthy"] else "NOT healthy: do not trust numbers of this set-up", style="bold")


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()
