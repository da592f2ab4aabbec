"""Options are declared once: each field has its check, its flag and its place in the identity."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion_ops import Access, Cache, ClassifyEmotions, Decoding, Faces, Labels, Limits, OptionError, Resources
from emotion_ops.options import OptionGroup, flag_of

GROUPS: list[type[OptionGroup]] = [Labels, Faces, Decoding, Access, Limits, Resources, Cache]


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_a_group_is_documented_has_a_default_and_a_check(group: type[OptionGroup]) -> None:
    for field in dataclasses.fields(group):
        assert f"\n        {field.name}: " in (group.__doc__ or ""), field.name
        assert field.default is not dataclasses.MISSING
        assert callable(field.metadata["check"])


def test_every_option_of_the_operator_is_documented_in_its_class_or_in_one_that_it_inherits_from() -> None:
    documented = "\n".join(one.__doc__ or "" for one in ClassifyEmotions.__mro__)
    for field in dataclasses.fields(ClassifyEmotions):
        assert f"\n        {field.name}: " in documented, field.name


def test_no_two_options_have_the_same_flag() -> None:
    flags = []
    for field in dataclasses.fields(ClassifyEmotions):
        groups = [group for group in GROUPS if group.__name__.lower() == field.name]
        flags += [flag_of(one) for group in groups for one in dataclasses.fields(group)] or [flag_of(field)]
    assert len(set(flags)) == len(flags)


@pytest.mark.parametrize(
    ("plain", "group"),
    [
        ({"labels": 0.3}, {"labels": Labels(0.3)}),
        ({"labels": {"happy": 0.4}}, {"labels": Labels({"happy": 0.4})}),
        ({"labels": {"min_probability": 0.4}}, {"labels": Labels(min_probability=0.4)}),
        ({"faces": "largest"}, {"faces": Faces()}),
        ({"faces": {"which": "all", "max_faces": 3}}, {"faces": Faces("all", max_faces=3)}),
        ({"decoding": "fast"}, {"decoding": Decoding("fast")}),
        ({"access": Path("photos")}, {"access": Access("photos")}),
        ({"resources": 2**20}, {"resources": Resources(2**20)}),
        ({"cache": 0}, {"cache": Cache(0)}),
        ({"limits": {"max_side": 9}}, {"limits": Limits(max_side=np.int64(9))}),
    ],
)
def test_a_plain_value_or_a_mapping_means_the_group(plain: dict[str, Any], group: dict[str, Any]) -> None:
    one, other = ClassifyEmotions(**plain), ClassifyEmotions(**group)
    assert (one, hash(one)) == (other, hash(other))
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Limits(max_side=0), r"Limits\.max_side=0 cannot be used: give a whole number of at least 1"),
        (lambda: Limits(max_bytes=True), r"Limits\.max_bytes=True"),
        (lambda: Decoding("rough"), r"Decoding\.mode='rough' cannot be used: give one of 'exact', 'fast'"),
        (lambda: Decoding(timeout=5), r"Decoding\.timeout=5.*isolation=.process."),
        (lambda: Faces("all", threshold=2), r"Faces\.threshold=2 cannot be used: give a number from 0 to 1"),
        (lambda: Faces("largest", max_faces=3), r"Faces\.max_faces=3.*Faces\(.all.\)"),
        (lambda: Labels({"happy": 2}), r"Labels\.above=2"),
        (lambda: Resources(threads="many"), r"Resources\.threads='many'"),
        (lambda: Cache(-1), r"Cache\.rows=-1"),
        (lambda: Cache(2**40), r"Cache\.rows=.*give at most 1,073,741,824"),
        (lambda: ClassifyEmotions(faces="none"), r"Faces\.which='none'"),
        (lambda: ClassifyEmotions(precision="int8"), r"precision='int8'.*Int8\("),
        (lambda: ClassifyEmotions(limits=Decoding()), r"limits=Decoding.*give Limits"),
        (lambda: ClassifyEmotions(on_error="skip"), r"on_error='skip'.*'null', 'raise', 'drop'"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_at_once_by_name_with_what_to_give(make: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()


def test_the_identity_has_what_changes_values_and_nothing_else() -> None:
    base = ClassifyEmotions(model="demo")
    same = [
        {"batch_size": 3},
        {"resources": Resources(2**20, 2)},
        {"cache": 0},
        {"decoding": Decoding(isolation="process", timeout=9)},
        {"access": Access(allow=("s3",))},
    ]
    other = [
        {"image": "photo"},
        {"prefix": "mood"},
        {"on_error": "drop"},
        {"labels": 0.3},
        {"labels": Labels(min_probability=0.3)},
        {"faces": Faces("largest", detector=len)},
        {"decoding": "fast"},
        {"decoding": Decoding(channels="bgr")},
        {"access": Access("photos")},
        {"limits": Limits(max_bytes=9)},
        {"limits": Limits(max_pixels=9)},
        {"limits": Limits(max_side=9)},
        {"limits": Limits(max_frames=9)},
        {"engine": "torch", "precision": "bf16"},
    ]
    for change in same:
        assert dataclasses.replace(base, **change).identity() == base.identity(), change
    identities = [str(dataclasses.replace(base, **change).identity()) for change in other]
    assert len({*identities, str(base.identity())}) == len(other) + 1


def test_an_operator_made_of_an_identity_describes_the_same_columns(tiny_model: str) -> None:
    for options in ({}, {"labels": {"happy": 0.4}}, {"faces": Faces("all", detector=len, min_size=3, max_faces=2)}):
        operator = ClassifyEmotions("photo", model=tiny_model, prefix="mood", on_error="drop", **options)
        again = ClassifyEmotions.from_identity(operator.identity())
        assert (again.image, again.prefix, again.on_error) == ("photo", "mood", "drop")
        assert again.labels == operator.labels
        if operator.faces is not None:
            assert again.faces == dataclasses.replace(operator.faces, detector=None)


@pytest.mark.parametrize(
    ("given", "count"),
    [(7, 7), ("7", 7), ("2GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29), ("512 mib", 2**29), ("3 kB", 3000), ("1B", 1)],
)
def test_a_number_of_bytes_may_have_a_unit(given: Any, count: int) -> None:
    assert Resources(given).memory == Limits(max_bytes=given).max_bytes == count
    assert Decoding(isolation="process", memory=given).memory == count


@pytest.mark.parametrize("given", ["2 GBs", "-1GB", "much", "", "0GB", 0, 1.5, True])
def test_a_number_of_bytes_that_cannot_be_read_is_refused(given: Any) -> None:
    with pytest.raises(OptionError, match=r"Resources\.memory="):
        Resources(given)
