"""Flags come from the code's own signatures, types and docstrings, for any operator and for a job."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from table_operators import CompareBrightness

from emotion_ops import (
    Access,
    Cache,
    ClassifyEmotions,
    Decoding,
    Faces,
    ImageOperator,
    Int8,
    Labels,
    Limits,
    OperatorError,
    OptionError,
    Resources,
    enrich_dataset,
)
from emotion_ops.cli.operators import job_arguments, job_flags, make_operator
from emotion_ops.cli.parameters import describe_error, with_flags
from emotion_ops.flags.docstrings import read_arguments
from emotion_ops.flags.fields import read_flags
from emotion_ops.flags.values import build_arguments
from emotion_ops.options import OptionGroup

FLAGS = read_flags(ClassifyEmotions)


def classify(**values: Any) -> ClassifyEmotions:
    return ClassifyEmotions(**build_arguments(FLAGS, values))


def test_every_option_of_the_operator_and_of_its_groups_is_a_flag() -> None:
    groups: list[type[OptionGroup]] = [Access, Cache, Decoding, Faces, Int8, Labels, Limits, Resources]
    fields = {(group.__name__, field.name) for group in groups for field in dataclasses.fields(group)}
    assert {(flag.panel, flag.field) for flag in FLAGS.flags.values() if flag.field} == fields
    plain = {field.name for field in dataclasses.fields(ClassifyEmotions)} - {
        "labels", "faces", "decoding", "access", "limits", "resources", "cache"
    }  # fmt: skip
    assert {flag.name for flag in FLAGS.flags.values() if not flag.field} == plain


def test_every_flag_is_documented_and_has_the_default_of_its_option() -> None:
    operator = ClassifyEmotions()
    for flag in FLAGS.flags.values():
        assert flag.help, flag.name
        value = getattr(operator, flag.parameter)
        if flag.field and value is not None and flag.panel != "Int8":
            value = getattr(value, flag.field)
        if flag.parameter == "faces" and flag.field != "which":
            value = getattr(Faces(), flag.field)
        assert flag.default == (dataclasses.MISSING if flag.panel == "Int8" else value), flag.name


def test_every_argument_of_a_job_is_a_flag_with_its_own_description() -> None:
    arguments = {
        name for name, one in inspect.signature(enrich_dataset).parameters.items() if one.kind is one.KEYWORD_ONLY
    } - {"runner", "on_progress"}  # only Python can give these
    flags = job_flags().flags.values()
    assert {flag.parameter for flag in flags} == arguments
    assert all(flag.help for flag in flags)
    assert {"compare_to", "staging", "max_drift"} <= {flag.name for flag in flags}


def test_the_options_of_an_operator_come_before_those_that_it_inherits() -> None:
    assert list(read_flags(CompareBrightness).flags)[:3] == ["image", "minimum", "shift"]


@pytest.mark.parametrize(
    ("values", "operator"),
    [
        ({"faces": "all", "face_threshold": "0.8"}, ClassifyEmotions(faces=Faces("all", threshold=0.8))),
        ({"faces": "none"}, ClassifyEmotions()),
        ({"faces": "None", "revision": "None", "labels_above": ""}, ClassifyEmotions()),
        ({"faces": {"which": "all"}, "max_faces": "3"}, ClassifyEmotions(faces=Faces("all", max_faces=3))),
        ({"faces": "{'which': 'all', 'max_faces': 3}"}, ClassifyEmotions(faces=Faces("all", max_faces=3))),
        ({"faces": {"which": "all", "margin": "0.1"}}, ClassifyEmotions(faces=Faces("all", margin=0.1))),
        ({"precision": "int8", "calibration": "x"}, ClassifyEmotions(precision=Int8("x"))),
        ({"precision": {"calibration": "x"}}, ClassifyEmotions(precision=Int8("x"))),
        ({"precision": "bf16"}, ClassifyEmotions(precision="bf16")),
        ({"labels_above": "0.3"}, ClassifyEmotions(labels=0.3)),
        ({"labels": "0.3"}, ClassifyEmotions(labels=0.3)),
        ({"labels": {"happy": 0.4}}, ClassifyEmotions(labels={"happy": 0.4})),
        ({"labels_above": "happy=0.4,sad=.2"}, ClassifyEmotions(labels={"happy": 0.4, "sad": 0.2})),
        ({"labels_above": '{"happy": 0.4}'}, ClassifyEmotions(labels={"happy": 0.4})),
        ({"labels_above": {"happy": "0.4"}}, ClassifyEmotions(labels={"happy": 0.4})),
        ({"labels_above": "[('happy', '0.4')]"}, ClassifyEmotions(labels={"happy": 0.4})),
        ({"memory": "2GB", "threads": "4"}, ClassifyEmotions(resources=Resources(2 * 10**9, 4))),
        ({"threads": "auto", "batch_size": "7"}, ClassifyEmotions(batch_size=7)),
        ({"resources": "1 MiB"}, ClassifyEmotions(resources=2**20)),
        ({"allow": "['s3', 'https']"}, ClassifyEmotions(access=Access(allow=("s3", "https")))),
        ({"allow": ["s3"], "root": "photos"}, ClassifyEmotions(access=Access("photos", allow=("s3",)))),
        ({"decode": "fast"}, ClassifyEmotions(decoding="fast")),
        ({"isolation": "process", "decode_timeout": "3"}, ClassifyEmotions(decoding=Decoding(isolation="process", timeout=3))),
        ({"cache_rows": "0"}, ClassifyEmotions(cache=0)),
        ({"max_side": "9"}, ClassifyEmotions(limits=Limits(max_side=9))),
    ],
)  # fmt: skip
def test_text_and_json_flat_or_in_groups_mean_the_same_options(
    values: dict[str, Any], operator: ClassifyEmotions
) -> None:
    assert classify(**values) == operator


@pytest.mark.parametrize(
    ("values", "option", "words"),
    [
        ({"face_threshold": "0.8"}, "face_threshold", "it has no effect alone: remove it, or give faces=largest"),
        ({"faces": "none", "max_faces": 2}, "max_faces", "it has no effect alone"),
        ({"faces": "all", "face_threshold": "2"}, "face_threshold", "give a number from 0 to 1"),
        ({"faces": {"which": "all", "threshold": 2}}, "face_threshold", "give a number from 0 to 1"),
        ({"faces": {"which": "all", "margin": 0}, "face_margin": 0}, "face_margin", "given twice"),
        ({"faces": "some"}, "faces", "'largest', 'all'"),
        ({"precision": "int8"}, "calibration", "give it with precision=int8"),
        ({"precision": "bf16", "calibration": "x"}, "calibration", "give precision=int8"),
        ({"memory": "2 GBs"}, "memory", "MiB"),
        ({"threads": "many"}, "threads", "give a whole number of at least 1"),
        ({"labels_above": "happy=0.4,happy=.2"}, "labels_above", "names a label twice"),
        ({"labels_above": "happy"}, "labels_above", "give 0.3, or happy=0.4"),
        ({"labels_above": {}}, "labels_above", "give a number from 0 to 1"),
        ({"decode_timeout": "3"}, "decode_timeout", 'give isolation="process"'),
        ({"face_treshold": 1}, "face_treshold", "there is no such option: give face_threshold"),
    ],
)
def test_an_option_that_cannot_be_used_is_named_flat(values: dict[str, Any], option: str, words: str) -> None:
    with pytest.raises(OptionError, match=words) as raised:
        classify(**values)
    assert raised.value.option == option


@pytest.mark.parametrize(
    ("values", "arguments"),
    [
        ({"columns": "all"}, {"columns": "all"}),
        ({"columns": "id, name"}, {"columns": ["id", "name"]}),
        ({"columns": "-image"}, {"columns": ["-image"]}),
        ({"columns": "['id']"}, {"columns": ["id"]}),
        ({"retry_errors": "all"}, {"retry_errors": True}),
        ({"retry_errors": "False"}, {"retry_errors": False}),
        ({"retry_errors": "unreadable,missing"}, {"retry_errors": ["unreadable", "missing"]}),
        ({"shard": "1/4"}, {"shard": [1, 4]}),
        ({"shard": "(1, 4)"}, {"shard": [1, 4]}),
        ({"shard": [1, 4]}, {"shard": [1, 4]}),
        ({"overwrite": "True", "contact_sheet": "auto", "limit": "None"},
         {"overwrite": True, "contact_sheet": "auto", "limit": None}),
        ({"max_error_rate": "0.5", "wait": "3"}, {"max_error_rate": 0.5, "wait": 3.0}),
    ],
)  # fmt: skip
def test_the_options_of_a_job_are_read_from_text(values: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert job_arguments(values) == arguments


def test_a_gate_is_given_flat_and_needs_no_first_option() -> None:
    assert job_arguments({"staging": "apart"})["gate"].staging == "apart"
    assert job_arguments({"compare_to": "old", "max_changes": "3"})["gate"].max_changes == 3
    assert job_arguments({"compare_to": "None"}) == {"gate": None}
    with pytest.raises(OptionError, match="needs an output to compare with") as raised:
        job_arguments({"max_changes": 3})
    assert raised.value.option == "compare_to"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("overwrite", "perhaps", "give true or false"),
        ("limit", "many", "give a whole number"),
        ("shard", "4", "give I/N"),
        ("compression_level", "4", "no such option: give compression"),
    ],
)
def test_text_that_is_not_a_value_of_its_option_is_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(OptionError, match=words) as raised:
        job_arguments({name: value})
    assert raised.value.option == name


def test_messages_of_the_command_line_name_flags_and_not_arguments() -> None:
    error = OptionError("Faces.threshold", 2, 'remove it, or give isolation="process" or face_margin=0.1')
    assert describe_error(error, [FLAGS]) == (
        "--face-threshold=2 cannot be used: remove it, or give --isolation process or --face-margin 0.1"
    )
    assert describe_error(ValueError('give on_error="null", not image=…'), [FLAGS]) == (
        "give --on-error null, not --image …"
    )
    assert describe_error(ValueError("/model=a/image=b/c"), [FLAGS]) == "/model=a/image=b/c"


def test_a_registered_operator_is_made_by_its_name() -> None:
    assert make_operator("image_statistics", {"image": "photo", "max_side": "9"}).inputs == ("photo",)
    with pytest.raises(OptionError, match=r"operator='nothing' .*'classify_emotions', 'image_statistics'"):
        make_operator("nothing", {})


@dataclass(frozen=True)
class Plain(ImageOperator):
    """An operator whose options are plain fields.

    Args:
        side: A length,
            in pixels.
        is_grey: Whether colours are removed.
        limit: A word.
    """

    side: int = 8
    is_grey: bool = False
    limit: Literal["low", "high"] = "low"

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("image",)

    def output_fields(self) -> list[Any]:
        return []

    def prepare(self, row: Any) -> Any:
        return None

    def compute(self, items: Any) -> Any:
        return items


def test_options_without_checks_have_the_types_of_their_fields() -> None:
    flags = read_flags(Plain)
    assert build_arguments(flags, {"side": "9", "is_grey": "true", "limit": "high"}) == {
        "side": 9, "is_grey": True, "limit": "high"
    }  # fmt: skip
    assert flags.flags["side"].help == "A length, in pixels."
    for name, value in (("side", "long"), ("is_grey", "perhaps"), ("limit", "middle")):
        with pytest.raises(OptionError, match=f"{name}="):
            build_arguments(flags, {name: value})


def test_an_option_of_an_operator_with_the_name_of_another_option_is_refused() -> None:
    with pytest.raises(OperatorError, match="the command line has another option '--limit'"):
        with_flags(lambda **given: None, job_flags(), read_flags(Plain))


def test_descriptions_are_read_from_the_section_of_arguments() -> None:
    text = """Summary.

    Args:
        one: The first,
            on two lines.
        two: It has a colon: here.

            And a second paragraph.
        **others: More.

    Returns:
        three: Not an argument.
    """
    assert read_arguments(text) == {
        "one": "The first, on two lines.", "two": "It has a colon: here. And a second paragraph.", "others": "More."
    }  # fmt: skip
    assert read_arguments(None) == read_arguments("Only a summary.") == {}
