"""Peak memory of enriching one file of one huge row group, above what the loaded package and network take.

    python benchmarks/row_group.py --rows 20000 --kilobytes 100
    python benchmarks/row_group.py --rows 40 --kilobytes 50000 --page-rows 1

The file is written first; then a process of its own enriches a small file, so that everything is loaded, and the
huge one. A page of Parquet is read whole, so that its size is a part of the peak: writers look at the size of a page
only after so many rows, 1,024 unless told otherwise, however large they are. The figure is the largest resident size
that is seen meanwhile, less the resident size before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from memory import encode

from emotion_ops import ClassifyEmotions
from emotion_ops.lake.enrich import enrich_dataset


def write_source(path: Path, rows: int, kilobytes: int, page_rows: int) -> None:
    """One row group of 640 × 480 JPEGs, each padded to its size with noise behind the end of the image."""
    rng = np.random.default_rng(0)
    image = encode()
    padding = max(0, kilobytes * 1000 - len(image))
    chunks = [
        pa.array([image + rng.bytes(padding) for _ in range(min(1024, rows - start))], pa.large_binary())
        for start in range(0, rows, 1024)
    ]
    table = pa.table({"id": pa.array(range(rows), pa.int64()), "image": pa.chunked_array(chunks)})
    pq.write_table(table, path, row_group_size=rows, write_batch_size=page_rows)


def peak_while_enriching(folder: Path, model: str, columns: str) -> dict[str, Any]:
    """Enrich ``small.parquet`` and then ``huge.parquet`` of a folder, in this process."""
    operator = ClassifyEmotions(model=model)
    enrich_dataset(folder / "small.parquet", folder / "small-out", operator, columns=columns)
    process = psutil.Process()
    before = peak = process.memory_info().rss
    running = True

    def watch() -> None:
        nonlocal peak
        while running:
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    report = enrich_dataset(folder / "huge.parquet", folder / "huge-out", operator, columns=columns)
    running = False
    watcher.join()
    return {
        "images": report.images,
        "row_group_mb": round(pq.read_metadata(folder / "huge.parquet").row_group(0).total_byte_size / 1e6),
        "peak_above_loaded_mb": round((peak - before) / 1e6),
        "images_per_second": round(report.rows / report.seconds),
    }


def measure(folder: Path, rows: int, kilobytes: int, page_rows: int, model: str, columns: str) -> dict[str, Any]:
    """Write the files, and enrich them in a process of its own."""
    write_source(folder / "small.parquet", 64, 100, page_rows)
    write_source(folder / "huge.parquet", rows, kilobytes, page_rows)
    command = [sys.executable, __file__, "--enrich", str(folder), "--model", model, "--columns", columns]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--page-rows", type=int, default=1024)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--columns", default="all")
    parser.add_argument("--enrich", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.enrich is not None:
        print(json.dumps(peak_while_enriching(options.enrich, options.model, options.columns)))
        return
    with tempfile.TemporaryDirectory() as name:
        sizes = options.rows, options.kilobytes, options.page_rows
        print(json.dumps(measure(Path(name), *sizes, options.model, options.columns)))


if __name__ == "__main__":
    main()
