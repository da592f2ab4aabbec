"""What equal images cost: images a second of one table with duplicates in it, with and without the answer cache.

    python benchmarks/duplicates.py

The rows are drawn faces of 640 × 480 in a shuffled order. The ways take turns, each round in a memory of its own, and
a figure is the median of the rounds. ``file`` recalls what an earlier run has left in ``answer_cache_dir``.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import statistics
import tempfile
import time

import pyarrow as pa
from drift import drawn

from emotion_ops import ClassifyEmotions


def rate(operator: ClassifyEmotions, table: pa.Table) -> float:
    started = time.perf_counter()
    rows = len(operator(table)["emotion"])
    return rows / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    faces = drawn(options.rows, (640, 480))
    with tempfile.TemporaryDirectory() as folder:
        base = ClassifyEmotions(model=options.model, answer_cache=0)
        ways = {"none": base, "file": dataclasses.replace(base, answer_cache_dir=folder)}
        rate(ways["file"], pa.table({"image": pa.array(faces, pa.binary())}))
        print(f"{'duplicates':>10}  {'no cache':>12}  {'memory':>12}  {'file':>12}")
        for share in (0.0, 0.5, 0.9):
            different = round(options.rows * (1 - share))
            cells = faces[:different] + random.Random(0).choices(faces[:different], k=options.rows - different)
            random.Random(1).shuffle(cells)
            table = pa.table({"image": pa.array(cells, pa.binary())})
            found: dict[str, list[float]] = {"none": [], "memory": [], "file": []}
            for number in range(options.rounds):
                fresh = dataclasses.replace(base, answer_cache=2**18 + number + round(1000 * share))
                for name, operator in {**ways, "memory": fresh}.items():
                    found[name].append(rate(operator, table))
            medians = [statistics.median(found[name]) for name in ("none", "memory", "file")]
            print(f"{share:>10.0%}  " + "  ".join(f"{median:>8,.0f} im/s" for median in medians))


if __name__ == "__main__":
    main()
