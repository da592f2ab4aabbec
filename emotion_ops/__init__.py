"""Facial emotion probabilities for tables of images.

One line on a dataframe, ``df.pipe(classify_emotions, image="path")``; one value in a pipeline,
``ClassifyEmotions("image")``; one command over Parquet, ``emotion-ops enrich SOURCE DESTINATION``.

Names load at first use: importing this package loads neither torch, transformers, pandas nor pyarrow.
"""

import importlib
from typing import TYPE_CHECKING, Any

from emotion_ops.version import __version__

if TYPE_CHECKING:
    from emotion_ops.errors import (
        ColumnError,
        ColumnExistsError,
        ColumnNotFoundError,
        ColumnTypeError,
        DatasetError,
        DestinationBusyError,
        DestinationConflictError,
        EmotionOpsError,
        ErrorBudgetExceededError,
        FrameTypeError,
        GateClosedError,
        MissingDependencyError,
        ModelError,
        ModelNotFoundError,
        OptionError,
        RowError,
        RowErrorCode,
        RowFailedError,
        UnsafeWeightsError,
        UnsupportedModelError,
    )
    from emotion_ops.faces.detector import find_faces
    from emotion_ops.integrations.frames import classify_emotions, explode_faces, preview
    from emotion_ops.lake.audit.clean import CleanReport, clean_destination
    from emotion_ops.lake.audit.diff import DiffReport, diff_datasets
    from emotion_ops.lake.audit.status import DatasetStatus, dataset_status
    from emotion_ops.lake.audit.verify import VerifyReport, verify_dataset
    from emotion_ops.lake.enrich import enrich_dataset
    from emotion_ops.operators.classify.classifier import EmotionClassifier
    from emotion_ops.operators.classify.columns import EMOTIONS
    from emotion_ops.operators.classify.operator import ClassifyEmotions
    from emotion_ops.reports.report import EnrichReport

_ERRORS = (
    "ColumnError",
    "ColumnExistsError",
    "ColumnNotFoundError",
    "ColumnTypeError",
    "DatasetError",
    "DestinationBusyError",
    "DestinationConflictError",
    "EmotionOpsError",
    "ErrorBudgetExceededError",
    "FrameTypeError",
    "GateClosedError",
    "RowError",
    "MissingDependencyError",
    "ModelError",
    "ModelNotFoundError",
    "OptionError",
    "RowErrorCode",
    "RowFailedError",
    "UnsafeWeightsError",
    "UnsupportedModelError",
)

_HOMES = {
    "ClassifyEmotions": "emotion_ops.operators.classify.operator",
    "EmotionClassifier": "emotion_ops.operators.classify.classifier",
    "classify_emotions": "emotion_ops.integrations.frames",
    "explode_faces": "emotion_ops.integrations.frames",
    "find_faces": "emotion_ops.faces.detector",
    "preview": "emotion_ops.integrations.frames",
    "enrich_dataset": "emotion_ops.lake.enrich",
    "EnrichReport": "emotion_ops.reports.report",
    "diff_datasets": "emotion_ops.lake.audit.diff",
    "DiffReport": "emotion_ops.lake.audit.diff",
    "dataset_status": "emotion_ops.lake.audit.status",
    "DatasetStatus": "emotion_ops.lake.audit.status",
    "verify_dataset": "emotion_ops.lake.audit.verify",
    "VerifyReport": "emotion_ops.lake.audit.verify",
    "clean_destination": "emotion_ops.lake.audit.clean",
    "CleanReport": "emotion_ops.lake.audit.clean",
    "EMOTIONS": "emotion_ops.operators.classify.columns",
    **dict.fromkeys(_ERRORS, "emotion_ops.errors"),
}

__all__ = [
    "EMOTIONS",
    "ClassifyEmotions",
    "CleanReport",
    "ColumnError",
    "ColumnExistsError",
    "ColumnNotFoundError",
    "ColumnTypeError",
    "DatasetError",
    "DatasetStatus",
    "DestinationBusyError",
    "DestinationConflictError",
    "DiffReport",
    "EmotionClassifier",
    "EmotionOpsError",
    "EnrichReport",
    "ErrorBudgetExceededError",
    "FrameTypeError",
    "GateClosedError",
    "MissingDependencyError",
    "ModelError",
    "ModelNotFoundError",
    "OptionError",
    "RowError",
    "RowErrorCode",
    "RowFailedError",
    "UnsafeWeightsError",
    "UnsupportedModelError",
    "VerifyReport",
    "__version__",
    "classify_emotions",
    "clean_destination",
    "dataset_status",
    "diff_datasets",
    "enrich_dataset",
    "explode_faces",
    "find_faces",
    "preview",
    "verify_dataset",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'emotion_ops' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
