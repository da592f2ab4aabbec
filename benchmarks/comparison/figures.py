"""Rates of turns → medians and ratios, as text, Markdown, JSON and a chart."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comparison.contenders import Contender, network_name

_HEADER = ("", "batch", "images/s", "min–max", "× pipeline", "of network only", "differs by")
_COLOURS = {"pipeline": "#9aa0a6", "other": "#c58b5a", "ours": "#1f6feb", "network": "#a8c7fa"}
_LEGEND = {
    "pipeline": "transformers.pipeline, fp32",
    "other": "other frameworks, fp32",
    "ours": "emotion_ops, from Parquet",
    "network": "emotion_ops, the network alone",
}


@dataclass(frozen=True)
class Figure:
    """The figures of one contender.

    Attributes:
        name: Of the contender.
        group: Of the contender.
        batch_size: Rows in one forward pass; None if the engine chooses.
        rates: Images/s of each turn.
        median: Of the rates.
        of_pipeline: The median divided by that of the pipeline at its best batch size; None if no pipeline ran.
        of_network: The median divided by that of the network alone; None if the network alone did not run.
        difference: The largest difference of a probability from the pipeline's; None if no pipeline ran.
    """

    name: str
    group: str
    batch_size: int | None
    rates: list[float]
    median: float
    of_pipeline: float | None
    of_network: float | None
    difference: float | None


def figures(
    contenders: Iterable[Contender], rates: dict[str, list[float]], probabilities: dict[str, NDArray[np.float64]]
) -> list[Figure]:
    """Return the figures of the contenders that ran, in their order."""
    ran = [one for one in contenders if rates.get(one.name)]
    medians = {one.name: statistics.median(rates[one.name]) for one in ran}
    pipelines = [one.name for one in ran if one.group == "pipeline"]
    best = max((medians[name] for name in pipelines), default=None)
    expected = probabilities[pipelines[0]] if pipelines else None
    found = []
    for one in ran:
        median, network = medians[one.name], medians.get(network_name(one.name))
        of_network = median / network if network and one.group == "ours" else None
        difference = None if expected is None else float(np.abs(probabilities[one.name] - expected).max())
        of_pipeline = None if best is None else median / best
        found.append(
            Figure(one.name, one.group, one.batch_size, rates[one.name], median, of_pipeline, of_network, difference)
        )
    return found


def as_text(found: Sequence[Figure]) -> str:
    """Return a table with aligned columns."""
    rows = [_HEADER, *map(_cells, found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def as_markdown(saved: list[dict[str, Any]]) -> str:
    """Return the table of docs/performance.md from the figures of a JSON file."""
    rows = [_HEADER, ("---", *("---:" for _ in _HEADER[1:])), *(_cells(Figure(**one)) for one in saved)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def as_json(found: Iterable[Figure]) -> list[dict[str, Any]]:
    """Return the figures as JSON values."""
    return [asdict(one) for one in found]


def draw(found: Sequence[Figure], title: str, path: Path) -> None:
    """Draw a bar for each contender, with its minimum and maximum; needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    fig, axes = plt.subplots(figsize=(9, 1.6 + 0.34 * len(found)), layout="constrained")
    spreads = [[one.median - min(one.rates) for one in found], [max(one.rates) - one.median for one in found]]
    names = [one.name for one in found]
    axes.barh(
        names,
        [one.median for one in found],
        xerr=spreads,
        color=[_COLOURS[one.group] for one in found],
        ecolor="#444444",
        capsize=2,
    )
    longest = max(max(one.rates) for one in found)
    for row, one in enumerate(found):
        text = f"{one.median:.1f}" + ("" if one.of_pipeline is None else f"  ({one.of_pipeline:.1f} ×)")
        axes.text(max(one.rates) + 0.012 * longest, row, text, va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * longest)
    axes.set_xlabel("images/s: median, minimum and maximum (× transformers.pipeline at its best batch size)")
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    groups = [group for group in _COLOURS if any(one.group == group for one in found)]
    handles, labels = [Patch(color=_COLOURS[group]) for group in groups], [_LEGEND[group] for group in groups]
    fig.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    fig.savefig(path, dpi=130)
    plt.close(fig)


def _cells(one: Figure) -> tuple[str, ...]:
    return (
        one.name,
        str(one.batch_size or "auto"),
        f"{one.median:.1f}",
        f"{min(one.rates):.1f}–{max(one.rates):.1f}",
        "" if one.of_pipeline is None else f"{one.of_pipeline:.2f}",
        "" if one.of_network is None else f"{one.of_network:.1%}",
        "" if one.difference is None else f"{one.difference:.0e}",
    )
