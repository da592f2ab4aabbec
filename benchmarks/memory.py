"""Peak memory of classifying one large table with ``ClassifyEmotions.stream``, in addition to the table.

    python benchmarks/memory.py --rows 20000 --kilobytes 100
    python benchmarks/memory.py --rows 64 --pixels 6000x6000 --format PNG --paths --memory 512 --threads 8

All rows have different bytes, so that nothing can be shared. With ``--paths`` the images are files. With ``--faces``
each image is one face from edge to edge, the largest face that can be cropped. The figure is the largest resident size
during the stream minus the resident size with the table and the network in memory.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from resident import PeakMemory

from emotion_ops import ClassifyEmotions, Decoding, Faces, Resources


def encode(size: tuple[int, int] = (640, 480), form: str = "JPEG") -> bytes:
    """Return an image of smooth noise."""
    small = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize(size).save(stream, form)
    return stream.getvalue()


def make_cells(rows: int, size: tuple[int, int], form: str, kilobytes: int) -> Iterator[bytes]:
    """Return images of one size, each followed by random bytes up to a number of kilobytes."""
    rng, encoded = np.random.default_rng(0), encode(size, form)
    for _ in range(rows):
        yield encoded + rng.bytes(max(8, kilobytes * 1000 - len(encoded)))


def whole_image(pixels: np.ndarray) -> list[tuple[float, ...]]:
    """Return the whole image as one face: a detector."""
    height, width = pixels.shape[:2]
    return [(0, 0, width, height, 1.0)]


def build_table(cells: Iterator[bytes], folder: Path | None) -> pa.Table:
    """Return a table of images, or of the paths of images that are written to a folder."""
    chunks = []
    while part := list(itertools.islice(cells, 1000)):
        if folder is None:
            chunks.append(pa.array(part, pa.large_binary()))
            continue
        paths = [folder / f"{len(chunks)}-{row}" for row in range(len(part))]
        for path, cell in zip(paths, part, strict=True):
            path.write_bytes(cell)
        chunks.append(pa.array([str(path) for path in paths], pa.string()))
    return pa.table({"image": pa.chunked_array(chunks)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--pixels", default="640x480")
    parser.add_argument("--format", default="JPEG")
    parser.add_argument("--paths", action="store_true")
    parser.add_argument("--memory", type=int, default=512, help="the operator's option, in MiB")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--isolation", default="thread")
    parser.add_argument("--faces", action="store_true")
    parser.add_argument("--margin", type=float, default=0.0, help="around a face, with --faces")
    options = parser.parse_args()
    width, height = map(int, options.pixels.split("x"))

    operator = ClassifyEmotions(
        model=options.model,
        decoding=Decoding(isolation=options.isolation),
        resources=Resources(options.memory * 2**20, options.threads or "auto"),
        faces=Faces("all", whole_image, margin=options.margin) if options.faces else None,
    )
    # loads the network and the libraries, and starts the threads
    operator(build_table(make_cells(64, (640, 480), options.format, options.kilobytes), None))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if options.paths else None
        table = build_table(make_cells(options.rows, (width, height), options.format, options.kilobytes), folder)
        print(json.dumps(measure(operator, table)))


def measure(operator: ClassifyEmotions, table: pa.Table) -> dict[str, float]:
    """Stream the table and return the peak memory and the speed."""
    rows = failed = 0
    with PeakMemory() as memory:
        started = time.perf_counter()
        for batch in operator.stream(table.to_batches(max_chunksize=256)):
            rows += batch.num_rows
            failed += batch.num_rows - batch.column(batch.num_columns - 1).null_count
        seconds = time.perf_counter() - started
    return {
        "rows": rows,
        "failed": failed,
        "table_mb": round(table.nbytes / 1e6),
        "peak_above_table_mb": round(memory.added / 1e6),
        "images_per_second": round(rows / seconds, 1),
    }


if __name__ == "__main__":
    main()
