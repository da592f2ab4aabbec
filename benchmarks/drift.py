"""How much probabilities change with other options: a faster decode, a lower precision, another engine.

    python benchmarks/drift.py                                      # every engine and precision that runs here
    python benchmarks/drift.py --other precision=bf16,engine=torch --other batch_size=1
    python benchmarks/drift.py --model ./my-checkpoint --images ./my-photographs --calibration ./others
    python benchmarks/drift.py --model ./my-checkpoint --images ./my-table.parquet --column photo

The reference is torch in fp32, with all other options at their defaults. Without ``--images`` the images are drawn
faces that the demo model was not trained on, saved as JPEG at ``--size``, and int8 is calibrated on other drawn faces.
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
"""The options that the others are compared with."""

_HELD_OUT = 20_000_000  # the seed of the first face; scripts/train_demo_model.py does not train on these
_CALIBRATION = 30_000_000  # the same for calibration; not measured on either
_CALIBRATION_FACES = 252
_MIN_PROBABILITY = 1e-12  # whose logarithm is finite


@dataclass(frozen=True)
class Drift:
    """How far one set of options is from another, over some images.

    Attributes:
        largest: The largest absolute difference of a probability.
        kl: The mean Kullback–Leibler divergence from the reference, in nats.
        agreement: The part of the images whose label is the same, 0 to 1.
        images: Number of images for which neither failed.
        failed: Number of images for which one of both failed; they are not part of the other figures.
    """

    largest: float
    kl: float
    agreement: float
    images: int
    failed: int


def probabilities(operator: ClassifyEmotions, images: Sequence[Any]) -> NDArray[np.float64]:
    """Probabilities of images, (images, labels); NaN for an image that failed."""
    return dataclasses.replace(operator, on_error="null", cache=Cache(0)).predict(images).astype(np.float64)


def compare_probabilities(reference: NDArray[np.float64], other: NDArray[np.float64]) -> Drift:
    """The drift of probabilities (images, labels) from those of the reference.

    Raises:
        ValueError: No image has probabilities in both.
    """
    in_reference, in_other = (~np.isnan(one).any(axis=1) for one in (reference, other))
    expected, found = reference[in_reference & in_other], other[in_reference & in_other]
    if not len(expected):
        raise ValueError(f"none of the {len(reference)} images has probabilities in both")
    expected, found = (one / one.sum(axis=1, keepdims=True) for one in (expected, found))  # float32 sums are inexact
    divergence = expected * (
        np.log(np.maximum(expected, _MIN_PROBABILITY)) - np.log(np.maximum(found, _MIN_PROBABILITY))
    )
    return Drift(
        largest=float(np.abs(expected - found).max()),
        kl=float(divergence.sum(axis=1).mean()),
        agreement=float((expected.argmax(axis=1) == found.argmax(axis=1)).mean()),
        images=len(expected),
        failed=int((in_reference ^ in_other).sum()),
    )


def others(device: str) -> list[dict[str, Any]]:
    """The faster decode, and every engine and precision that runs on this machine, except the reference."""
    found: list[dict[str, Any]] = [
        {"engine": engine, "precision": precision}
        for engine in ENGINES
        for precision in PRECISIONS
        if can_run(engine, device, precision)
    ]
    return [{"decoding": "fast"}, *(one for one in found if one != REFERENCE)]


def load_images(where: Path, column: str, count: int) -> list[Any]:
    """Up to ``count`` images of a folder of files or of a column of Parquet, spread evenly."""
    files = sorted(path for path in where.rglob("*") if path.is_file()) if where.is_dir() else [where]
    if any(path.suffix == ".parquet" for path in files):
        cells = ds.dataset(where, format="parquet").to_table(columns=[column]).column(0)
        return [cells[row].as_py() for row in range(0, len(cells), -(-len(cells) // count) or 1)]
    return [str(path) for path in files[:: -(-len(files) // count) or 1]]


def draw_faces(count: int, size: tuple[int, int], seed: int = _HELD_OUT) -> list[bytes]:
    """Faces as JPEG files of one size, the emotions in turn; the same at each call."""
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
    """The drifts as a Markdown table for docs/performance.md."""
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
    parser.add_argument("--count", type=int, default=700, help="maximum number of images")
    parser.add_argument("--size", default="640x480", help="of drawn faces")
    parser.add_argument("--other", action="append", help="options that differ: NAME=VALUE,…")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--markdown", type=Path, metavar="JSON", help="print the table of a file of figures")
    options = parser.parse_args(arguments)
    if options.markdown:
        print(as_markdown(json.loads(options.markdown.read_text())["drifts"]))
        return
    size = tuple(map(int, options.size.split("x")))
    images: Sequence[Any] = (
        draw_faces(options.count, (size[0], size[1]))
        if options.images is None
        else load_images(options.images, options.column, options.count)
    )
    shared: dict[str, Any] = {
        "model": options.model,
        "revision": options.revision,
        "device": options.device,
        "image": options.column,
    }
    expected = probabilities(ClassifyEmotions(**shared, **REFERENCE), images)
    drifts = {}
    with tempfile.TemporaryDirectory() as folder:
        calibration = options.calibration
        for changed in _parse_options(options.other) if options.other else others(options.device):
            if changed.get("precision") == "int8" and calibration is None:
                if options.images is not None:
                    print("int8 is skipped: give --calibration, a folder of other images")
                    continue
                calibration = _calibration(Path(folder), (size[0], size[1]))
            given = {"precision": Int8(calibration)} if changed.get("precision") == "int8" else {}
            operator = ClassifyEmotions(**{**shared, **REFERENCE, **changed, **given})
            name = ", ".join(f"{option}={value}" for option, value in changed.items())
            drifts[name] = compare_probabilities(expected, probabilities(operator, images))
    print(table(drifts))
    if options.json is not None:
        figures = {name: dataclasses.asdict(drift) for name, drift in drifts.items()}
        about = {"model": options.model, "images": str(options.images or "drawn faces"), "versions": versions()}
        options.json.write_text(json.dumps({**about, "machine": machine(), "drifts": figures}, indent=2) + "\n")


def _parse_options(texts: list[str]) -> list[dict[str, Any]]:
    """The values of ``--other`` as options; digits become a number."""
    parts = [dict(part.split("=", 1) for part in text.split(",")) for text in texts]
    return [{name: int(value) if value.isdigit() else value for name, value in one.items()} for one in parts]


def _calibration(folder: Path, size: tuple[int, int]) -> Path:
    for number, face in enumerate(draw_faces(_CALIBRATION_FACES, size, _CALIBRATION)):
        (folder / f"{number:04}.jpg").write_bytes(face)
    return folder


if __name__ == "__main__":
    main()
