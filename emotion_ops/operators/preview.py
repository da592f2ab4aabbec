"""A few images with what the operator says of them, drawn on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from emotion_ops.errors import ImageError
from emotion_ops.images.cells import Cell, cells_of, getter_of
from emotion_ops.images.sheet import SIDE, Picture, contact_sheet
from emotion_ops.operators.classify import ClassifyEmotions
from emotion_ops.operators.session import loader_of

_BOX, _OTHER = "#ffd166", "#ffffff"


def preview_sheet(operator: ClassifyEmotions, images: pa.ChunkedArray | Sequence[Any]) -> Image.Image:
    """Answer some images and draw them: face boxes, labels, bars of the probabilities, or why a row failed.

    Args:
        operator: The options, in any mode of ``faces``; a row that fails is shown.
        images: As ``ClassifyEmotions.columns_for`` takes them; few.

    Raises:
        ColumnTypeError: They are no images.
        ModelError: The model or the detector cannot be used.
    """
    columns = operator.output_columns()
    rows = operator.columns_for(images).to_pylist()
    if isinstance(images, pa.ChunkedArray):
        cell = cells_of(pa.concat_arrays(images.chunks) if images.num_chunks else pa.nulls(0), operator.image)
    else:
        cell = getter_of(images)
    pictures = []
    for number, row in enumerate(rows):
        pictures.append(
            Picture(
                image=_shown(operator, cell, number, _faces(row, operator)),
                title=f"row {number}" + _counted(row.get(columns.face_count)),
                label=row[columns.label],
                probabilities={
                    label: row[name]
                    for label, name in zip(columns.labels, columns.probabilities, strict=True)
                    if row[name] is not None
                },
                error=row[columns.error],
            )
        )
    return contact_sheet(pictures, columns=6)


def _counted(count: int | None) -> str:
    return "" if count is None else f", {count} face{'' if count == 1 else 's'}"


def _faces(row: dict[str, Any], operator: ClassifyEmotions) -> list[dict[str, Any]]:
    """What is drawn on a picture, the largest face last so that it lies on top."""
    columns = operator.output_columns()
    largest = row.get(columns.face)
    return list(reversed(row.get(columns.all_faces) or ([largest] if largest else [])))


def _shown(operator: ClassifyEmotions, cell: Any, row: int, faces: list[dict[str, Any]]) -> Image.Image | None:
    sizes: list[tuple[int, int]] = []

    def small(picture: Image.Image) -> NDArray[np.uint8]:
        sizes.append(picture.size)
        return np.asarray(ImageOps.contain(picture, (SIDE, SIDE)))

    try:
        encoded: Cell = cell(row)
        shown = Image.fromarray(loader_of(operator, small).load(encoded))
    except ImageError:
        return None
    draw, scale = ImageDraw.Draw(shown), shown.width / sizes[0][0]
    for face in faces:
        left, top = face["x"] * scale, face["y"] * scale
        right, bottom = left + face["width"] * scale, top + face["height"] * scale
        draw.rectangle((left, top, right, bottom), outline=_BOX if face is faces[-1] else _OTHER, width=2)
        if face.get("emotion"):
            font = ImageFont.load_default(10)
            draw.text(
                (left + 3, bottom - 2),
                face["emotion"],
                font=font,
                fill=_OTHER,
                anchor="ls",
                stroke_width=1,
                stroke_fill="#000000",
            )
    return ImageOps.pad(shown, (SIDE, SIDE), color="#e6e7e9")
