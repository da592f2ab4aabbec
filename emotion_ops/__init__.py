"""Facial emotion probabilities for tables of images.

One line on a dataframe, ``df.pipe(classify_emotions, image="path")``; one value in a pipeline,
``ClassifyEmotions("image")``; one command over Parquet, ``emotion-ops enrich SOURCE DESTINATION``.

The public names are in ``__init__.pyi``. They load at first use: importing this package loads neither torch,
transformers, pandas nor pyarrow.
"""

from emotion_ops.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
