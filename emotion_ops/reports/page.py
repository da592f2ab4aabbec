"""The report as an HTML page: one file that loads nothing from the network and runs no script."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jinja2

from emotion_ops.operators.hooks import Card, Measure
from emotion_ops.reports.report import EnrichReport, Totals
from emotion_ops.reports.stages import Stages

_LISTED = 50
"""Files, and outputs without a source, that are listed; the others are counted."""

_STAGES = (
    ("planning", "planning"),
    ("loading", "loading the model"),
    ("reading", "reading rows"),
    ("waiting", "waiting for rows that are prepared"),
    ("computing", "computing"),
    ("journalling", "writing the journal"),
    ("writing", "writing outputs"),
    ("other", "everything else"),
)
_HISTOGRAM_BARS = 12  # an ordered measure of more bars is drawn as a histogram


@dataclass(frozen=True)
class SheetRow:
    """One row of the contact sheet.

    Attributes:
        source: The source file.
        key: Its place in the source, which is short.
        row: The row's position in it, from 0.
        card: What the operator says about it.
        image: A JPEG as a ``data:`` URL; None if there is none to show.
    """

    source: str
    key: str
    row: int
    card: Card
    image: str | None


@dataclass(frozen=True)
class Bar:
    """One line of a chart: a name, a number, its share of the whole, and its length relative to the longest."""

    name: str
    value: float
    share: float
    length: float


@dataclass(frozen=True)
class Chart:
    """A measure as a chart.

    Attributes:
        title: Its title.
        note: What readers should know about it; may be empty.
        bars: Its bars, in the order in which they are drawn.
        has_shares: Whether the values are parts of the good rows.
        is_histogram: Whether it is drawn as upright bars side by side.
    """

    title: str
    note: str
    bars: list[Bar]
    has_shares: bool
    is_histogram: bool


def render(report: EnrichReport, rows: Sequence[SheetRow] = ()) -> str:
    """The page of a report.

    Args:
        report: The report.
        rows: The rows of the contact sheet.

    Returns:
        HTML. Everything that comes from the data (names, values, messages) is escaped.
    """
    files = [file for file in report.planned if file.action != "skip"]
    return _template().render(
        report=report,
        dataset=report.dataset,
        charts=[_chart(measure, report.dataset) for measure in report.dataset.summary],
        errors=_bars(sorted(report.dataset.errors.items(), key=lambda error: -error[1])),
        stages=_stages(report.stages),
        rows=rows,
        actions=Counter(file.action for file in report.planned),
        files=files[:_LISTED],
        more_files=max(0, len(files) - _LISTED),
        orphaned=report.orphaned[:_LISTED],
        more_orphaned=max(0, len(report.orphaned) - _LISTED),
    )


def in_bytes(count: int) -> str:
    """A number of bytes for people, in powers of 1000."""
    amount, unit, larger = float(count), "bytes", iter(("kB", "MB", "GB", "TB"))
    while amount >= 1000 and (next_unit := next(larger, None)):
        amount, unit = amount / 1000, next_unit
    return f"{amount:,.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:,.1f} {unit}"


def in_time(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def in_percent(part: float) -> str:
    """A part of 1 in percent; a part that is neither nothing nor everything never looks like one of these."""
    text = f"{part:.1%}"
    if text == "0.0%" and part > 0:
        return "< 0.1%"
    return "> 99.9%" if text == "100.0%" and part < 1 else text


def in_digits(value: float) -> str:
    """A number for people: a whole number with all of its digits, another one with four."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emotion_ops.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=in_digits, bytes=in_bytes, time=in_time, percent=in_percent)
    return environment.get_template("report.html.j2")


def _chart(measure: Measure, dataset: Totals) -> Chart:
    items = list(measure.shown(dataset.good_rows).items())
    if not measure.ordered:
        items.sort(key=lambda item: -item[1])
    bars = _bars(items, dataset.good_rows)
    has_shares = not measure.per_row and all(0 <= bar.share <= 1 for bar in bars)
    return Chart(measure.title, measure.note, bars, has_shares, measure.ordered and len(bars) > _HISTOGRAM_BARS)


def _stages(stages: Stages) -> list[Bar]:
    return _bars([(words, getattr(stages, name)) for name, words in _STAGES])


def _bars(items: Iterable[tuple[str, float]], total: float | None = None) -> list[Bar]:
    """Bars of some numbers; without a total, the shares are those of their sum."""
    items = list(items)
    if total is None:
        total = sum(value for _, value in items)
    longest = max((abs(value) for _, value in items), default=0)
    return [
        Bar(name, value, value / total if total else 0.0, abs(value) / longest if longest else 0.0)
        for name, value in items
    ]
