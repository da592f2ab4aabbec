"""Options → what a stream may recall, and the digest of all that an answer depends on but for its image."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.models.engines.engine import Engine
from emotion_ops.operators.answer_file import AnswerFile
from emotion_ops.operators.classify.session import resolved_settings
from emotion_ops.operators.result_cache import Recall, memory_of

if TYPE_CHECKING:
    from emotion_ops.operators.classify.operator import ClassifyEmotions

FORMAT_VERSION = 1
"""Raised whenever this package gives another answer to an image under equal options."""


def recall_of(options: ClassifyEmotions, engine: Engine) -> Recall | None:
    """What a stream of these options may recall; None where it is to compute every row.

    Args:
        options: Among them how much is remembered, and where.
        engine: What computes the answers.

    Raises:
        OptionError: The file of ``answer_cache_dir`` cannot be used.
    """
    folder = options.answer_cache_dir
    if options.faces != "none" or (not options.answer_cache and folder is None):
        return None  # what is remembered is one answer an image
    labels = len(engine.labels)
    memory = memory_of(engine, (options.decode, options.limits), options.answer_cache, labels)
    if folder is None:
        return Recall(memory)
    return Recall(memory, AnswerFile(os.fspath(folder), answers_digest(options, resolved_settings(options))))


def answers_digest(options: ClassifyEmotions, made: Mapping[str, Any]) -> bytes:
    """The digest of everything that decides what the answer to an encoded image is; hashes the weights.

    Args:
        options: The options.
        made: What ``auto`` stands for, and whatever else of the engine changes numbers; see ``resolved_settings``.
    """
    checkpoint, limits = resolve_checkpoint(options.model, options.revision), options.limits
    parts = {
        **made,
        "weights_sha256": checkpoint.weights_sha256(),
        "settings_sha256": checkpoint.settings_sha256(),
        "labels": list(options.output_columns().labels),
        "decode": options.decode,
        "limits": [limits.max_bytes, limits.max_pixels, limits.max_side, limits.max_frames],
        "format": FORMAT_VERSION,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
