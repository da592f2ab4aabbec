"""Tables of faces of any length."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

from emotion_ops.demo import sample_faces

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL import Image

_TURN, _ZOOM, _LIGHT = 6.0, 0.08, 0.15  # largest rotation in degrees, and changes of the size and of the brightness


def faces_table(rows: int, *, seed: int = 0, size: int = 64) -> pa.Table:
    """Faces for tests: the sample faces, each mirrored, turned, moved or lit in another way.

    The same arguments give the same table with the same version of Pillow. All images are different.

    Args:
        rows: Number of rows, 0 or more.
        seed: Seed of the first row, 0 or more; the next rows have the next seeds.
        size: Width and height of the images in pixels.

    Returns:
        Columns ``id`` (string), ``drawn`` (string, the emotion that the drawing shows; the labels in turn) and
        ``image`` (struct of ``bytes``, a JPEG file, and ``path``), as ``emotion_ops.demo.sample_faces`` has them.
    """
    import pyarrow as pa

    faces = sample_faces()
    drawn, image_type = faces["drawn"].to_pylist(), faces.schema.field("image").type
    names = [f"face-{row:04d}" for row in range(rows)]
    images = [
        {"bytes": _variant(row % len(drawn), seed + row, size), "path": f"faces/{name}.jpg"}
        for row, name in enumerate(names)
    ]
    columns = {
        "id": pa.array(names, pa.string()),
        "drawn": pa.array([drawn[row % len(drawn)] for row in range(rows)], pa.string()),
        "image": pa.array(images, image_type),
    }
    return pa.table(columns)


@functools.cache
def _samples() -> list[Image.Image]:
    from PIL import Image

    cells = sample_faces()["image"].to_pylist()
    return [Image.open(io.BytesIO(cell["bytes"])).convert("RGB") for cell in cells]


def _variant(face: int, seed: int, size: int) -> bytes:
    """A JPEG file of a sample face with small changes that the seed decides."""
    import numpy as np
    from PIL import ImageEnhance, ImageOps
    from PIL.Image import Resampling

    rng = np.random.default_rng(seed)
    image = _samples()[face]
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    image = image.rotate(rng.uniform(-_TURN, _TURN), Resampling.BILINEAR, fillcolor=image.getpixel((2, 2)))
    side = image.width * (1 - rng.uniform(0, _ZOOM))
    left, top = rng.uniform(0, image.width - side, 2)
    image = image.resize((size, size), Resampling.BILINEAR, box=(left, top, left + side, top + side))
    stream = io.BytesIO()
    ImageEnhance.Brightness(image).enhance(1 + rng.uniform(-_LIGHT, _LIGHT)).save(stream, "JPEG", quality=90)
    return stream.getvalue()
