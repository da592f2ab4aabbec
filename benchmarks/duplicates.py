"""What the result cache gains: images/s of a table with duplicates, with the cache and without it.

    python benchmarks/duplicates.py

The images are JPEGs of 640 × 480 in random order; equal images are equal byte for byte, and no image is in two rounds.
The two variants run in turn, and a figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import pyarrow as pa
from comparison.images import jpegs

from emotion_ops import Cache, ClassifyEmotions

DISTINCT = 32
"""Number of images that are drawn; bytes after the end of the JPEG, which decoders ignore, make more of them."""


def make_cells(files: list[bytes], rows: int, share: float, mark: str) -> list[bytes]:
    """Return encoded images in random order, of which a share (0 to 1) are duplicates."""
    rng = random.Random(mark)
    distinct = [files[row % len(files)] + f"{mark}-{row}".encode() for row in range(rows - round(rows * share))]
    cells = distinct + rng.choices(distinct, k=rows - len(distinct))
    rng.shuffle(cells)
    return cells


def measure(operator: ClassifyEmotions, cells: list[bytes]) -> float:
    """Return the images/s of one table."""
    table = pa.table({"image": pa.array(cells, pa.binary())})
    started = time.perf_counter()
    operator(table)
    return len(cells) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    files = jpegs(DISTINCT, (640, 480))
    variants = {
        "no cache": ClassifyEmotions(model=options.model, cache=Cache(0)),
        "cache": ClassifyEmotions(model=options.model),
    }
    for name, operator in variants.items():
        measure(operator, make_cells(files, 64, 0, name))  # loads the network
    print(f"{'duplicates':>10}" + "".join(f"  {name:>16}" for name in variants))
    for share in (0.0, 0.5, 0.9):
        rates: dict[str, list[float]] = {name: [] for name in variants}
        for number in range(options.rounds):
            cells = make_cells(files, options.rows, share, f"{share}-{number}")
            for name, operator in variants.items():
                rates[name].append(measure(operator, cells))
        medians = [f"  {statistics.median(rates[name]):>7,.0f} images/s" for name in variants]
        print(f"{share:>10.0%}" + "".join(medians))


if __name__ == "__main__":
    main()
