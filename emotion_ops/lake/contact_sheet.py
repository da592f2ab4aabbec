"""The contact sheet of a job: a few rows with small images, which are read again from the source."""

from __future__ import annotations

import base64
import io
import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
from PIL import Image

from emotion_ops.images.cells import image_kind
from emotion_ops.images.objects import to_cell
from emotion_ops.lake.columns import passthrough_columns
from emotion_ops.lake.parquet import read_batches
from emotion_ops.lake.plan import FilePlan
from emotion_ops.operators.base import TableOperator
from emotion_ops.operators.rows import Row, RowBatch
from emotion_ops.operators.run import Run
from emotion_ops.reports.cards import load_image, make_card
from emotion_ops.reports.page import SheetRow

MAX_ROWS = 24
"""Maximum rows of a sheet."""

_SIDE = 96
_READ_BYTES = 64 * 2**20


@dataclass(frozen=True)
class _ChosenRow:
    row_group: int
    row_in_group: int
    row: int


@dataclass
class ContactSheet:
    """The rows that are shown, spread evenly over the files of a job, and their appended columns as they come.

    Of a large row group only rows near its start are shown, because Parquet is read from there: a sheet reads at most
    about 64 MiB and one batch for each row group.

    Attributes:
        plans: The files, by output key.
        stored_only: Whether images that are paths in the table are left out.
    """

    plans: dict[str, FilePlan]
    stored_only: bool
    _rows: dict[str, list[_ChosenRow]]
    _appended: dict[str, pa.Table] = field(default_factory=dict)

    @classmethod
    def choose(
        cls,
        plans: Sequence[FilePlan],
        operator: TableOperator,
        columns: str | Sequence[str],
        wanted: bool | Literal["auto"],
    ) -> ContactSheet | None:
        """Choose the rows; None if no sheet is wanted.

        Args:
            plans: The files that the job is to publish.
            operator: The operator.
            columns: The columns that pass through; see ``enrich_dataset``.
            wanted: ``"auto"`` shows rows of files whose outputs have the images themselves anyway, so that no image is
                copied to a new place.
        """
        if wanted == "auto":
            stored = [plan for plan in plans if _has_stored_images(plan, operator, columns)]
            return cls.spread(stored, stored_only=True)
        return cls.spread(plans, stored_only=False) if wanted else None

    @classmethod
    def spread(cls, plans: Sequence[FilePlan], *, stored_only: bool, max_rows: int = MAX_ROWS) -> ContactSheet:
        """Spread the rows over some files.

        Args:
            plans: The files.
            stored_only: Show only images that are stored in the table, not those that it has the paths of.
            max_rows: How many rows, at most.
        """
        total = sum(plan.rows for plan in plans)
        count = min(max_rows, total)
        wanted = iter([(2 * i + 1) * total // (2 * count) for i in range(count)] if count else [])
        groups: dict[tuple[str, int], tuple[int, int]] = {}  # (file, row group) → rows, first row in the file
        start, row = 0, next(wanted, None)
        for plan in plans:
            first = 0
            for number, group in enumerate(plan.row_groups):
                while row is not None and row < start + group.rows:
                    chosen, _ = groups.get((plan.key, number), (0, 0))
                    groups[plan.key, number] = chosen + 1, first
                    row = next(wanted, None)
                first += group.rows
                start += group.rows
        by_key = {plan.key: plan for plan in plans}
        rows = defaultdict(list)
        for (key, number), (chosen, first) in groups.items():
            group = by_key[key].row_groups[number]
            within = min(group.rows, max(chosen, _READ_BYTES // len(groups) * group.rows // max(1, group.bytes)))
            for i in range(chosen):
                offset = (2 * i + 1) * within // (2 * chosen)
                rows[key].append(_ChosenRow(number, offset, first + offset))
        return cls({key: by_key[key] for key in rows}, stored_only, dict(rows))

    def rows_in(self, key: str) -> list[int]:
        """The chosen rows of a file, by their position in it."""
        return [chosen.row for chosen in self._rows.get(key, [])]

    def add(self, key: str, appended: pa.Table) -> None:
        """Take the appended columns of the chosen rows of a file."""
        self._appended[key] = appended

    def read(self, operator: TableOperator) -> list[SheetRow]:
        """Read the inputs of the rows again, and load their images within the access and the limits of the operator.

        Raises:
            DatasetError: A source cannot be read.
        """
        run = operator.new_run()
        return [row for key in self._appended for row in self._read_file(key, operator, run)]

    def _read_file(self, key: str, operator: TableOperator, run: Run) -> Iterator[SheetRow]:
        plan, chosen = self.plans[key], self._rows[key]
        inputs = self._read_inputs(plan, chosen, operator.inputs, run)
        for place, appended, row in zip(chosen, self._appended[key].to_pylist(), inputs, strict=True):
            card = make_card(operator, row, appended)
            is_shown = card.error is None and not (self.stored_only and isinstance(to_cell(card.image), str))
            image = load_image(card, run, _SIDE) if is_shown else None
            url = None if image is None else _data_url(image)
            yield SheetRow(plan.source_path, plan.entry.key, place.row, card, url)

    @staticmethod
    def _read_inputs(plan: FilePlan, chosen: Sequence[_ChosenRow], names: Sequence[str], run: Run) -> Iterator[Row]:
        """The inputs of some rows of a file, in order; each row group is read once, to the last of them."""
        for number, rows in itertools.groupby(chosen, key=lambda place: place.row_group):
            wanted, start = deque(rows), 0
            for batch in read_batches(plan.source, plan.entry.key, columns=names, row_group=number):
                columns = RowBatch.from_arrow(None, batch).columns
                while wanted and wanted[0].row_in_group < start + batch.num_rows:
                    yield Row(columns, wanted.popleft().row_in_group - start, run)
                start += batch.num_rows
                if not wanted:
                    break
            yield from (Row({}, 0, run) for _ in wanted)  # the source has fewer rows than before


def _has_stored_images(plan: FilePlan, operator: TableOperator, columns: str | Sequence[str]) -> bool:
    """Whether the output of a file has the images themselves, not only their paths."""
    names = {plan.schema.names[position] for position in passthrough_columns(plan.schema, columns)}
    return all(
        name in names and image_kind(plan.schema.field(name).type, name) not in ("paths", "nothing")
        for name in operator.image_inputs
    )


def _data_url(image: Image.Image) -> str:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
