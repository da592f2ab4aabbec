"""Peak memory of enriching one large frame through ``ClassifyEmotions.stream``, above the table itself.

    python benchmarks/memory.py --rows 20000 --kilobytes 100

Every row is an encoded image of its own bytes, so that nothing can be shared. The figure is the largest
resident size seen while the stream runs, less the resident size with the table and the network in memory.
"""

from __future__ import annotations

import argparse
import io
import json
import threading
import time

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image

from emotion_ops import ClassifyEmotions


def jpeg() -> bytes:
    """A 640 × 480 JPEG of smooth noise."""
    small = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((640, 480)).save(stream, "JPEG")
    return stream.getvalue()


def table_of(rows: int, kilobytes: int) -> pa.Table:
    """Rows of 640 × 480 JPEGs, each padded to its size with noise behind the end of the image."""
    rng = np.random.default_rng(0)
    image = jpeg()
    padding = kilobytes * 1000 - len(image)
    chunks = []
    for start in range(0, rows, 1000):
        cells = [image + rng.bytes(padding) for _ in range(min(1000, rows - start))]
        chunks.append(pa.array(cells, pa.large_binary()))
    return pa.table({"image": pa.chunked_array(chunks)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--isolation", default="thread")
    options = parser.parse_args()

    operator = ClassifyEmotions(model=options.model, isolation=options.isolation)
    operator(table_of(64, options.kilobytes))  # the network, the libraries and the threads' own memory
    table = table_of(options.rows, options.kilobytes)
    process = psutil.Process()
    before = process.memory_info().rss
    peak, running = before, True

    def watch() -> None:
        nonlocal peak
        while running:
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    rows = sum(batch.num_rows for batch in operator.stream(table.to_batches(max_chunksize=256)))
    seconds = time.perf_counter() - started
    running = False
    watcher.join()
    print(
        json.dumps(
            {
                "rows": rows,
                "table_mb": round(table.nbytes / 1e6),
                "peak_above_table_mb": round((peak - before) / 1e6),
                "images_per_second": round(rows / seconds),
            }
        )
    )


if __name__ == "__main__":
    main()
