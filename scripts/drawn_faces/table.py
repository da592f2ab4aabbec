"""A table of drawn faces, with images in the layout of the Hugging Face `Image` feature."""

import pyarrow as pa

from drawn_faces.faces import encode_face
from emotion_ops import EMOTIONS


def faces_table(rows: int, *, seed: int, size: int = 224, quality: int | None = None) -> pa.Table:
    """Draw one face for each row; the same arguments give the same table.

    Args:
        rows: Number of faces, 0 or more.
        seed: Seed of the first face, 0 or more; row i has the person of seed `seed + i`.
        size: Width and height of the faces in pixels, 32 or more.
        quality: Of the JPEG files, 1 to 95; by default each seed decides it (60 to 95).

    Returns:
        Columns `id` (string: "face-0000", "face-0001", ...), `drawn` (string: the emotion of the face, the labels
        in turn) and `image` (struct of `bytes`, a JPEG file, and `path`).

    Raises:
        ValueError: If an argument is out of range.
    """
    names = [f"face-{row:04d}" for row in range(rows)]
    drawn = [EMOTIONS[row % len(EMOTIONS)] for row in range(rows)]
    images = [
        {"bytes": encode_face(emotion, seed + row, size=size, quality=quality), "path": f"faces/{name}.jpg"}
        for row, (name, emotion) in enumerate(zip(names, drawn, strict=True))
    ]
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table(
        {
            "id": pa.array(names, pa.string()),
            "drawn": pa.array(drawn, pa.string()),
            "image": pa.array(images, image_type),
        }
    )
