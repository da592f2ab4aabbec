"""A few images with what the operator says of them, drawn on one sheet."""

from __future__ import annotations

import dataclasses
import numbers
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from emotion_ops.errors import OptionError, RowError
from emotion_ops.images.cells import Cell, cells_of, getter_of
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.classify.session import loader_of
from emotion_ops.reports.cards import SIDE, Picture, contact_sheet
from emotion_ops.reports.lettering import shortened

MOST_ROWS = 200
"""What a sheet shows at the most: it is for looking at a few, and formats of pictures end at some side."""

_BOX, _OTHER, _PAPER, _OUTLINE = "#ffd166", "#ffffff", "#e6e7e9", "#000000"
_LETTERS, _CUT = 10, 48  # height of a label in a box; in a box of this width it is shortened, in a smaller one left out


def rows_of(option: str, value: Any) -> int:
    """How many rows a sheet shows.

    Raises:
        OptionError: It is no whole number from 1 to ``MOST_ROWS``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not 1 <= int(value) <= MOST_ROWS:
        raise OptionError(option, value, f"give a whole number from 1 to {MOST_ROWS}")
    return int(value)


def preview_sheet(
    operator: ClassifyEmotions, images: Iterable[tuple[str, pa.ChunkedArray | Sequence[Any]]]
) -> Image.Image:
    """Answer some images and draw them: face boxes, labels, bars of the probabilities, or why a row failed.

    Args:
        operator: The options, in any mode of ``faces``; a row that fails is shown, whatever ``on_error`` says.
        images: As ``ClassifyEmotions.columns_for`` takes them, few; each with what stands behind its rows' numbers.

    Raises:
        ColumnTypeError: They are no images.
        ModelError: The model or the detector cannot be used.
    """
    operator = dataclasses.replace(operator, on_error="null")
    pictures = [picture for where, some in images for picture in pictures_of(operator, where, some)]
    return contact_sheet(pictures, columns=6)


def pictures_of(operator: ClassifyEmotions, where: str, images: pa.ChunkedArray | Sequence[Any]) -> list[Picture]:
    """The cards of some images; see ``preview_sheet``."""
    columns = operator.output_columns()
    rows = operator.columns_for(images).to_pylist()
    chunks = images.chunks if isinstance(images, pa.ChunkedArray) else [images]
    getters = [
        (cells_of(chunk, operator.image) if isinstance(chunk, pa.Array) else getter_of(chunk), row)
        for chunk in chunks
        for row in range(len(chunk))
    ]
    pictures = []
    for number, (row, (cell, place)) in enumerate(zip(rows, getters, strict=True)):
        faces = _faces(row, operator)
        told = {
            label: row[name]
            for label, name in zip(columns.labels, columns.probabilities, strict=True)
            if row[name] is not None
        }
        pictures.append(
            Picture(
                image=_shown(operator, cell, place, faces),
                title=f"row {number}{_counted(row.get(columns.face_count))}{where}",
                label=row[columns.label],
                probabilities=told,
                error=row[columns.error],
                listed=row.get(columns.listed) or (),
                notes=list(_notes(operator, row, told, faces)),
            )
        )
    return pictures


def _counted(count: int | None) -> str:
    return "" if count is None else f", {count} face{'' if count == 1 else 's'}"


def _faces(row: dict[str, Any], operator: ClassifyEmotions) -> list[dict[str, Any]]:
    """What is drawn on a picture, the largest face first."""
    columns = operator.output_columns()
    largest = row.get(columns.face)
    return row.get(columns.all_faces) or ([largest] if largest else [])


def _notes(
    operator: ClassifyEmotions, row: dict[str, Any], told: dict[str, float], faces: list[dict[str, Any]]
) -> Iterable[str]:
    """What headline and bars don't say: why there is no label, which labels are listed, what the other faces are."""
    columns, least = operator.output_columns(), operator.min_probability
    if not told:
        return
    best = max(told, key=lambda label: told[label])
    if least is not None and row[columns.label] is None:
        digits = next((n for n in range(2, 9) if round(told[best], n) < least), 9)
        yield f"{best} {told[best]:.{digits}f} is below {least:g}"
    if columns.lists_labels:
        yield f"listed: {', '.join(row[columns.listed]) or 'none'}"
    if len(faces) > 1 and "emotion" in faces[0]:
        counts = Counter(face["emotion"] or "unsure" for face in faces)
        yield "faces: " + ", ".join(f"{count} {label}" for label, count in counts.most_common())


def _shown(
    operator: ClassifyEmotions, cell: Callable[[int], Cell], row: int, faces: list[dict[str, Any]]
) -> Image.Image | None:
    sizes: list[tuple[int, int]] = []

    def small(picture: Image.Image) -> NDArray[np.uint8]:
        sizes.append(picture.size)
        return np.asarray(ImageOps.contain(picture, (SIDE, SIDE)))

    try:
        shown = Image.fromarray(loader_of(operator, small).load(cell(row)))
    except RowError:
        return None
    draw, scale = ImageDraw.Draw(shown), shown.width / sizes[0][0]
    boxes = [
        (
            face["x"] * scale,
            face["y"] * scale,
            (face["x"] + face["width"]) * scale,
            (face["y"] + face["height"]) * scale,
        )
        for face in faces
    ]
    for place, box in reversed(list(enumerate(boxes))):  # the largest on top
        draw.rectangle(box, outline=_OTHER if place else _BOX, width=2)
    written: list[tuple[float, float, float, float]] = []
    for face, box in zip(faces, boxes, strict=True):
        if "emotion" in face:
            _write_label(draw, face["emotion"] or "unsure", box, written)
    return ImageOps.pad(shown, (SIDE, SIDE), color=_PAPER)


def _write_label(
    draw: ImageDraw.ImageDraw,
    label: str,
    box: tuple[float, float, float, float],
    written: list[tuple[float, float, float, float]],
) -> None:
    """Write a face's label into its box, unless it has no room there or would lie over one that is written."""
    left, top, right, bottom = box
    room = right - left - 7  # the outline, and the letters' own
    line = shortened(label, _LETTERS, max(room, _CUT - 7))
    place = (left + 3, bottom - _LETTERS - 6, left + 5 + line.width, bottom - 2)
    if line.width > room or place[1] < top:
        return
    if any(place[0] < b[2] and b[0] < place[2] and place[1] < b[3] and b[1] < place[3] for b in written):
        return
    written.append(place)
    draw.text(
        (left + 4, bottom - 5),
        line.text,
        font=line.font,
        fill=_OTHER,
        anchor="ls",
        stroke_width=1,
        stroke_fill=_OUTLINE,
    )
