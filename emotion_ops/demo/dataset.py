"""A small Parquet file of drawn faces, in the layout of the Hugging Face `Image` feature."""

import os
import pathlib
from typing import TYPE_CHECKING

from emotion_ops.demo.faces import EMOTIONS, encode_face

if TYPE_CHECKING:
    import pyarrow as pa


def demo_table(rows: int, *, seed: int, size: int) -> "pa.Table":
    """The table of drawn faces that ``write_demo_dataset`` writes; raises as it does."""
    import pyarrow as pa

    if rows < 0:
        raise ValueError(f"rows must be 0 or more, not {rows}")
    names = [f"face-{row:04d}" for row in range(rows)]
    drawn = [EMOTIONS[row % len(EMOTIONS)] for row in range(rows)]
    images = [
        {"bytes": encode_face(emotion, seed + row, size=size), "path": f"faces/{name}.jpg"}
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


def write_demo_dataset(
    path: str | os.PathLike[str], *, rows: int = 21, seed: int = 2026, size: int = 224
) -> pathlib.Path:
    """Write one Parquet file of drawn faces.

    Its columns are `id` (string: "face-0000", "face-0001", ...), `drawn` (string: the emotion
    drawn, cycling over `EMOTIONS`) and `image` (struct of `bytes`, a JPEG file, and `path`).
    Row i shows the person of seed `seed + i`. The file is written beside its destination
    and then renamed, so a reader finds either nothing or all of it; a file already there is
    replaced.

    Args:
        path: Where to write; the folder must exist.
        rows: Number of faces, 0 or more.
        seed: Seed of the first face, 0 or more.
        size: Width and height of the faces in pixels, 32 or more.

    Returns:
        The path written.

    Raises:
        ValueError: If an argument is out of range.
        OSError: If the file cannot be written.
    """
    import pyarrow.parquet as pq

    table = demo_table(rows, seed=seed, size=size)
    destination = pathlib.Path(path)
    unfinished = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(table, unfinished, compression="zstd")
        unfinished.replace(destination)
    finally:
        unfinished.unlink(missing_ok=True)
    return destination
