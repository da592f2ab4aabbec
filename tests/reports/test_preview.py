"""A preview shows the first rows as images, with what an operator appends to them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faces_model import Marked
from pictures import encode
from PIL import Image

from emotion_ops import (
    ClassifyEmotions,
    ColumnNotFoundError,
    Faces,
    FrameTypeError,
    Labels,
    Limits,
    ModelError,
    OptionError,
    preview,
)
from emotion_ops.cli.preview import preview as command
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.rows import Row
from emotion_ops.reports.cards import DrawnCard
from emotion_ops.reports.preview import preview_cards
from emotion_ops.testing.operators import ImageStatistics

INK = (0, 0, 0)  # is drawn around the letters of a box's text, and nowhere else on a sheet


def marked(*faces: tuple[int, int, int, int], size: tuple[int, int] = (400, 400)) -> bytes:
    """A grey image with marked faces: left, top, width, height."""
    pixels = np.full((size[1], size[0], 3), 180, np.uint8)
    for number, (left, top, width, height) in enumerate(faces):
        pixels[top : top + height, left : left + width] = (77, 255, number)
    return encode(Image.fromarray(pixels))


CELLS = [
    *(
        marked(*((5 + place % 6 * 65, 5 + place // 6 * 65, 50 - place, 50 - place) for place in range(count)))
        for count in (1, 0, 3, 30, 1, 2, 1, 1)
    ),
    None,
    b"text",
]
TABLE = pa.table({"id": range(10), "image": pa.array(CELLS, pa.binary())})


def inked(image: Image.Image | None) -> np.ndarray:
    assert image is not None
    return (np.asarray(image) == INK).all(axis=-1)


def cards_of(operator: TableOperator, cells: list[object]) -> list[DrawnCard]:
    return list(preview_cards(operator, "", {"image": cells}))


@dataclass(frozen=True)
class TextLength(TableOperator):
    """The length of a text."""

    inputs = ("text",)

    def output_fields(self) -> list[pa.Field]:
        return [pa.field("length", pa.int32()), pa.field("error", pa.string())]

    def prepare(self, row: Row) -> int:
        return len(row["text"])

    def compute(self, items: Sequence[int]) -> Sequence[int]:
        return items


@pytest.mark.parametrize("faces", [None, Faces("largest", Marked()), Faces("all", Marked())])
def test_every_frame_gives_the_same_sheet_in_every_mode(tiny_model: str, faces: Faces | None) -> None:
    options = {"n": 5, "model": tiny_model, "faces": faces}
    sheets = [
        np.asarray(preview(frame, **options))
        for frame in (TABLE, TABLE.to_batches()[0], pl.from_arrow(TABLE), pd.DataFrame({"image": CELLS}))
    ]
    assert all(np.array_equal(sheets[0], sheet) for sheet in sheets)
    boxes = (sheets[0] == (255, 209, 102)).all(axis=2).sum()
    assert (boxes > 0) == (faces is not None)


def test_rows_that_fail_are_shown_and_few_rows_make_a_small_sheet(tiny_model: str) -> None:
    whole, few = (preview(TABLE, n=n, model=tiny_model) for n in (100, 2))
    assert whole.width > few.width
    assert preview(TABLE.slice(0, 0), model=tiny_model).width > 0
    with pytest.raises(ColumnNotFoundError):
        preview(TABLE, "photo", model=tiny_model)


def test_the_command_writes_the_sheet_that_its_options_ask_for(tiny_model: str, tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=3)
    command = [
        sys.executable, "-m", "emotion_ops", "preview", tmp_path / "a.parquet", "--model", tiny_model, "-n", "5", "-o",
        tmp_path / "s.png", "--labels-above", "happy=0.05,sad=0.1", "--min-probability", "0.9",
        "--batch-size", "2", "--max-side", "200",
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    options = {"labels": Labels({"happy": 0.05, "sad": 0.1}, 0.9), "limits": Limits(max_side=200)}
    with Image.open(tmp_path / "s.png") as sheet:
        assert np.array_equal(np.asarray(sheet), np.asarray(preview(TABLE, n=5, model=tiny_model, **options)))


@pytest.mark.parametrize("n", [0, -1, 2.5, None, "3", True, 201])
def test_a_number_of_rows_that_cannot_be_is_refused_at_once_for_every_frame(tiny_model: str, n: object) -> None:
    for frame in (TABLE, pl.from_arrow(TABLE), pd.DataFrame({"image": CELLS})):
        with pytest.raises(OptionError, match="from 1 to 200"):
            preview(frame, n=n, model=tiny_model)  # type: ignore[arg-type]


def test_two_columns_of_one_name_are_refused_and_a_reader_is_not_used_up(tiny_model: str) -> None:
    images = TABLE.column("image")
    frame = pd.concat([pd.DataFrame({"image": CELLS}), pd.DataFrame({"image": CELLS})], axis=1)
    for twice in (pa.table([images, images], names=["image", "image"]), frame):
        with pytest.raises(OptionError, match="2 columns have this name"):
            preview(twice, model=tiny_model)
    with pytest.raises(FrameTypeError, match="first batch"):
        preview(pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches()), model=tiny_model)


def test_rows_that_fail_are_shown_whatever_on_error_says(tiny_model: str) -> None:
    shown, *others = (np.asarray(preview(TABLE, model=tiny_model, on_error=word)) for word in ("null", "raise", "drop"))
    assert all(np.array_equal(shown, other) for other in others)
    with pytest.raises(OptionError, match="on_error"):
        preview(TABLE, model=tiny_model, on_error="ignore")


def test_labels_are_written_into_their_boxes_and_never_where_there_is_no_room(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, faces=Faces("all", Marked()))
    crowd = [(5 + place % 6 * 65, 5 + place // 6 * 65, 36, 36) for place in range(30)]
    edges = [(0, 0, 120, 120), (280, 280, 120, 120), (280, 0, 120, 120), (0, 280, 120, 120)]
    small, large, flat = cards_of(operator, [marked(*crowd), marked(*edges), marked((0, 0, 400, 8), size=(400, 8))])
    assert not inked(small.image).any()
    assert small.card.notes[0].startswith("faces: ")
    assert sum(int(word) for word in small.card.notes[0].split() if word.isdigit()) == 30
    assert not inked(flat.image).any()
    ink = inked(large.image)
    for left, top, width, height in edges:
        box = slice(top // 2 + 2, (top + height) // 2 - 2), slice(left // 2 + 2, (left + width) // 2 - 2)
        assert ink[box].any()
        ink[box] = False
    assert not ink.any()


def test_two_faces_at_one_place_have_one_label(tiny_model: str) -> None:
    def twice(pixels: np.ndarray) -> list[tuple[float, ...]]:
        return [(100, 100, 200, 200, 0.9), (101, 101, 200, 199, 0.9)]

    def once(pixels: np.ndarray) -> list[tuple[float, ...]]:
        return twice(pixels)[:1]

    (one,), (two,) = (
        cards_of(ClassifyEmotions(model=tiny_model, faces=Faces("all", detector)), [marked()])
        for detector in (once, twice)
    )
    assert inked(one.image).sum() >= inked(two.image).sum() > 0


def test_a_card_says_why_there_is_no_label_and_which_labels_are_listed(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, labels=Labels(0.05, 1.0))
    enriched = operator(TABLE)
    for number, drawn in enumerate(cards_of(operator, TABLE.column("image").to_pylist())[:8]):
        card = drawn.card
        best = max(card.bars.values())
        listed = enriched.column("emotion_labels")[number].as_py()
        assert (card.headline, card.value) == ("unsure", None)
        assert list(card.marked) == listed
        why, which = card.notes
        assert why.endswith("is below 1")
        assert float(why.split()[1]) < 1.0
        assert abs(float(why.split()[1]) - best) < 0.005
        assert which == f"listed: {', '.join(listed)}"
    nothing = ClassifyEmotions(model=tiny_model, labels={"happy": 1.0})
    assert cards_of(nothing, [CELLS[0]])[0].card.notes == ["listed: none"]
    sure = cards_of(ClassifyEmotions(model=tiny_model), [CELLS[0]])[0].card
    assert (sure.notes, list(sure.marked)) == ([], [])


def test_a_value_just_below_its_threshold_is_never_shown_as_equal_to_it(tiny_model: str) -> None:
    best = max(cards_of(ClassifyEmotions(model=tiny_model), [CELLS[0]])[0].card.bars.values())
    threshold = float(np.nextafter(np.float32(best), np.float32(2)))
    (drawn,) = cards_of(ClassifyEmotions(model=tiny_model, labels=Labels(min_probability=threshold)), [CELLS[0]])
    assert drawn.card.value is None
    assert float(drawn.card.notes[0].split()[1]) < threshold


def test_any_operator_has_a_preview() -> None:
    good, failed = cards_of(ImageStatistics(), [marked(), None])
    assert good.card.headline.startswith("brightness: 0.7")
    assert list(good.card.notes) == ["width: 400", "height: 400"]
    assert good.image is not None
    assert (failed.card.error, failed.image) == ("missing: the cell is null", None)


def test_an_input_that_is_not_an_image_is_never_opened_as_a_path(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(marked())
    (drawn,) = preview_cards(TextLength(), "", {"text": [str(path)]})
    assert (drawn.image, drawn.card.headline) == (None, f"length: {len(str(path))}")


def test_the_command_reads_files_until_there_are_enough_rows(tiny_model: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(TABLE.slice(0, 0), folder / "a.parquet")
    pq.write_table(TABLE.slice(0, 2), folder / "b.parquet")
    pq.write_table(pa.table({"image": TABLE.column("image").cast(pa.large_binary())}), folder / "c.parquet")
    command(str(folder), rows=5, output=tmp_path / "s.png", model=tiny_model)
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size == preview(TABLE, n=5, model=tiny_model).size
    pq.write_table(pa.table({"id": [1]}), folder / "d.parquet")
    with pytest.raises(ColumnNotFoundError, match=r"d\.parquet"):
        command(str(folder), rows=50, output=tmp_path / "s.png", model=tiny_model)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("sheet", "ends in .png"),
        ("a.xyz", "ends in .png"),
        ("in.parquet", "ends in .png"),
        ("folder.png", "ends in .png"),
        ("no/where/a.png", "there is no folder"),
    ],
)
def test_an_image_that_could_not_be_written_is_refused_before_any_work(output: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    pq.write_table(TABLE, tmp_path / "in.parquet")
    with pytest.raises(OptionError, match=words):
        command(str(tmp_path / "in.parquet"), rows=3, output=tmp_path / output, model="./nowhere")
    with pytest.raises(OptionError, match="from 1 to 200"):
        command(str(tmp_path / "in.parquet"), rows=1000, output=tmp_path / "a.webp", model="./nowhere")
    with pytest.raises(ModelError):
        command(str(tmp_path / "in.parquet"), rows=3, output=tmp_path / "A.PNG", model="./nowhere")
    assert pq.read_table(tmp_path / "in.parquet").equals(TABLE)


def test_every_format_that_is_offered_can_be_written(tiny_model: str, tmp_path: Path) -> None:
    from emotion_ops.cli.preview import _ENDINGS

    pq.write_table(TABLE, tmp_path / "in.parquet")
    for ending in _ENDINGS:
        command(str(tmp_path / "in.parquet"), rows=1, output=tmp_path / f"a{ending}", model=tiny_model)
        assert (tmp_path / f"a{ending}").stat().st_size > 0
