"""Emotion enrichment in Apache Airflow 3.3 and newer: an operator, shards, a check of the whole, a link and lineage.

Names load at first use. Nothing here imports torch, pandas or pyarrow, neither when a DAG is parsed nor in a task:
the work runs in a process of its own, by default of the same interpreter, by ``python=`` of another.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion_ops.airflow.enrich import EmotionEnrichOperator
    from emotion_ops.airflow.links import EmotionReportLink
    from emotion_ops.airflow.shards import EmotionCheckOperator, EmotionPlanOperator

_HOMES = {
    "EmotionCheckOperator": "emotion_ops.airflow.shards",
    "EmotionEnrichOperator": "emotion_ops.airflow.enrich",
    "EmotionPlanOperator": "emotion_ops.airflow.shards",
    "EmotionReportLink": "emotion_ops.airflow.links",
}

__all__ = ["EmotionCheckOperator", "EmotionEnrichOperator", "EmotionPlanOperator", "EmotionReportLink"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'emotion_ops.airflow' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
