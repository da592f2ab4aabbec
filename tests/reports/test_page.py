"""The page shows every kind of summary, and is well-formed whatever its numbers are."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from html_page import Page

from emotion_ops.operators.hooks import Card, Measure
from emotion_ops.reports.page import SheetRow, in_bytes, in_digits, in_percent, in_time, render
from emotion_ops.reports.report import EnrichReport, Totals
from emotion_ops.reports.stages import Stages


def make_report(*summary: Measure, rows: int = 10, **changes: Any) -> EnrichReport:
    errors = {"missing": 2} if rows else {}
    report = EnrichReport(
        outcome="finished", source="s", destination="d", operator="o", lineage={"operator": "o", "model": "m"},
        dataset=Totals(3, rows, errors, summary), files=1, skipped=2, rows=0, rows_from_journal=0, rows_waiting=0,
        rows_retried=0, rows_cached=0, errors={}, failed_rows=(), summary=(), bytes_read=0, bytes_written=0, seconds=0.0,
        rows_per_second=0.0, rows_per_second_running=0.0, stages=Stages(), limit="", started_at="2026-01-01T00:00:00.000+00:00",
    )  # fmt: skip
    return dataclasses.replace(report, **changes)


def test_counts_have_shares_of_the_good_rows_and_the_largest_comes_first() -> None:
    shown = Page(render(make_report(Measure("words", "Words", {"a": 2, "b": 6}, note="a note"))))
    assert "Words a note name rows share b 6 75.0% a 2 25.0%" in shown.text


def test_an_ordered_measure_stays_in_its_order_and_a_long_one_is_a_histogram_with_its_numbers() -> None:
    bins = {f"bin {number}": number % 5 for number in range(20)}
    shown = Page(
        render(
            make_report(Measure("few", "Few", {"x": 1, "y": 8}, ordered=True), Measure("m", "Many", bins, ordered=True))
        )
    )
    assert "Few name rows share x 1 12.5% y 8 100.0%" in shown.text
    assert "Many bin 0 bin 19 The numbers" in shown.text
    assert "bin 13 3 " in shown.text


def test_sums_are_shown_as_means_and_may_be_of_any_size_and_sign() -> None:
    measure = Measure("means", "Means", {"depth": -80.0, "size": 4e12, "none": 0.0}, per_row=True, ordered=True)
    shown = Page(render(make_report(measure)))
    assert "Means name value depth -10 size 5e+11 none 0" in shown.text


def test_numbers_that_are_not_parts_of_the_rows_have_no_shares() -> None:
    shown = Page(render(make_report(Measure("faces", "Faces", {"one": 30, "two": 3}))))
    assert "Faces name value one 30 two 3" in shown.text


@pytest.mark.parametrize("per_row", [True, False])
def test_without_good_rows_there_are_no_numbers(per_row: bool) -> None:
    report = make_report(Measure("m", "Means", {"a": 0}, per_row=per_row), rows=0)
    assert "Means There are no good rows." in Page(render(report)).text


def test_of_very_many_bars_twenty_are_open_and_the_others_are_folded() -> None:
    shown = Page(render(make_report(Measure("m", "Many", {f"name {number}": 1 for number in range(50)}))))
    assert "30 more" in shown.text
    assert "name 49 1" in shown.text


def test_a_sheet_shows_headlines_errors_and_rows_without_an_image() -> None:
    rows = [
        SheetRow("s/a.parquet", "a.parquet", 7, Card(headline="happy", value=0.5), "data:image/jpeg;base64,AA=="),
        SheetRow("s/a.parquet", "a.parquet", 8, Card(headline="size: 3"), None),
        SheetRow("s/a.parquet", "a.parquet", 9, Card(error="missing: it"), None),
    ]
    shown = Page(render(make_report(), rows))
    assert "happy 0.50 a, row 7" in shown.text
    assert "no image size: 3 a, row 8" in shown.text
    assert "no image missing a, row 9" in shown.text


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (in_bytes(999), "999 bytes"), (in_bytes(1_234_567), "1.2 MB"), (in_time(0.04), "0.0 s"), (in_time(3725), "1 h 2 min"),
        (in_percent(0.0), "0.0%"), (in_percent(1e-6), "< 0.1%"), (in_percent(0.99999), "> 99.9%"), (in_percent(1.0), "100.0%"),
        (in_digits(1234567), "1,234,567"), (in_digits(0.123456), "0.1235"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(shown: str, text: str) -> None:
    assert shown == text
