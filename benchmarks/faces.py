"""The cost of finding faces: images/s of photographs with one face each, with ``faces="all"`` and without.

    python benchmarks/faces.py --detector face_detection_yunet_2023mar.onnx

The photographs are 640 × 480, crops around the astronaut of scikit-image's collection, each with another position and
brightness. Without ``--model`` the network is a ViT-B/16 of 224 px with random weights. Both run in turn; a figure is
the median of the rounds.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time

import numpy as np
import pyarrow as pa
from comparison.images import VIT_B16
from PIL import Image, ImageEnhance
from skimage import data

from emotion_ops import Cache, ClassifyEmotions, Faces
from emotion_ops.testing import save_tiny_model


def photographs(count: int) -> list[bytes]:
    """JPEGs of 640 × 480 with one face each."""
    astronaut = Image.fromarray(data.astronaut())  # type: ignore[no-untyped-call]  # scikit-image is untyped
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        canvas = Image.new("RGB", (640, 480), "gray")
        canvas.paste(astronaut, (int(rng.integers(0, 128)), int(rng.integers(-32, 1))))
        file = io.BytesIO()
        ImageEnhance.Brightness(canvas).enhance(float(rng.uniform(0.8, 1.2))).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", help="a YuNet file; default: the hub's")
    parser.add_argument("--model", help="a folder; default: a ViT-B/16 with random weights")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    table = pa.table({"image": pa.array(photographs(options.images), pa.binary())})
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or str(save_tiny_model(folder, **VIT_B16))
        shared = {"model": model, "engine": options.engine, "cache": Cache(0)}
        operators = {
            "none": ClassifyEmotions(**shared),
            "all": ClassifyEmotions(**shared, faces=Faces("all", options.detector)),
        }
        seconds: dict[str, list[float]] = {faces: [] for faces in operators}
        for operator in operators.values():
            operator(table.slice(0, 2))
        for _ in range(options.rounds):
            for faces, operator in operators.items():
                started = time.perf_counter()
                out = operator(table)
                seconds[faces].append(time.perf_counter() - started)
        counts = out["emotion_face_count"].to_pylist()
    medians = {faces: statistics.median(taken) for faces, taken in seconds.items()}
    for faces, taken in medians.items():
        print(f"faces={faces!r:8} {options.images / taken:7.2f} images/s")
    added = medians["all"] / medians["none"] - 1
    print(f"finding faces adds {added:.0%}; {sum(counts)} faces in {options.images} photographs")


if __name__ == "__main__":
    main()
