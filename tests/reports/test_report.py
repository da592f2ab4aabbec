"""The report of a job says what its outputs contain, whenever the job ends, and shows no more than it may."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from html_page import Page
from pictures import jpeg

from emotion_ops import (
    ClassifyEmotions,
    DatasetError,
    DestinationConflictError,
    EnrichReport,
    ErrorBudgetExceededError,
    Limits,
    OptionError,
    enrich_dataset,
)
from emotion_ops.reports import page
from emotion_ops.reports.findings import FailedRow
from emotion_ops.reports.report import Totals
from emotion_ops.reports.stages import Stages
from emotion_ops.testing import save_tiny_model
from emotion_ops.testing.operators import ImageStatistics

GOOD = [jpeg(seed, 40, 40) for seed in range(12)]
CELLS = [*GOOD[:6], None, b"broken", *GOOD[6:], GOOD[0], b"broken", None, GOOD[3]]  # 14 good, 4 failed


def write(path: Path, cells: list[Any], row_group_size: int = 5, kind: pa.DataType | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": pa.array(range(len(cells))), "image": pa.array(cells, kind or pa.binary())})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write(tmp_path / "source" / "a.parquet", CELLS)
    write(tmp_path / "source" / "b.parquet", CELLS[::-1])
    return tmp_path / "source"


@pytest.fixture
def operator(tiny_model: str) -> ClassifyEmotions:
    return ClassifyEmotions(model=tiny_model)


def read_report(out: Path, part: str = "") -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "_emotion_ops" / f"report{part}.json").read_text())
    return report


def read_page(out: Path, part: str = "") -> Page:
    return Page((out / "_emotion_ops" / f"report{part}.html").read_text())


def test_every_number_is_what_the_outputs_contain(source: Path, operator: ClassifyEmotions, tmp_path: Path) -> None:
    operator = dataclasses.replace(operator, limits=Limits(max_side=60_000))  # results of other tests are not reused
    report = enrich_dataset(source, tmp_path / "out", operator)
    files = [tmp_path / "out" / name for name in ("a.parquet", "b.parquet")]
    table = pa.concat_tables([pq.read_table(file) for file in files])
    columns = operator.output_columns()
    labels, errors = table.column("emotion").to_pylist(), table.column("emotion_error").to_pylist()
    matrix = np.stack([table.column(name).to_numpy() for name in columns.probabilities], axis=1)
    matrix = matrix[[error is None for error in errors]]
    assert (report.outcome, report.files, report.rows, report.good_rows, report.failed) == ("finished", 2, 36, 28, 8)
    assert report.errors == Counter(error.partition(":")[0] for error in errors if error)
    summary = report.to_dict()["summary"]
    assert summary["labels"] == {label: labels.count(label) for label in columns.labels}
    assert summary["mean_probabilities"] == pytest.approx(
        dict(zip(columns.labels, matrix.mean(axis=0), strict=True)), abs=1e-6
    )
    assert list(summary["highest_probability"].values()) == list(
        np.histogram(matrix.max(axis=1), bins=20, range=(0, 1))[0]
    )
    assert 0 < report.rows_cached <= 28 - 12  # 12 images, each of which has to be computed once
    assert report.bytes_written == sum(file.stat().st_size for file in files)
    stored = [pq.read_metadata(file).row_group(group) for file in source.iterdir() for group in range(4)]
    images = sum(group.column(1).total_compressed_size for group in stored)
    assert report.bytes_read == images + sum(g.column(c).total_compressed_size for g in stored for c in range(2))
    assert report.dataset == Totals(2, 36, report.errors, report.summary)


def test_failed_rows_are_named_by_their_place_in_the_source(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    report = enrich_dataset(source, tmp_path / "out", operator)
    assert len(report.failed_rows) == 8
    for row in report.failed_rows:
        file = pq.ParquetFile(row.source)
        cell = file.read(["image"]).column(0)[row.row].as_py()
        assert row.error.startswith("missing: " if cell is None else "unsupported: ")
        before = sum(file.metadata.row_group(group).num_rows for group in range(row.row_group))
        assert before <= row.row < before + file.metadata.row_group(row.row_group).num_rows
    many = write(tmp_path / "many.parquet", [None] * 30 + [b"x"] * 30)
    assert Counter(row.code for row in enrich_dataset(many, tmp_path / "many", operator).failed_rows) == {
        "missing": 5, "unsupported": 5,
    }  # fmt: skip


def test_the_json_next_to_the_outputs_is_the_report_that_is_returned(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    report = enrich_dataset(source, tmp_path / "out", operator)
    stored = read_report(tmp_path / "out")
    assert stored == report.to_dict()
    assert set(stored) == {field.name for field in dataclasses.fields(EnrichReport)} | {"good_rows", "failed"}
    assert Stages(**stored["stages"]) == report.stages
    assert [FailedRow(**row) for row in stored["failed_rows"]] == list(report.failed_rows)


def test_the_stages_add_up_to_the_time_of_the_job(source: Path, operator: ClassifyEmotions, tmp_path: Path) -> None:
    report = enrich_dataset(source, tmp_path / "out", dataclasses.replace(operator, cache=0))
    parts = dataclasses.asdict(report.stages)
    threads = parts.pop("decoding_threads"), parts.pop("fetching_threads")
    assert parts.pop("computing_threads") > 0
    assert sum(parts.values()) == pytest.approx(report.seconds, abs=0.01)
    assert min(parts["reading"], parts["journalling"], parts["writing"], threads[0]) > 0
    assert threads[1] == 0  # there are no paths in the table


def test_images_behind_paths_count_as_fetched_and_read(operator: ClassifyEmotions, tmp_path: Path) -> None:
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_bytes(GOOD[0])
    paths = write(tmp_path / "paths.parquet", ["one.jpg", "two.jpg", "three.jpg"], kind=pa.string())
    rooted = dataclasses.replace(operator, access=str(tmp_path))
    report = enrich_dataset(paths, tmp_path / "out", rooted)
    assert report.stages.fetching_threads > 0
    assert report.bytes_read > 2 * len(GOOD[0])
    assert report.errors == {"not_found": 1}


def test_a_job_over_its_error_budget_leaves_a_report_of_what_stopped_it(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(source, tmp_path / "out", operator, max_errors=1)
    report = read_report(tmp_path / "out")
    assert report["outcome"].startswith("stopped: ")
    assert "max_errors=1" in report["outcome"]
    assert (report["files"], report["good_rows"] + sum(report["errors"].values())) == (0, report["rows"])
    assert report["rows_waiting"] == report["rows"] > 0
    assert sum(report["errors"].values()) == len(report["failed_rows"]) == 2
    assert "stopped: " in read_page(tmp_path / "out").text
    done = enrich_dataset(source, tmp_path / "out", operator)
    assert (done.outcome, done.rows_from_journal, done.rows, done.rows_waiting) == ("finished", report["rows"], 36, 0)
    assert sum(done.to_dict()["summary"]["labels"].values()) == done.good_rows == 28


def test_an_interrupted_or_crashed_job_has_a_report_and_its_error_is_raised_as_it_is(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    class Stop(BaseException):
        pass

    cases = [
        (KeyboardInterrupt(), "interrupted"),
        (Stop(), "stop"),
        (ValueError("https://u:pw@h/?sig=1"), "ValueError"),
    ]
    for number, (error, words) in enumerate(cases):

        def fail(progress: object, error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            enrich_dataset(source, tmp_path / str(number), operator, on_progress=fail)
        assert caught.value is error
        outcome = read_report(tmp_path / str(number))["outcome"]
        assert outcome.startswith(f"stopped: {words}")
        assert "pw" not in outcome


def test_a_report_that_cannot_be_written_hides_no_error(
    source: Path, operator: ClassifyEmotions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out" / "_emotion_ops" / "report.json").mkdir(parents=True)  # nothing can be renamed onto a folder
    with pytest.raises(ErrorBudgetExceededError):
        enrich_dataset(source, tmp_path / "out", operator, max_errors=1)
    assert "the report of this run could not be written" in caplog.text
    with pytest.raises(DatasetError, match="cannot be written"):
        enrich_dataset(source, tmp_path / "out", operator)
    assert {path.name for path in (tmp_path / "out").glob("*.parquet")} == {"a.parquet", "b.parquet"}


def test_a_job_that_is_refused_leaves_the_report_of_the_one_before(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    before = enrich_dataset(source, tmp_path / "out", operator).to_dict()
    with pytest.raises(DestinationConflictError):
        enrich_dataset(source, tmp_path / "out", dataclasses.replace(operator, limits=Limits(max_bytes=10)))
    enrich_dataset(source, tmp_path / "out", operator, dry_run=True, sample_rows=0)
    assert read_report(tmp_path / "out") == before


def test_shards_and_single_files_have_reports_of_their_own(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    for shard in ((0, 2), (1, 2)):
        enrich_dataset(source, tmp_path / "out", operator, shard=shard)
    enrich_dataset(source / "a.parquet", tmp_path / "out" / "named.parquet", operator)
    parts = ("-0-of-2", "-1-of-2", "-named.parquet")
    assert {path.name for path in (tmp_path / "out" / "_emotion_ops").glob("report*")} == {
        f"report{part}.{kind}" for part in parts for kind in ("json", "html")
    }
    assert sum(read_report(tmp_path / "out", part)["files"] for part in parts) == 3


@pytest.mark.kills
def test_killed_and_run_again_the_report_is_true(source: Path, tiny_model: str, tmp_path: Path) -> None:
    """The child is killed when its second row group is journalled; the rerun counts what it left behind."""
    code = (
        "import os, signal, sys; from emotion_ops import ClassifyEmotions, enrich_dataset\n"
        "def die(p):\n    if p.rows_done > 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"enrich_dataset({str(source)!r}, {str(tmp_path / 'out')!r}, ClassifyEmotions(model={tiny_model!r}), on_progress=die)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "_emotion_ops" / "report.json").exists()
    operator = ClassifyEmotions(model=tiny_model)
    report = enrich_dataset(source, tmp_path / "out", operator)
    undisturbed = enrich_dataset(source, tmp_path / "right", operator)
    assert report.rows_from_journal == 10
    for name in ("rows", "good_rows", "errors", "failed_rows", "files"):
        assert getattr(report, name) == getattr(undisturbed, name), name
    for one, other in ((report, undisturbed), (report.dataset, undisturbed.dataset)):
        for name, values in one.to_dict()["summary"].items():
            assert values == pytest.approx(other.to_dict()["summary"][name], abs=1e-6)
    assert report.rows_per_second * report.seconds == pytest.approx(26, abs=1)


@pytest.mark.kills
def test_after_a_kill_and_a_resume_the_report_has_the_totals_of_the_dataset_and_the_runs_own_numbers(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    (tmp_path / "part").mkdir()
    shutil.copy2(source / "a.parquet", tmp_path / "part")
    enrich_dataset(tmp_path / "part", tmp_path / "out", operator)
    shutil.copy2(source / "b.parquet", tmp_path / "part")
    report, whole = (enrich_dataset(tmp_path / "part", tmp_path / out, operator) for out in ("out", "right"))
    assert (report.files, report.skipped, report.rows, report.good_rows) == (1, 1, 18, 14)
    assert report.dataset.to_dict() == whole.dataset.to_dict()
    assert "rows 36 18 in this run" in read_page(tmp_path / "out").text


def test_a_run_with_nothing_to_do_keeps_the_totals_and_the_reports_of_earlier_runs(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    first = enrich_dataset(source, tmp_path / "out", operator)
    second = enrich_dataset(source, tmp_path / "out", operator)
    assert (second.outcome, second.files, second.rows, second.skipped) == ("finished", 0, 0, 2)
    assert second.dataset.to_dict() == first.dataset.to_dict()
    assert read_report(tmp_path / "out")["dataset"]["rows"] == 36
    shown = read_page(tmp_path / "out")
    assert "rows 36 0 in this run" in shown.text
    assert "Labels" in shown.text
    runs = tmp_path / "out" / "_emotion_ops" / "runs"
    [history] = runs.iterdir()
    assert json.loads(history.read_text()) == {**first.to_dict(), "planned": []}
    enrich_dataset(source, tmp_path / "out", dataclasses.replace(operator, labels=0.5), overwrite=True)
    assert len(list(runs.iterdir())) == 2


def test_rows_that_were_dropped_count_in_the_totals_of_a_later_run(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    dropping = dataclasses.replace(operator, on_error="drop")
    first, second = (enrich_dataset(source, tmp_path / "out", dropping) for _ in range(2))
    assert second.dataset.to_dict() == first.dataset.to_dict()
    assert (second.dataset.rows, second.dataset.failed) == (36, 8)


def test_any_operator_has_a_report(source: Path, tmp_path: Path) -> None:
    report = enrich_dataset(source, tmp_path / "out", ImageStatistics())
    assert report.operator == "image_statistics"
    summary = report.to_dict()["summary"]
    assert summary["values"] == {"brightness": 28, "width": 28, "height": 28}
    assert summary["means"]["width"] == 40
    shown = read_page(tmp_path / "out")
    assert "Rows with a value" in shown.text
    assert len(shown.all("img")) > 0
    assert not {"label", "emotion", "probability"} & set(re.findall(r"[a-z]+", shown.text.lower()))


def test_the_page_is_well_formed_loads_nothing_from_the_network_and_has_every_number(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    report = enrich_dataset(source, tmp_path / "out", operator)
    shown = read_page(tmp_path / "out")
    assert {"script", "link", "iframe", "object"}.isdisjoint(tag for tag, _ in shown.tags)
    assert all(
        (image["src"] or "").startswith("data:image/jpeg;base64,") and image["alt"] for image in shown.all("img")
    )
    html = (tmp_path / "out" / "_emotion_ops" / "report.html").read_text()
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", html)
    assert "default-src 'none'" in html
    summary = report.to_dict()["summary"]
    for label, count in summary["labels"].items():
        assert f"{label} {count} {page.in_percent(count / 28)} " in shown.text
    for label, mean in summary["mean_probabilities"].items():
        assert f"{label} {page.in_digits(mean)} " in shown.text
    for name, count in summary["highest_probability"].items():
        assert f"{name} {count} " in shown.text
    for code, count in report.errors.items():
        assert f"{code} {count} {page.in_percent(count / 36)}" in shown.text
    for row in report.failed_rows:
        assert f"{row.source} {row.row_group} {row.row}" in shown.text
    for name, value in report.lineage.items():
        assert f"{name.replace('_', ' ')} {value}" in shown.text
    for words in (
        "rows 36",
        "good rows 28",
        "failed rows 8",
        "files 2",
        report.limit,
        "An expression is not a feeling",
    ):
        assert words in shown.text, words


def test_the_contact_sheet_shows_rows_of_every_file_with_their_own_results(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    enrich_dataset(source, tmp_path / "out", operator)
    shown = read_page(tmp_path / "out")
    tables = {name: pq.read_table(tmp_path / "out" / f"{name}.parquet") for name in ("a", "b")}
    cards = re.findall(r"(?:(\w+) (\d\.\d\d)|(\w+)) ([ab]), row (\d+)", shown.text)
    assert len(cards) == 24
    assert {card[3] for card in cards} == {"a", "b"}
    for label, probability, code, name, row in cards:
        stored = tables[name].slice(int(row), 1).to_pylist()[0]
        assert stored["emotion"] == (label or None)
        assert (stored["emotion_error"] or "").startswith(code)
        if label:
            assert f"{stored[f'emotion_{label}']:.2f}" == probability
    assert len(shown.all("img")) == sum(1 for card in cards if card[0])


@pytest.mark.parametrize(
    ("options", "images"),
    [({}, True), ({"columns": ["-image"]}, False), ({"columns": "none"}, False), ({"contact_sheet": False}, False),
     ({"columns": "none", "contact_sheet": True}, True)],
)  # fmt: skip
def test_images_are_shown_only_where_the_output_has_them_anyway_or_on_demand(
    options: dict[str, Any], images: bool, source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    enrich_dataset(source, tmp_path / "out", operator, **options)
    html = (tmp_path / "out" / "_emotion_ops" / "report.html").read_text()
    assert ("data:image" in html) is images
    assert ("<img" in html) is images


def test_images_behind_paths_are_shown_only_on_demand_and_never_from_outside_the_root(
    operator: ClassifyEmotions, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    for place in ("root/in.jpg", "out.jpg"):
        (tmp_path / place).write_bytes(GOOD[0])
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": None, "path": "in.jpg"}, {"bytes": None, "path": "../out.jpg"}, {"bytes": GOOD[1], "path": None}]
    paths = write(tmp_path / "paths.parquet", cells, kind=kind)
    rooted = dataclasses.replace(operator, access=str(tmp_path / "root"))
    enrich_dataset(paths, tmp_path / "unasked", rooted)
    enrich_dataset(paths, tmp_path / "asked", rooted, contact_sheet=True)
    assert len(read_page(tmp_path / "unasked").all("img")) == 1
    asked = read_page(tmp_path / "asked")
    assert len(asked.all("img")) == 2
    assert "forbidden" in asked.text


def test_without_a_page_none_is_left_from_an_earlier_run(
    source: Path, operator: ClassifyEmotions, tmp_path: Path
) -> None:
    enrich_dataset(source, tmp_path / "out", operator)
    report = enrich_dataset(source, tmp_path / "out", operator, report_page=False)
    assert report.page == ""
    assert not list((tmp_path / "out" / "_emotion_ops").glob("*.html"))
    with pytest.raises(OptionError, match="part of the page"):
        enrich_dataset(source, tmp_path / "out", operator, report_page=False, contact_sheet=True)
    with pytest.raises(OptionError, match='True, False or "auto"'):
        enrich_dataset(source, tmp_path / "out", operator, contact_sheet="faces")  # type: ignore[arg-type]


def test_html_in_names_labels_and_messages_is_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    labels = tuple(f"<b>{number}</b>&amp;\"'" for number in range(200))
    model = save_tiny_model(tmp_path / "model", labels=labels)
    source = tmp_path / "source" / f"{evil}.parquet"
    write(source, [evil, None, str(tmp_path / "good.jpg")], kind=pa.string())
    (tmp_path / "good.jpg").write_bytes(GOOD[0])
    report = enrich_dataset(source.parent, tmp_path / "out", ClassifyEmotions(model=str(model)), contact_sheet=True)
    assert len(report.to_dict()["summary"]["labels"]) == 200
    shown = read_page(tmp_path / "out")
    assert [image.get("onerror") for image in shown.all("img")] == [None]
    assert len(shown.all("b")) == 3  # one for each card of the sheet
    assert labels[0] in shown.text
    assert evil in shown.text
    assert "180 more" in shown.text


def test_nothing_secret_is_in_the_report_or_on_the_page(operator: ClassifyEmotions, tmp_path: Path) -> None:
    signed = "https://user:PASSWORD@example.org/a.jpg?X-Amz-Signature=SIGNATURE"
    source = write(tmp_path / "source" / "a.parquet", [signed, "s3://KEY:PASSWORD@bucket/x", None], kind=pa.string())
    enrich_dataset(source.parent, tmp_path / "out", operator, contact_sheet=True)
    rooted = dataclasses.replace(operator, access="s3://KEY:PASSWORD@bucket/images?token=SIGNATURE")
    report = enrich_dataset(source.parent, tmp_path / "out", rooted, overwrite=True, dry_run=True, sample_rows=0)
    assert "root: None there, 's3://…@bucket/images" in report.planned[0].reason
    stored = (tmp_path / "out" / "_emotion_ops").glob("report*")
    for text in (json.dumps(report.to_dict(), ensure_ascii=False), *(path.read_text() for path in stored)):
        assert "bucket" in text
        assert not {"PASSWORD", "SIGNATURE", "KEY"} & set(re.findall(r"\w+", text))


@pytest.mark.parametrize("on_error", ["null", "drop"])
@pytest.mark.parametrize("cells", [[], [None, b"broken"], CELLS], ids=["no rows", "all failed", "some failed"])
def test_reports_of_every_kind_of_job_have_a_page(
    cells: list[Any], on_error: Any, tiny_model: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.parquet", cells)
    operator = ClassifyEmotions(model=tiny_model, on_error=on_error)
    for files in (1, 0):  # the second time everything is there
        report = enrich_dataset(source, tmp_path / "out", operator)
        assert (report.files, report.rows) == (files, files * len(cells))
        assert report.good_rows == files * sum(cell is not None and len(cell) > 10 for cell in cells)
        assert (report.dataset.files, report.dataset.rows) == (1, len(cells))
        assert report.dataset.good_rows == sum(cell is not None and len(cell) > 10 for cell in cells)
        assert f"rows {len(cells)} {report.rows} in this run" in read_page(tmp_path / "out").text
        json.dumps(report.to_dict(), allow_nan=False)
    assert enrich_dataset(source, tmp_path / "new", operator, dry_run=True, sample_rows=0).outcome == "planned"
    assert not (tmp_path / "new").exists()


def test_the_reference_names_every_field_of_the_report() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
    section = text.partition("## The report")[2].partition("\n## ")[0]
    for field in (
        *dataclasses.fields(EnrichReport),
        *dataclasses.fields(Totals),
        *dataclasses.fields(Stages),
        *dataclasses.fields(FailedRow),
    ):
        assert f"`{field.name}`" in section, field.name
