"""The report as an HTML page: one file that asks nothing of the network, and runs no script."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import jinja2

from emotion_ops.lake.contact_sheet import Card
from emotion_ops.reports.findings import BINS
from emotion_ops.reports.report import EnrichReport
from emotion_ops.reports.stages import Stages

_LISTED = 50
"""Files, and outputs without a source, that are listed; of more, the number is told."""

_STAGES = (
    ("planning", "planning"),
    ("model_loading", "loading the model"),
    ("reading", "reading rows"),
    ("waiting", "waiting for images"),
    ("network", "network"),
    ("journalling", "writing the journal"),
    ("writing", "writing outputs"),
    ("other", "all else"),
)


@dataclass(frozen=True)
class Bar:
    """One line of a chart: a name, a number, its part of the whole, and its length beside the longest."""

    name: str
    value: float
    share: float
    length: float


def render(report: EnrichReport, cards: Sequence[Card] = ()) -> str:
    """The page of a report.

    Args:
        report: What it tells.
        cards: The rows that it shows as pictures.

    Returns:
        HTML. Whatever came from the data (names, labels, messages) is escaped.
    """
    shown = [file for file in report.planned if file.action != "skip"]
    return _template().render(
        report=report,
        labels=_bars(report.labels),
        errors=_bars(report.errors),
        bins=_bins(report.winning_probabilities),
        stages=_stages(report.stages),
        cards=cards,
        actions=Counter(file.action for file in report.planned),
        files=shown[:_LISTED],
        more_files=max(0, len(shown) - _LISTED),
        orphaned=report.orphaned[:_LISTED],
        more_orphaned=max(0, len(report.orphaned) - _LISTED),
    )


def in_bytes(count: int) -> str:
    """A number of bytes as people say it, in powers of 1000."""
    amount, unit, larger = float(count), "bytes", iter(("kB", "MB", "GB", "TB"))
    while amount >= 1000 and (next_unit := next(larger, None)):
        amount, unit = amount / 1000, next_unit
    return f"{amount:,.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:,.1f} {unit}"


def in_time(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def in_percent(part: float) -> str:
    """A part of 1 in percent; one that is neither none nor all never looks like either."""
    text = f"{part:.1%}"
    if text == "0.0%" and part > 0:
        return "< 0.1%"
    return "> 99.9%" if text == "100.0%" and part < 1 else text


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emotion_ops.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number="{:,}".format, bytes=in_bytes, time=in_time, percent=in_percent)
    return environment.get_template("report.html.j2")


def _bars(counts: Mapping[str, int]) -> list[Bar]:
    """The largest first."""
    return _measured(sorted(counts.items(), key=lambda item: -item[1]))


def _bins(counts: Sequence[int]) -> list[Bar]:
    return _measured([(f"{i / BINS:.2f} to {(i + 1) / BINS:.2f}", count) for i, count in enumerate(counts)])


def _stages(stages: Stages) -> list[Bar]:
    return _measured([(words, getattr(stages, name)) for name, words in _STAGES])


def _measured(items: Iterable[tuple[str, float]]) -> list[Bar]:
    items = list(items)
    total, most = sum(value for _, value in items), max((value for _, value in items), default=0)
    return [Bar(name, value, value / total if total else 0.0, value / most if most else 0.0) for name, value in items]
