"""Dataframes of any kind, for ``df.pipe``: the same kind of frame comes back.

pandas keeps its index, its dtypes and its object columns, since only the columns that are needed are looked at. Polars,
PyArrow, Modin and cuDF go through narwhals; what else speaks Arrow's C stream comes back as a PyArrow table.
"""

from emotion_ops.integrations.frames.appending import classify_emotions, preview
from emotion_ops.integrations.frames.exploding import explode_faces

__all__ = ["classify_emotions", "explode_faces", "preview"]
