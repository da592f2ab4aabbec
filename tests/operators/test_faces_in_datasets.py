"""Faces in datasets: written, proven, compared, retried and planned."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from enriched import rewrite, with_cell
from faces_model import YUNET, needs_yunet, photograph
from marked_faces import TABLE, with_faces
from pictures import encode

from emotion_ops import (
    ClassifyEmotions,
    DestinationConflictError,
    Labels,
    diff_datasets,
    enrich_dataset,
    verify_dataset,
)


@pytest.fixture
def dataset(operator: ClassifyEmotions, tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / "source.parquet"
    pq.write_table(TABLE, source, row_group_size=4)
    enrich_dataset(source, tmp_path / "out", operator)
    return source, tmp_path / "out"


def test_a_dataset_with_faces_is_written_verified_compared_and_retried(
    operator: ClassifyEmotions, dataset: tuple[Path, Path], enriched: pa.Table
) -> None:
    source, out = dataset
    written = pq.read_table(out / "source.parquet")
    assert written.schema.equals(enriched.schema)
    assert written.column("emotion_face_count").equals(enriched.column("emotion_face_count"))
    verified = verify_dataset(source, out)
    assert verified.proven, verified.problems
    assert enrich_dataset(source, out, operator).skipped == 1
    again = enrich_dataset(source, out, operator, retry_errors="no_face")
    assert (again.rows_retried, again.errors) == (1, {"missing": 1, "no_face": 1, "unsupported": 1})
    assert verify_dataset(source, out).proven
    assert diff_datasets(out, out).good_rows == 7


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [
        ("emotion_face_count", 2, 0),
        ("emotion_face_count", 1, 1),
        ("emotion_face", 0, None),
        ("emotion_faces", 2, []),
        ("emotion_faces", 9, []),
    ],
)
def test_verify_finds_faces_that_contradict_the_rest_of_the_row(
    dataset: tuple[Path, Path], column: str, row: int, value: object
) -> None:
    source, out = dataset
    rewrite(out / "source.parquet", with_cell(column, row, value))
    assert [problem.row for problem in verify_dataset(source, out).problems] == [row]


def face(row: int, place: int, **values: object) -> Callable[[pa.Table], pa.Table]:
    """A change of one face in a list."""

    def change(rows: pa.Table) -> pa.Table:
        faces = rows.column("emotion_faces")[row].as_py()
        faces[place].update(values)
        return with_cell("emotion_faces", row, faces)(rows)

    return change


def order(row: int, *places: int) -> Callable[[pa.Table], pa.Table]:
    """A change of which faces of a list there are, and in which order; the row's own count stays."""

    def change(rows: pa.Table) -> pa.Table:
        faces = rows.column("emotion_faces")[row].as_py()
        return with_cell("emotion_faces", row, [faces[place] for place in places])(rows)

    return change


