"""Peak memory of enriching one file with one huge row group, in addition to the package and the network.

    python benchmarks/row_group.py --rows 20000 --kilobytes 100
    python benchmarks/row_group.py --rows 40 --kilobytes 50000 --page-rows 1

A new process enriches a small file, so that everything is loaded, and then the huge file. A page of Parquet can only be
read as a whole, so the peak contains its size: by default a writer looks at the size of a page only after 1,024 rows.
The figure is the largest resident size while the huge file is enriched minus the resident size before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from memory import encode
from resident import PeakMemory

from emotion_ops import ClassifyEmotions, enrich_dataset


def write_source(path: Path, rows: int, kilobytes: int, page_rows: int) -> None:
    """Write one row group of 640 × 480 JPEGs, each followed by random bytes up to a number of kilobytes."""
    rng = np.random.default_rng(0)
    image = encode()
    padding = max(0, kilobytes * 1000 - len(image))
    chunks = [
        pa.array([image + rng.bytes(padding) for _ in range(min(1024, rows - start))], pa.large_binary())
        for start in range(0, rows, 1024)
    ]
    table = pa.table({"id": pa.array(range(rows), pa.int64()), "image": pa.chunked_array(chunks)})
    pq.write_table(table, path, row_group_size=rows, write_batch_size=page_rows)


def enrich(folder: Path, model: str, columns: str) -> dict[str, Any]:
    """Enrich ``small.parquet`` and then ``huge.parquet`` of a folder, and return the peak memory of the second."""
    operator = ClassifyEmotions(model=model)
    enrich_dataset(folder / "small.parquet", folder / "small-out", operator, columns=columns)
    with PeakMemory() as memory:
        report = enrich_dataset(folder / "huge.parquet", folder / "huge-out", operator, columns=columns)
    return {
        "images": report.good_rows,
        "row_group_mb": round(pq.read_metadata(folder / "huge.parquet").row_group(0).total_byte_size / 1e6),
        "peak_above_loaded_mb": round(memory.added / 1e6),
        "images_per_second": round(report.rows / report.seconds),
    }


def measure(folder: Path, rows: int, kilobytes: int, page_rows: int, model: str, columns: str) -> dict[str, Any]:
    """Write the files and enrich them in a new process."""
    write_source(folder / "small.parquet", 64, 100, page_rows)
    write_source(folder / "huge.parquet", rows, kilobytes, page_rows)
    command = [sys.executable, __file__, "--enrich", str(folder), "--model", model, "--columns", columns]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=int, default=100, help="of an image")
    parser.add_argument("--page-rows", type=int, default=1024, help="write_batch_size of the Parquet writer")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--columns", default="all", help="as in enrich_dataset")
    parser.add_argument("--enrich", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.enrich is not None:
        print(json.dumps(enrich(options.enrich, options.model, options.columns)))
        return
    with tempfile.TemporaryDirectory() as name:
        sizes = options.rows, options.kilobytes, options.page_rows
        print(json.dumps(measure(Path(name), *sizes, options.model, options.columns)))


if __name__ == "__main__":
    main()
