"""How far the answers move under other options: a faster decode, a coarser precision, another engine.

    python benchmarks/drift.py                                      # every engine and precision that runs here
    python benchmarks/drift.py --other precision=bf16,engine=torch --other batch_size=1
    python benchmarks/drift.py --model ./my-checkpoint --images ./my-photographs --calibration ./others
    python benchmarks/drift.py --model ./my-checkpoint --images ./my-table.parquet --column picture

The reference is torch in fp32, with all other options at their defaults. Without ``--images`` the images are drawn
faces that the demo model has not seen, saved as JPEG at ``--size``, and int8 is calibrated on others, likewise drawn.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from comparison.machine import machine, versions
from numpy.typing import NDArray

from emotion_ops import EMOTIONS, Cache, ClassifyEmotions, Int8
from emotion_ops.models.engines.choice import ENGINES, PRECISIONS, can_run

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from drawn_faces import draw_face

REFERENCE: dict[str, Any] = {"engine": "torch", "precision": "fp32"}
"""What is held to be right."""

_HELD_OUT = 20_000_000  # the seed of the first face, as scripts/train_demo_model.py holds them out
_CALIBRATION = 30_000_000  # likewise, and neither trained on nor measured on
_CALIBRATION_FACES = 252
_LEAST = 1e-12  # a probability, lest its logarithm be none


@dataclass(frozen=True)
class Drift:
    """How far one set of options is from another, over some images.

    Attributes:
        largest: The largest absolute difference of a probability.
        kl: The mean Kullback–Leibler divergence from the reference, in nats.
        agreement: The part of the images whose label is the same, 0 to 1.
        images: How many were answered by both.
        failed: How many were answered by one of them alone; none of the other figures has them.
    """

    largest: float
    kl: float
    agreement: float
    images: int
    failed: int


def measure(reference: ClassifyEmotions, other: ClassifyEmotions, images: Sequence[Any]) -> Drift:
    """Compare the answers of two sets of options to the same images.

    Args:
        reference: What is held to be right.
        other: What is measured.
        images: Encoded images, paths, or whatever else ``ClassifyEmotions.predict`` takes.

    Raises:
        ValueError: No image was answered by both.
    """
    return drift_of(probabilities(reference, images), probabilities(other, images))


def probabilities(operator: ClassifyEmotions, images: Sequence[Any]) -> NDArray[np.float64]:
    """The answers to images, (images, labels); NaN for an image that failed."""
    return dataclasses.replace(operator, on_error="null", cache=Cache(0)).predict(images).astype(np.float64)


def drift_of(reference: NDArray[np.float64], other: NDArray[np.float64]) -> Drift:
    """The drift of one array of probabilities from another; see ``measure``."""
    here, there = (~np.isnan(one).any(axis=1) for one in (reference, other))
    right, found = reference[here & there], other[here & there]
    if not len(right):
        raise ValueError(f"none of the {len(reference)} images was answered by both")
    right, found = (one / one.sum(axis=1, keepdims=True) for one in (right, found))  # float32's sums are 1 but about
    divergence = right * (np.log(np.maximum(right, _LEAST)) - np.log(np.maximum(found, _LEAST)))
    return Drift(
        largest=float(np.abs(right - found).max()),
        kl=float(divergence.sum(axis=1).mean()),
        agreement=float((right.argmax(axis=1) == found.argmax(axis=1)).mean()),
        images=len(right),
        failed=int((here ^ there).sum()),
    )


def others(device: str) -> list[dict[str, Any]]:
    """The faster decode, and every engine and precision that goes together on this machine, but for the reference."""
    found: list[dict[str, Any]] = [
        {"engine": engine, "precision": precision}
        for engine in ENGINES
        for precision in PRECISIONS
        if can_run(engine, device, precision)
    ]
    return [{"decoding": "fast"}, *(one for one in found if one != REFERENCE)]


def images_of(where: Path, column: str, count: int) -> list[Any]:
    """Images of a folder of files, or of a Parquet file or folder with a column of them: so many, spread evenly."""
    files = sorted(path for path in where.rglob("*") if path.is_file()) if where.is_dir() else [where]
    if any(path.suffix == ".parquet" for path in files):
        cells = ds.dataset(where, format="parquet").to_table(columns=[column]).column(0)
        return [cells[row].as_py() for row in range(0, len(cells), -(-len(cells) // count) or 1)]
    return [str(path) for path in files[:: -(-len(files) // count) or 1]]


def drawn(count: int, size: tuple[int, int], seed: int = _HELD_OUT) -> list[bytes]:
    """Faces as JPEG files of one size, the emotions taking turns; the same each time."""
    files = []
    for number in range(count):
        stream = io.BytesIO()
        face = draw_face(EMOTIONS[number % len(EMOTIONS)], seed + number, size=min(size))
        face.resize(size).save(stream, "JPEG", quality=92)
        files.append(stream.getvalue())
    return files


def table(drifts: dict[str, Drift]) -> str:
    """The drifts as lines of text."""
    width = max(len(name) for name in drifts)
    lines = [f"{'':<{width}}  {'largest':>9}  {'mean KL':>9}  {'labels agree':>12}  {'images':>6}  {'failed':>6}"]
    lines += [
        f"{name:<{width}}  {one.largest:>9.2e}  {one.kl:>9.2e}  {one.agreement:>12.2%}"
        f"  {one.images:>6,}  {one.failed:>6,}"
        for name, one in drifts.items()
    ]
    return "\n".join(lines)


def as_markdown(written: dict[str, dict[str, Any]]) -> str:
    """The drifts as docs/performance.md has them."""
    rows = ["| | largest | mean KL | labels agree | images |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, one in written.items():
        figures = f"{one['largest']:.1e} | {one['kl']:.1e} | {one['agreement']:.2%} | {one['images']:,}"
        rows.append(f"| {name} | {figures} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--revision")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=Path, help="a folder of images of your own, or Parquet")
    parser.add_argument("--column", default="image", help="of images, in Parquet")
    parser.add_argument("--calibration", type=Path, help="what int8 is calibrated on: other images of your own")
    parser.add_argument("--count", type=int, default=700, help="images at the most")
    parser.add_argument("--size", default="640x480", help="of drawn faces")
    parser.add_argument("--other", action="append", help="options that differ: NAME=VALUE,…")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument("--markdown", type=Path, metavar="JSON", help="print the table of figures written before")
    options = parser.parse_args(arguments)
    if options.markdown:
        print(as_markdown(json.loads(options.markdown.read_text())["drifts"]))
        return
    size = tuple(map(int, options.size.split("x")))
    images: Sequence[Any] = (
        drawn(options.count, (size[0], size[1]))
        if options.images is None
        else images_of(options.images, options.column, options.count)
    )
    shared: dict[str, Any] = {
        "model": options.model,
        "revision": options.revision,
        "device": options.device,
        "image": options.column,
    }
    right = probabilities(ClassifyEmotions(**shared, **REFERENCE), images)
    drifts = {}
    with tempfile.TemporaryDirectory() as folder:
        calibration = options.calibration
        for changed in _asked(options.other) if options.other else others(options.device):
            if changed.get("precision") == "int8" and calibration is None:
                if options.images is not None:
                    print("left out: int8: give --calibration, other images than those that are measured on")
                    continue
                calibration = _calibration(Path(folder), (size[0], size[1]))
            given = {"precision": Int8(calibration)} if changed.get("precision") == "int8" else {}
            operator = ClassifyEmotions(**{**shared, **REFERENCE, **changed, **given})
            name = ", ".join(f"{option}={value}" for option, value in changed.items())
            drifts[name] = drift_of(right, probabilities(operator, images))
    print(table(drifts))
    if options.json is not None:
        figures = {name: dataclasses.asdict(drift) for name, drift in drifts.items()}
        about = {"model": options.model, "images": str(options.images or "drawn faces"), "versions": versions()}
        options.json.write_text(json.dumps({**about, "machine": machine(), "drifts": figures}, indent=2) + "\n")


def _asked(texts: list[str]) -> list[dict[str, Any]]:
    """``--other`` as options; whole numbers are numbers."""
    parts = [dict(part.split("=", 1) for part in text.split(",")) for text in texts]
    return [{name: int(value) if value.isdigit() else value for name, value in one.items()} for one in parts]


def _calibration(folder: Path, size: tuple[int, int]) -> Path:
    for number, face in enumerate(drawn(_CALIBRATION_FACES, size, _CALIBRATION)):
        (folder / f"{number:04}.jpg").write_bytes(face)
    return folder


if __name__ == "__main__":
    main()
