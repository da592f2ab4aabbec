"""The table operator: its options are typed, and a value of another type is an error."""

from typing import assert_type

from emotion_ops import EMOTIONS, ClassifyEmotions, EmotionOpsError, OptionError, RowErrorCode, __version__


def options() -> None:
    assert_type(ClassifyEmotions(), ClassifyEmotions)
    assert_type(ClassifyEmotions("photo", model="demo", batch_size=8, on_error="raise"), ClassifyEmotions)
    assert_type(ClassifyEmotions("photo").pinned(), ClassifyEmotions)


def refused() -> None:
    ClassifyEmotions("photo", on_error="ignore")  # type: ignore[arg-type]
    ClassifyEmotions("photo", batch_size="large")  # type: ignore[arg-type]
    ClassifyEmotions("photo", network="demo")  # type: ignore[call-arg]
    ClassifyEmotions("photo").model = "demo"  # type: ignore[misc]  # options are frozen


def names(error: OptionError, code: RowErrorCode) -> None:
    assert_type(__version__, str)
    assert_type(EMOTIONS, tuple[str, ...])
    text: str = code
    root: EmotionOpsError = error
    raise ValueError(text) from root
