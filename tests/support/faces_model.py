"""YuNet's weights for tests, photographs with and without faces, and a detector of exact arithmetic."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

FOLDER = Path(os.environ.get("EMOTION_OPS_TEST_MODELS", Path(__file__).parents[3] / "shared" / "models"))
YUNET = FOLDER / "face_detection_yunet_2023mar.onnx"
FREE_SHAPE = FOLDER / "yunet_s_dynamic.onnx"

needs_yunet = pytest.mark.skipif(
    not YUNET.exists(), reason=f"YuNet's weights are not in {FOLDER}; name their folder in EMOTION_OPS_TEST_MODELS"
)


def other_network() -> bytes:
    """YuNet with one weight changed, so that it finds the same faces about a pixel away."""
    content = bytearray(YUNET.read_bytes())
    content[119_285:119_289] = np.float32(0.9).tobytes()
    return bytes(content)


def photograph(name: str) -> Image.Image:
    """A photograph bundled with scikit-image: ``astronaut`` and ``camera`` have one face, the others none."""
    (path,) = (Path(skimage.__file__).parent / "data").glob(f"{name}.*")
    return Image.open(path).convert("RGB")


class Marked:
    """A detector that finds rectangles of the colour (77, 255, any): its boxes are exact.

    It is a picklable value, as the operator is.
    """

    def __call__(self, pixels: np.ndarray) -> list[tuple[float, ...]]:
        faces = []
        for blue in np.unique(pixels[(pixels[:, :, 0] == 77) & (pixels[:, :, 1] == 255)][:, 2]):
            rows, columns = np.nonzero((pixels == (77, 255, blue)).all(axis=2))
            box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
            faces.append((*map(float, box), 0.9))
        return faces

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return 77

    def __repr__(self) -> str:
        return "Marked()"
