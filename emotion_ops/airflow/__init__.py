"""Emotion enrichment in Apache Airflow 3.3 and newer: an operator, shards, a check of the whole, a link and lineage.

The public names are in ``__init__.pyi`` and load at first use. Nothing here imports torch, pandas or pyarrow, neither
when a DAG is parsed nor in a task: the work runs in a process of its own, by default of the same interpreter, by
``python=`` of another.
"""

from emotion_ops.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
