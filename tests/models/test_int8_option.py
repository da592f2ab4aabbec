"""The option ``precision``: int8 cannot be written without the images that it is calibrated on."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from emotion_ops.errors import OptionError
from emotion_ops.models.engines.int8 import Int8, precision
from emotion_ops.options import as_json


@pytest.mark.parametrize("value", ["auto", "fp32", "bf16", "fp16", Int8("images/")])
def test_a_float_precision_and_int8_with_images_pass_unchanged(value: Any) -> None:
    assert precision("precision", value) is value


def test_int8_survives_json_and_pickle() -> None:
    value = Int8(Path("images"))
    assert value == Int8("images")
    assert precision("precision", json.loads(json.dumps(as_json(value)))) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(value) == hash(Int8("images"))


def test_int8_without_images_is_refused_with_an_example() -> None:
    with pytest.raises(OptionError, match=r'precision=.int8. cannot be used: .*Int8\("images/"\)'):
        precision("precision", "int8")


@pytest.mark.parametrize("value", ["fp8", "", None, 8, ["fp32"], {}, {"calibration": "a", "rows": 3}])
def test_any_other_precision_is_refused_with_the_choices(value: Any) -> None:
    with pytest.raises(OptionError, match=r"'auto', 'fp32', 'bf16', 'fp16', or for int8 give Int8"):
        precision("precision", value)


@pytest.mark.parametrize("value", [None, "", 3])
def test_what_int8_is_calibrated_on_must_be_a_path(value: Any) -> None:
    with pytest.raises(OptionError, match=r"Int8\.calibration"):
        Int8(value)
    with pytest.raises(OptionError, match=r"Int8\.calibration"):
        precision("precision", {"calibration": value})


def test_where_the_images_are_does_not_change_what_is_computed() -> None:
    assert Int8("images/").identity() == {}
