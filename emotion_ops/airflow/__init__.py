"""Enrichment in Apache Airflow 3.3 and newer: Airflow operators for any table operator, shards, a report link, lineage.

The public names are in ``__init__.pyi`` and load at first use. Nothing here imports torch, pandas or pyarrow, neither
when a DAG is parsed nor in a task: the work runs in another process, of the same interpreter or of that in ``python=``.
"""

from emotion_ops.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
