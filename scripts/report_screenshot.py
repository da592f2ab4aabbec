"""Make the screenshot of a report's page for the documentation.

    python scripts/report_screenshot.py docs/images/report.png

Draws a dataset in which some faces are clear and some are between two emotions, with broken rows and equal images,
enriches it with the demo model, and takes a screenshot of the report's page. Needs Chromium.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from drawn_faces import draw_face
from PIL import Image

from emotion_ops import ClassifyEmotions, enrich_dataset

SHARES = {"happy": 0.3, "neutral": 0.25, "sad": 0.15, "surprise": 0.12, "angry": 0.09, "fear": 0.06, "disgust": 0.03}
WIDTH, HEIGHT = 1120, 2300


def make_dataset(folder: Path, rng: np.random.Generator) -> None:
    """Write three days of faces; about one row in twenty is broken."""
    seed = 0
    for day, rows in enumerate((240, 180, 120), start=1):
        cells: list[bytes | None] = []
        for _ in range(rows):
            first, second = rng.choice(list(SHARES), size=2, p=list(SHARES.values()))
            between = rng.uniform(0.0, 0.5)
            face = Image.blend(draw_face(first, seed), draw_face(second, seed), between)
            cells.append(damage(encode(face), cells, rng.random()))
            seed += 1
        (folder / f"day=2026-03-0{day}").mkdir(parents=True)
        table = pa.table({"image": pa.array(cells, pa.binary())})
        pq.write_table(table, folder / f"day=2026-03-0{day}" / "faces.parquet", row_group_size=60)


def encode(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def damage(image: bytes, earlier: list[bytes | None], chance: float) -> bytes | None:
    """Return the image, or for a small ``chance`` (0 to 1) a null, a truncated file, another format or a duplicate."""
    if chance < 0.02:
        return None
    if chance < 0.035:
        return image[: len(image) // 2]
    if chance < 0.042:
        return b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    return earlier[-1] if chance < 0.07 and earlier else image


def take_screenshot(page: Path, target: Path) -> None:
    """Save a screenshot of the page with few colours, which makes a small file."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("no Chromium on the PATH")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
                   "--hide-scrollbars", f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}"]  # fmt: skip
        subprocess.run([browser, *options, f"--screenshot={target}", page.as_uri()], check=True, capture_output=True)
    with Image.open(target) as image:
        few_colours = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=8, dither=Image.Dither.NONE)
    few_colours.save(target, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    target = parser.parse_args().target.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_dataset(Path("faces"), np.random.default_rng(7))
        operator = ClassifyEmotions(model="demo")
        operator.load_engine()  # before the job: loading would dominate the chart of a small job
        report = enrich_dataset("faces", "enriched", operator)
        take_screenshot(Path(report.page).absolute(), target)
