"""What a checkpoint's config.json says about its network: the architecture and the labels."""

from __future__ import annotations

import reprlib

from emotion_ops.errors import UnsupportedModelError
from emotion_ops.models.checkpoint import Checkpoint

_HINT = 'give each output of the network a name in config.json: "id2label": {"0": "sad", "1": "disgust", …}'


def read_architecture(checkpoint: Checkpoint) -> str:
    """The architecture, for example ``vit``: transformers calls it ``model_type``."""
    return str(checkpoint.config().get("model_type", ""))


def read_labels(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The checkpoint's labels, in the order of its ``id2label``; no network is loaded.

    Raises:
        UnsupportedModelError: It is not a classifier with at least two labels that exclude each other, or does not
            name each label.
    """
    config = checkpoint.config()
    labels = _names(checkpoint, config.get("id2label") or {}, config.get("num_labels"))
    problem = config.get("problem_type") or "single_label_classification"
    if problem != "single_label_classification" or len(labels) < 2:
        raise UnsupportedModelError(
            checkpoint.model,
            f"its probabilities do not sum to 1: problem_type {problem!r} with {len(labels)} label(s)",
            "choose an image classifier with two or more labels that exclude each other",
        )
    if len(set(labels)) < len(labels):
        what = f"two labels have the same name in id2label {labels}"
        raise UnsupportedModelError(checkpoint.model, what, "give each label another name in config.json")
    return labels


def _names(checkpoint: Checkpoint, id2label: object, count: object) -> tuple[str, ...]:
    """The names by number, which is the position of the network's output; without names, those of transformers."""
    if not id2label:
        count = 2 if count is None else count
        if not isinstance(count, int):
            what = f"its num_labels is {count!r} and it has no id2label"
            raise UnsupportedModelError(checkpoint.model, what, _HINT)
        return tuple(f"LABEL_{index}" for index in range(count))
    names = [id2label.get(str(index)) for index in range(len(id2label))] if isinstance(id2label, dict) else [None]
    if not all(isinstance(name, str) for name in names):
        what = f"its id2label does not give a name to each number from 0 on: {reprlib.repr(id2label)}"
        raise UnsupportedModelError(checkpoint.model, what, _HINT)
    return tuple(map(str, names))
