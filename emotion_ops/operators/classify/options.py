"""The options of the table operator as they are given → in the form in which they are kept, or what is wrong."""

from __future__ import annotations

import numbers
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from emotion_ops.errors import OptionError
from emotion_ops.faces.detector import check_detector
from emotion_ops.models.engines.choice import ENGINES, PRECISIONS
from emotion_ops.operators.classify.labels import probability_of, thresholds_of

if TYPE_CHECKING:
    from emotion_ops.operators.classify.operator import ClassifyEmotions

_Form = Callable[[str, Any], Any]

_OF_FACES = ("detector", "face_threshold", "min_face_size", "face_margin", "max_faces")
_MOST_ANSWERS = 2**30  # some 50 GB


def checked(options: ClassifyEmotions) -> dict[str, Any]:
    """The values of all options, each in its one form: hashable, and equal where they mean the same.

    Raises:
        OptionError: One has a value that cannot work, or, of faces and of calibration, does nothing without the
            others.
    """
    kept = {name: _FORMS[name](name, value) for name, value in vars(options).items()}
    if kept["calibration"] is not None and kept["precision"] != "int8":
        hint = "leave it out, or give precision='int8': no other uses it"
        raise OptionError("calibration", kept["calibration"], hint)
    for name in _OF_FACES if kept["faces"] == "none" else ():
        if kept[name] != getattr(type(options), name):  # its default
            hint = "leave it out, or give faces='largest' or 'all': without them none are looked for"
            raise OptionError(name, kept[name], hint)
    if kept["faces"] == "largest" and kept["max_faces"] != type(options).max_faces:
        raise OptionError("max_faces", kept["max_faces"], "leave it out, or give faces='all': 'largest' is one")
    return kept


def _text(option: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OptionError(option, value, "give a text that is not empty")
    return value


def _path(option: str, value: Any) -> str:
    return _text(option, os.fspath(value) if isinstance(value, os.PathLike) else value)


def _folder(option: str, value: Any) -> str:
    return os.path.expanduser(_path(option, value))  # noqa: PTH111  # a text stays as it is spelled otherwise


def _names(option: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if not all(isinstance(name, str) for name in names):
        raise OptionError(option, value, "give names, ('s3', 'https') say")
    return names


def _whole(option: str, value: Any, least: int = 1) -> int:
    try:
        number = operator.index(value)  # numpy's whole numbers too
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise OptionError(option, value, f"give a whole number of at least {least}")
    return number


def _answers(option: str, value: Any) -> int:
    number = _whole(option, value, 0)
    if number > _MOST_ANSWERS:
        raise OptionError(option, value, f"give {_MOST_ANSWERS:,} at the most")
    return number


def _real(option: str, value: Any, fits: Callable[[float], bool], hint: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not fits(float(value)):
        raise OptionError(option, value, hint)
    return float(value)


def _seconds(option: str, value: Any) -> float:
    return _real(option, value, lambda number: 0 < number < 1e6, "give a number of seconds above 0")


def _pixels(option: str, value: Any) -> float:
    return _real(option, value, lambda number: 0 <= number < 1e6, "give a number of at least 0")


def _margin(option: str, value: Any) -> float:
    return _real(
        option, value, lambda number: 0 <= number <= 1, "give a number from 0 to 1: 0.1 adds 10 % on each side"
    )


def _one_of(*choices: str) -> _Form:
    def chosen(option: str, value: Any) -> Any:
        if value not in choices:
            raise OptionError(option, value, f"give one of {', '.join(repr(choice) for choice in choices)}")
        return value

    return chosen


def _or(other: str | None, form: _Form) -> _Form:
    return lambda option, value: value if value == other else form(option, value)


_FORMS: Mapping[str, _Form] = {
    "image": _text,
    "model": _path,
    "revision": _or(None, _text),
    "device": _text,
    "engine": _one_of("auto", *ENGINES),
    "precision": _one_of("auto", *PRECISIONS),
    "calibration": _or(None, _path),
    "batch_size": _or("auto", _whole),
    "on_error": _one_of("null", "raise", "drop"),
    "prefix": _text,
    "labels_above": thresholds_of,
    "min_probability": _or(None, probability_of),
    "faces": _one_of("none", "largest", "all"),
    "detector": check_detector,
    "face_threshold": probability_of,
    "min_face_size": _pixels,
    "face_margin": _margin,
    "max_faces": _whole,
    "root": _or(None, _path),
    "allow": _names,
    "allow_hosts": _names,
    "channels": _one_of("rgb", "bgr"),
    "max_bytes": _whole,
    "max_pixels": _whole,
    "max_side": _whole,
    "max_frames": _whole,
    "decode": _one_of("exact", "fast"),
    "isolation": _one_of("thread", "process"),
    "decode_timeout": _seconds,
    "decode_memory": _or("auto", _whole),
    "threads": _or("auto", _whole),
    "memory": _whole,
    "answer_cache": _answers,
    "answer_cache_dir": _or(None, _folder),
}
