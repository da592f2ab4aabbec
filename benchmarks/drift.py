"""How far the answers move under other options: a faster decode, a coarser precision, another engine.

    python benchmarks/drift.py --other decode=fast
    python benchmarks/drift.py --other precision=bf16 --other precision=bf16,decode=fast
    python benchmarks/drift.py --model ./my-checkpoint --images ./my-photographs --other decode=fast

The reference is fp32, decoded exactly. Without ``--images`` the images are drawn faces that the demo model has not
seen, saved as JPEG at ``--size``.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion_ops import ClassifyEmotions
from emotion_ops.demo.faces import EMOTIONS, draw_face

_HELD_OUT = 20_000_000  # the seed of the first face, as scripts/train_demo_model.py holds them out
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
        images: Encoded images, paths, or whatever else ``ClassifyEmotions.columns_for`` takes.

    Raises:
        ValueError: No image was answered by both.
    """
    return drift_of(probabilities(reference, images), probabilities(other, images))


def probabilities(operator: ClassifyEmotions, images: Sequence[Any]) -> NDArray[np.float64]:
    """The answers to images, (images, labels); NaN for an image that failed."""
    columns = dataclasses.replace(operator, on_error="null", answer_cache=0, answer_cache_dir=None).columns_for(images)
    names = operator.output_columns().probabilities
    return np.stack([columns.column(name).to_numpy() for name in names], axis=1).astype(np.float64)


def drift_of(reference: NDArray[np.float64], other: NDArray[np.float64]) -> Drift:
    """The drift of one array of probabilities from another; see ``measure``."""
    here, there = (~np.isnan(one).any(axis=1) for one in (reference, other))
    right, found = reference[here & there], other[here & there]
    if not len(right):
        raise ValueError(f"none of the {len(reference)} images was answered by both")
    divergence = right * (np.log(np.maximum(right, _LEAST)) - np.log(np.maximum(found, _LEAST)))
    return Drift(
        largest=float(np.abs(right - found).max()),
        kl=float(divergence.sum(axis=1).mean()),
        agreement=float((right.argmax(axis=1) == found.argmax(axis=1)).mean()),
        images=len(right),
        failed=int((here ^ there).sum()),
    )


def drawn(count: int, size: tuple[int, int]) -> list[bytes]:
    """Faces as JPEG files of one size, the emotions taking turns; the same each time."""
    files = []
    for number in range(count):
        stream = io.BytesIO()
        face = draw_face(EMOTIONS[number % len(EMOTIONS)], _HELD_OUT + number, size=min(size))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--revision")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=Path, help="a folder of images of your own")
    parser.add_argument("--count", type=int, default=700, help="images at the most")
    parser.add_argument("--size", default="640x480", help="of drawn faces")
    parser.add_argument("--other", action="append", required=True, help="options that differ: NAME=VALUE,…")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    images: Sequence[Any] = (
        drawn(options.count, (width, height))
        if options.images is None
        else [str(file) for file in sorted(options.images.rglob("*")) if file.is_file()][: options.count]
    )
    shared = {"model": options.model, "revision": options.revision, "device": options.device}
    right = probabilities(ClassifyEmotions(**shared, precision="fp32"), images)
    drifts = {}
    for text in options.other:
        changed = dict(part.split("=", 1) for part in text.split(","))
        found = probabilities(ClassifyEmotions(**{**shared, "precision": "fp32", **changed}), images)
        drifts[text] = drift_of(right, found)
    if options.json:
        print(json.dumps({name: dataclasses.asdict(drift) for name, drift in drifts.items()}))
    else:
        print(table(drifts))


if __name__ == "__main__":
    main()
