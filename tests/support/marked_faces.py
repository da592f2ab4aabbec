"""Tables of images with marked faces, which the detector ``Marked`` finds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
from pictures import encode, photo
from PIL import Image

from emotion_ops import ClassifyEmotions


def canvas(faces: int, seed: int = 0, side: int = 20) -> Image.Image:
    """Marked faces in a grid, each with its own size and content, so that the network gives each another result."""
    columns = max(1, min(6, faces))
    picture = photo(seed, 60 * columns, 60 * -(-max(1, faces) // columns)).convert("RGB")
    pixels = np.asarray(picture).copy()
    pixels[:, :, 0] = np.minimum(pixels[:, :, 0], 70)
    for face in range(faces):
        top, left = face // columns * 60 + 5, face % columns * 60 + 5
        size = side + face
        pixels[top : top + size, left : left + size] = (77, 255, face)
        pixels[top + 3 : top + size - 3, left + 3 : left + size - 3] = np.random.default_rng(face).integers(0, 70, 3)
    return Image.fromarray(pixels)


COUNTS = [1, 0, 3, 30, 1, 2, 1, 1]
CELLS = [*(encode(canvas(count, seed)) for seed, count in enumerate(COUNTS)), None, b"text"]
TABLE = pa.table({"id": range(10), "image": pa.array(CELLS, pa.binary())})


def failing_detector(pixels: np.ndarray) -> list[object]:
    raise ValueError("out of luck")


def with_faces(operator: ClassifyEmotions, **options: Any) -> ClassifyEmotions:
    """The operator with other options of its faces."""
    return dataclasses.replace(operator, faces=dataclasses.replace(operator.faces, **options))
