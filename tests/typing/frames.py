"""Frames: the same kind comes back, also through ``pipe``."""

from typing import assert_type

import pandas as pd
import polars as pl

from emotion_ops import classify_emotions, explode_faces


def of_pandas(frame: pd.DataFrame) -> None:
    assert_type(classify_emotions(frame), pd.DataFrame)
    assert_type(classify_emotions(frame, "photo", model="demo", on_error="drop"), pd.DataFrame)
    assert_type(frame.pipe(classify_emotions, image="photo"), pd.DataFrame)
    assert_type(explode_faces(frame, labels_above=0.3), pd.DataFrame)


def of_polars(frame: pl.DataFrame) -> None:
    assert_type(classify_emotions(frame), pl.DataFrame)
    assert_type(frame.pipe(classify_emotions, image="photo"), pl.DataFrame)
    assert_type(explode_faces(frame), pl.DataFrame)


def refused(frame: pd.DataFrame) -> None:
    classify_emotions(frame, image=3)  # type: ignore[arg-type]  # a column has a name
    explode_faces()  # type: ignore[call-arg]  # a frame is needed
