"""``emotion-ops demo``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from rich.table import Table
from rich.text import Text

from emotion_ops.cli.output import out, progress_of_rows, two_columns
from emotion_ops.demo import FACES_FILE
from emotion_ops.lake.enrich import enrich_dataset
from emotion_ops.models.checkpoint import DEMO_MODEL
from emotion_ops.operators.classify.operator import ClassifyEmotions
from emotion_ops.reports.cards import DrawnCard, draw_sheet
from emotion_ops.reports.preview import read_cards


def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where files are written; those of an earlier run are replaced.")
    ] = Path("demo-output"),
) -> None:
    """Enrich sample faces with the bundled demo model, print a table and write a contact sheet.

    It needs no network.

    emotion-ops demo
    """
    folder.mkdir(parents=True, exist_ok=True)
    faces, enriched, sheet = (folder / name for name in ("faces.parquet", "enriched.parquet", "contact-sheet.png"))
    shutil.copyfile(FACES_FILE, faces)
    operator = ClassifyEmotions(model=DEMO_MODEL)
    with progress_of_rows("enriching") as show:
        report = enrich_dataset(
            faces, enriched, operator, overwrite=True, on_progress=lambda p: show(p.rows_done, p.rows_total, p.errors)
        )
    columns = operator.output_columns()
    rows = pq.read_table(enriched).to_pylist()
    out.print(_table(rows, columns.labels, columns.probabilities))
    right = sum(row["drawn"] == row["emotion"] for row in rows)
    out.print(f"{right} of {len(rows)} faces got the emotion that was drawn.\n")
    table = pq.read_table(enriched)
    cards = zip(rows, read_cards(operator, table, table.select(columns.names)), strict=True)
    draw_sheet([DrawnCard(f"{row['id']}, drawn {row['drawn']}", image, card) for row, (card, image) in cards]).save(
        sheet
    )
    grid = two_columns()
    for name, path in (("dataset", faces), ("enriched", enriched), ("contact sheet", sheet), ("report", report.page)):
        grid.add_row(name, str(path))
    out.print(grid)
    out.print(
        "\nThe demo model is for drawn faces only. For photographs, use the default model:",
        style="bold",
    )
    out.print("  emotion-ops enrich photos.parquet enriched/ --image path", markup=False, soft_wrap=True)
    out.print('  df.pipe(emotion_ops.classify_emotions, image="image")', markup=False)


def _table(rows: list[dict[str, Any]], labels: tuple[str, ...], names: tuple[str, ...]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for header in ("id", "drawn", "emotion"):
        table.add_column(header, no_wrap=True)
    for label in labels:
        table.add_column(label[:5], justify="right", no_wrap=True)
    for row in rows:
        best = max(names, key=lambda name: row[name])
        values = [Text(f"{row[name]:.2f}", style="bold" if name == best else "dim") for name in names]
        mark = "" if row["drawn"] == row["emotion"] else " ≠"
        table.add_row(row["id"].removeprefix("face-"), row["drawn"], f"{row['emotion']}{mark}", *values)
    return table