DAMAGES: dict[str, tuple[Callable[[pa.Table], pa.Table], int, str]] = {
    "a face is lost": (order(2, 0, 1), 2, "emotion_faces has 2 faces, not 3"),
    "all are lost": (order(2), 2, "emotion_faces has 0 faces, not 3"),
    "a face is doubled": (order(2, 0, 1, 1, 2), 2, "emotion_faces has 4 faces, not 3"),
    "two are swapped": (order(2, 0, 2, 1), 2, "emotion_faces is not ordered by size and probability"),
    "the largest is another": (order(2, 1, 0, 2), 2, "emotion_faces is not ordered by size and probability"),
    "a probability of 5": (
        face(3, 20, happy=5.0),
        3,
        "face 21 of emotion_faces: happy is 5, which is not a probability",
    ),
    "a probability is NaN": (face(3, 1, sad=float("nan")), 3, "face 2 of emotion_faces: sad is nan, which is not"),
    "a probability is null": (face(3, 1, sad=None), 3, "face 2 of emotion_faces has no whole result"),
    "a label is another": (
        face(5, 1, emotion="bored"),
        5,
        "face 2 of emotion_faces: emotion is 'bored', but its result gives",
    ),
    "a label is null": (face(5, 1, emotion=None), 5, "face 2 of emotion_faces: emotion is None, but its result gives"),
    "they do not sum to 1": (face(5, 1, happy=0.9), 5, "face 2 of emotion_faces: the probabilities sum to 1."),
    "a box has no width": (face(5, 1, width=0.0), 5, "face 2 of emotion_faces is not a face that was asked for: x 5"),
    "a box lies outside": (face(5, 1, x=-1.0), 5, "is not a face that was asked for: x -1, y 5"),
    "a box is infinite": (face(5, 1, x=float("inf")), 5, "is not a face that was asked for: x inf"),
    "a box is null": (face(5, 1, y=None), 5, "is not a face that was asked for: x 5, y nan"),
    "a face is less probable": (face(5, 1, probability=0.69), 5, "height 20, probability 0.69"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_verify_checks_each_face_of_a_list_as_it_checks_a_row(dataset: tuple[Path, Path], name: str) -> None:
    source, out = dataset
    change, row, words = DAMAGES[name]
    rewrite(out / "source.parquet", change)
    problems = verify_dataset(source, out).problems
    assert [problem.row for problem in problems] == [row]
    assert words in problems[0].what


def test_verify_knows_how_many_faces_of_which_size_were_asked_for(operator: ClassifyEmotions, tmp_path: Path) -> None:
    source, out = tmp_path / "source.parquet", tmp_path / "out"
    pq.write_table(TABLE, source)
    enrich_dataset(
        source,
        out,
        dataclasses.replace(with_faces(operator, min_size=21, max_faces=2), labels=Labels(min_probability=0.9999)),
    )
    assert verify_dataset(source, out).proven
    rewrite(out / "source.parquet", face(2, 1, width=20.0))
    assert [problem.what[:61] for problem in verify_dataset(source, out).problems] == [
        "face 2 of emotion_faces is not a face that was asked for: x 6"
    ]
    rewrite(out / "source.parquet", face(2, 1, width=21.0, emotion="sad"))
    assert "emotion is 'sad', but its result gives None" in verify_dataset(source, out).problems[0].what


def test_verify_checks_the_box_of_the_largest_face_without_a_list_too(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    source, out = tmp_path / "source.parquet", tmp_path / "out"
    pq.write_table(TABLE, source)
    enrich_dataset(source, out, with_faces(operator, which="largest"))
    assert verify_dataset(source, out).proven
    box = {"x": 5.0, "y": 5.0, "width": -20.0, "height": 20.0, "probability": 0.9}
    rewrite(out / "source.parquet", with_cell("emotion_face", 0, box))
    (problem,) = verify_dataset(source, out).problems
    assert (problem.row, problem.what[:50]) == (0, "emotion_face is not a face that was asked for: x 5")


def test_other_options_of_faces_are_refused_and_the_error_says_which_differ(
    operator: ClassifyEmotions, dataset: tuple[Path, Path]
) -> None:
    source, out = dataset
    other = with_faces(operator, margin=0.1, max_faces=3)
    with pytest.raises(
        DestinationConflictError, match=r"face_margin: 0\.0 there, 0\.1 now; max_faces: 64 there, 3 now"
    ):
        enrich_dataset(source, out, other)


def test_a_plan_counts_images_without_a_face_and_the_memory_of_the_crops(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    pq.write_table(TABLE, tmp_path / "source.parquet")
    guesses = [
        enrich_dataset(
            tmp_path / "source.parquet",
            tmp_path / "out",
            with_faces(operator, max_faces=limit),
            dry_run=True,
        ).estimate
        for limit in (1, 1000)
    ]
    for guess in guesses:
        assert guess is not None
        assert guess.failed == {"missing": 1, "no_face": 1, "unsupported": 1}
    few, many = (guess.memory_bytes for guess in guesses if guess)
    side = operator.load_engine().pixels.height
    assert many - few >= 999 * 2 * 4 * side * side * 3  # of two rows for each of four threads or more


@needs_yunet
def test_the_command_line_finds_faces(tiny_model: str, tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"image": [encode(photograph("astronaut")), encode(photograph("coffee"))]}), tmp_path / "a.parquet"
    )
    command = [
        sys.executable,
        "-m",
        "emotion_ops",
        "enrich",
        str(tmp_path / "a.parquet"),
        str(tmp_path / "out"),
        "--model",
        tiny_model,
    ]
    done = subprocess.run(
        [*command, "--faces", "all", "--detector", str(YUNET)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no_face" in done.stdout
    assert pq.read_table(tmp_path / "out" / "a.parquet").column("emotion_face_count").to_pylist() == [1, 0]
