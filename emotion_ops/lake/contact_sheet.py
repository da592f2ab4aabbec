"""A few rows of a job, to look at: small pictures with their labels, read again from the source."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import RowError
from emotion_ops.images.cells import Cell, CellGetter, cells_of, kind_of
from emotion_ops.lake.plan import FilePlan
from emotion_ops.lake.runners.local import read_batches
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.operators.classify.session import loader_of

ROWS = 24
"""Rows of a sheet at the most."""

_SIDE = 96
_READ = 64 * 2**20


@dataclass(frozen=True)
class Card:
    """One row of the sheet.

    Attributes:
        source: The source file.
        key: Its place in the source, which is short.
        row: The row's position in it, from 0.
        label: The label of the highest probability; None where the row failed, or nothing is sure enough.
        probability: That probability; None where the row failed.
        error: ``code: what happened``; None where the row is good.
        picture: A JPEG, at most 96 pixels wide and high, as a ``data:`` URL; None where there is none to show.
    """

    source: str
    key: str
    row: int
    label: str | None
    probability: float | None
    error: str | None
    picture: str | None


@dataclass(frozen=True)
class _Pick:
    """A row that is shown."""

    row_group: int
    row_in_group: int
    row: int


@dataclass
class Sheet:
    """The rows that are shown, spread evenly over the files of a job, and their answers as they come.

    Of a large row group only rows near its start are shown, since Parquet is read from there: all that is read
    for a sheet is at most about 64 MiB and one batch for each row group.

    Attributes:
        plans: The files, by output key.
        only_cells: Whether images that are paths in the table are left out.
    """

    plans: dict[str, FilePlan]
    only_cells: bool
    _picks: dict[str, list[_Pick]]
    _answers: dict[str, pa.Table] = field(default_factory=dict)

    @classmethod
    def over(cls, plans: Sequence[FilePlan], *, only_cells: bool, rows: int = ROWS) -> Sheet:
        """Choose the rows.

        Args:
            plans: The files that the job is to publish.
            only_cells: Show images that lie in the table only, not those that it holds the paths of.
            rows: How many, at the most.
        """
        total = sum(plan.rows for plan in plans)
        count = min(rows, total)
        wanted = iter([(2 * i + 1) * total // (2 * count) for i in range(count)] if count else [])
        groups: dict[tuple[str, int], tuple[int, int]] = {}  # (file, row group) → picks, first row in the file
        start, row = 0, next(wanted, None)
        for plan in plans:
            first = 0
            for number, group in enumerate(plan.row_groups):
                while row is not None and row < start + group.rows:
                    picked, _ = groups.get((plan.key, number), (0, 0))
                    groups[plan.key, number] = picked + 1, first
                    row = next(wanted, None)
                first += group.rows
                start += group.rows
        by_key = {plan.key: plan for plan in plans}
        picks = defaultdict(list)
        for (key, number), (picked, first) in groups.items():
            group = by_key[key].row_groups[number]
            within = min(group.rows, max(picked, _READ // len(groups) * group.rows // max(1, group.bytes)))
            for i in range(picked):
                offset = (2 * i + 1) * within // (2 * picked)
                picks[key].append(_Pick(number, offset, first + offset))
        return cls({key: by_key[key] for key in picks}, only_cells, dict(picks))

    def rows_of(self, key: str) -> list[int]:
        """The rows of a file that are shown, by their position in it."""
        return [pick.row for pick in self._picks.get(key, [])]

    def answer(self, key: str, answers: pa.Table) -> None:
        """Take the answers to the rows of a file that are shown."""
        self._answers[key] = answers

    def cards(self, operator: ClassifyEmotions) -> list[Card]:
        """Read the rows' images again, within the access and the limits of the options, and show them small.

        Raises:
            DatasetError: A source cannot be read.
        """
        load = loader_of(operator, _small).load
        columns, image = operator.output_columns(), operator.image
        return [card for key in self._answers for card in self._cards_of(key, image, columns, load)]

    def _cards_of(
        self, key: str, image: str, columns: OutputColumns, load: Callable[[Cell], NDArray[np.uint8]]
    ) -> Iterator[Card]:
        plan, picks = self.plans[key], self._picks[key]
        answers = self._answers[key].to_pylist()
        for pick, answer, cell in zip(picks, answers, self._cells(plan, picks, image), strict=True):
            picture, error = None, answer[columns.error]
            if error is None and not (self.only_cells and isinstance(cell, str)):
                with contextlib.suppress(RowError):  # it could be read when it was answered: the answer stands
                    picture = _data_url(load(cell))
            best = None if error is not None else max(answer[name] for name in columns.probabilities)
            yield Card(plan.source_path, plan.entry.key, pick.row, answer[columns.label], best, error, picture)

    @staticmethod
    def _cells(plan: FilePlan, picks: Sequence[_Pick], image: str) -> Iterator[Cell]:
        """The image cells of some rows of a file, in order; each row group is read once, to its last pick."""
        for number, of_group in itertools.groupby(picks, key=lambda pick: pick.row_group):
            wanted, start = deque(of_group), 0
            for batch in read_batches(plan.source, plan.entry.key, columns=[image], row_group=number):
                cells = cells_of(batch.column(0), image) if batch.num_columns else _no_image
                while wanted and wanted[0].row_in_group < start + batch.num_rows:
                    yield _cell(cells, wanted.popleft().row_in_group - start)
                start += batch.num_rows
                if not wanted:
                    break
            yield from (None for _ in wanted)  # the source has fewer rows than it had


def holds_images(schema: pa.Schema, image: str) -> bool:
    """Whether a table of this schema has the images themselves in it, not just their paths."""
    return image in schema.names and kind_of(schema.field(image).type, image) not in ("paths", "nothing")


def _no_image(row: int) -> None:
    """The file has no such column."""


def _cell(cells: CellGetter, row: int) -> Cell:
    try:
        return cells(row)
    except RowError:
        return None


def _small(picture: Image.Image) -> NDArray[np.uint8]:
    picture.thumbnail((_SIDE, _SIDE))
    return np.asarray(picture)


def _data_url(pixels: NDArray[np.uint8]) -> str:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
