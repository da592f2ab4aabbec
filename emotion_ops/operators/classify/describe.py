"""Summaries, comparisons and cards of the columns that ``ClassifyEmotions`` appends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.hooks import FAILED, Box, Card, Differences, Measure, drift

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNSURE = "unsure"
"""In summaries and comparisons, the label of a row whose probabilities are all below ``min_probability``."""

_BINS = 20
_LABELS_NOTE = "An expression is not a feeling: a label is what an observer might say about the face."
_PROBABILITY_NOTE = "A probability says how the network divides its answer between labels, not how often it is right."


def summarise(columns: pa.RecordBatch, names: OutputColumns) -> tuple[Measure, ...]:
    """Rows by label, mean probabilities, and rows by their highest probability in 20 bins from 0 to 1."""
    good = columns.filter(pc.is_null(columns.column(names.error)))
    label = good.column(names.label)
    labels: dict[str, int] = dict.fromkeys((*names.labels, UNSURE), 0)
    labels[UNSURE] += label.null_count
    for found in pc.value_counts(label.drop_null()).to_pylist():
        labels[found["values"]] += found["counts"]
    if not label.null_count:
        del labels[UNSURE]
    matrix = _matrix(good, names)
    highest = matrix.max(axis=1, initial=0.0)
    bins = np.histogram(highest, bins=_BINS, range=(0.0, 1.0))[0].tolist()
    ranges = [f"{place / _BINS:.2f} to {(place + 1) / _BINS:.2f}" for place in range(_BINS)]
    sums = dict(zip(names.labels, matrix.sum(axis=0).tolist(), strict=True))
    return (
        Measure("labels", "Labels", labels, note=_LABELS_NOTE),
        Measure("mean_probabilities", "Mean probabilities", sums, per_row=True),
        Measure(
            "highest_probability",
            "Highest probability",
            dict(zip(ranges, bins, strict=True)),
            ordered=True,
            note=_PROBABILITY_NOTE,
        ),
    )


def compare(a: pa.RecordBatch, b: pa.RecordBatch) -> Differences:
    """Labels as categories, and the absolute differences of the probabilities of labels that both have.

    Where only one side has a finite probability, the difference is 1.
    """
    (labels_a, category_a), (labels_b, category_b) = _labels(a), _labels(b)
    drifts = {
        label: drift(a.column(labels_a[label]), b.column(labels_b[label]), lost=1.0)
        for label in labels_a
        if label in labels_b
    }
    only_in_a, only_in_b = (tuple(label for label in labels if label not in drifts) for labels in (labels_a, labels_b))
    return Differences(category_a, category_b, drifts, only_in_a, only_in_b)


def make_card(row: Mapping[str, Any], image: str, names: OutputColumns, min_probability: float | None) -> Card:
    """The image with the boxes of its faces, the label, and a bar for each probability.

    Args:
        row: Image cell and appended columns by name.
        image: The image column.
        names: The names of the appended columns.
        min_probability: What a label needs.
    """
    probabilities = {
        label: row[name] for label, name in zip(names.labels, names.probabilities, strict=True) if row[name] is not None
    }
    largest = row.get(names.face)
    faces = row.get(names.all_faces) or ([largest] if largest else [])
    count = row.get(names.face_count)
    return Card(
        image=row.get(image),
        headline=(row[names.label] or UNSURE) if probabilities else "",
        value=max(probabilities.values()) if row[names.label] is not None else None,
        bars=probabilities,
        marked=row.get(names.listed) or (),
        notes=list(_notes(row, names, probabilities, faces, min_probability)),
        boxes=[
            Box(
                face["x"],
                face["y"],
                face["width"],
                face["height"],
                (face["emotion"] or UNSURE) if "emotion" in face else "",
            )
            for face in faces
        ],
        title="" if count is None else f"{count} face{'' if count == 1 else 's'}",
        error=row[names.error],
    )


def _notes(
    row: Mapping[str, Any],
    names: OutputColumns,
    probabilities: Mapping[str, float],
    faces: list[dict[str, Any]],
    min_probability: float | None,
) -> Iterator[str]:
    """Why there is no label, which labels are listed, and the labels of all faces."""
    if not probabilities:
        return
    if min_probability is not None and row[names.label] is None:
        best = max(probabilities, key=lambda label: probabilities[label])
        value = probabilities[best]
        digits = next((n for n in range(2, 9) if round(value, n) < min_probability), 9)
        yield f"{best} {value:.{digits}f} is below {min_probability:g}"
    if names.lists_labels:
        yield f"listed: {', '.join(row[names.listed]) or 'none'}"
    if len(faces) > 1 and "emotion" in faces[0]:
        counts = Counter(face["emotion"] or UNSURE for face in faces)
        yield "faces: " + ", ".join(f"{count} {label}" for label, count in counts.most_common())


def _matrix(columns: pa.RecordBatch, names: OutputColumns) -> NDArray[np.float64]:
    return np.stack([columns.column(name).to_numpy() for name in names.probabilities], axis=1).astype(np.float64)


def _labels(columns: pa.RecordBatch) -> tuple[dict[str, int], pa.Array]:
    """The labels of stored columns with their positions, and each row's label, ``unsure`` or ``failed``."""
    prefix, labels = columns.schema.names[0], dict[str, int]()
    for place, field in enumerate(columns.schema):
        if place and not pa.types.is_floating(field.type):
            break
        if place:
            labels[field.name.removeprefix(f"{prefix}_")] = place
    error = columns.column(columns.num_columns - 1)
    words = columns.column(0).cast(pa.string()).fill_null(UNSURE)
    return labels, pc.if_else(pc.is_null(error), words, FAILED)
