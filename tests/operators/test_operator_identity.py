"""An operator is a value: it pickles, compares, and has an identity of which it can be made again."""

from __future__ import annotations

import dataclasses
import json
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from pictures import jpeg
from table_operators import CountWords, Ignoring

from emotion_ops import (
    Cache,
    OptionError,
)
from emotion_ops.testing.operators import ImageStatistics


def test_an_operator_is_a_value_that_pickles_hashes_and_is_refused_with_a_wrong_option() -> None:
    operator = CountWords("text", max_words=3, ignoring=Ignoring(("one",)), batch_size=2)
    assert pickle.loads(pickle.dumps(operator)) == operator
    assert len({operator, dataclasses.replace(operator), dataclasses.replace(operator, max_words=4)}) == 2
    assert operator.pinned() == operator
    for options in ({"max_words": 0}, {"on_error": "ignore"}, {"batch_size": 0}, {"column": ""}):
        with pytest.raises(OptionError, match=next(iter(options))):
            CountWords(**options)
    with pytest.raises(dataclasses.FrozenInstanceError):
        operator.max_words = 2  # type: ignore[misc]


def test_the_identity_has_the_name_the_version_and_all_options_that_change_values() -> None:
    operator = CountWords("text", "other", max_words=3, ignoring=Ignoring(("one",)))
    identity = operator.identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity == {
        "operator": "table_operators:CountWords", "version": 1, "on_error": "null", "column": "text", "second": "other",
        "max_words": 3, "ignored_words": ["one"],
    }  # fmt: skip
    assert dataclasses.replace(operator, batch_size=2, resources=2**20).identity() == identity
    assert type("Changed", (CountWords,), {"version": 2})().identity()["version"] == 2


def test_an_operator_is_made_of_an_identity_of_this_version_or_of_one_with_other_options() -> None:
    operator = CountWords("text", "other", max_words=3, ignoring=Ignoring(("one",)), on_error="drop")
    identity = operator.identity()
    assert CountWords.from_identity(identity) == operator
    assert CountWords.from_identity({"column": "text", "an option of a later version": 5}) == CountWords("text")
    images = ImageStatistics("photo", limits={"max_side": 9}, access="photos/", decoding="fast", cache=7)
    assert ImageStatistics.from_identity(images.identity()) == dataclasses.replace(images, cache=Cache())
    with pytest.raises(OptionError, match="max_words"):
        CountWords.from_identity({"max_words": "many"})


def test_an_option_without_a_json_value_is_refused_in_an_identity_but_not_for_a_table() -> None:
    operator = CountWords(second=b"other")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"second=b'other'.*cannot be written as JSON.*define identity"):
        operator.identity()

    @dataclass(frozen=True)
    class WithFunction(ImageStatistics):
        key: Any = len

    with pytest.raises(OptionError, match="key="):
        WithFunction().identity()
    assert WithFunction().append_columns({"image": [jpeg(1, 40, 30)] * 2}).column("width").to_pylist() == [40, 40]
