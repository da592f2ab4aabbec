"""Killed at any step and run again, a job ends with what an undisturbed one gives."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions
from emotion_ops.lake.enrich import enrich_dataset
from emotion_ops.lake.report import EnrichReport

ROW_GROUPS = 6
ROWS = 31


class Killer:
    """The process that forks the children; see killer.py."""

    def __init__(self, source: Path, model: str) -> None:
        script = Path(__file__).with_name("killer.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(source), model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, destination: Path, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"destination": str(destination), **request}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two partitions: a file of 21 rows in 4 row groups, one of 10 rows in 2, with failing rows in both."""
    folder = tmp_path_factory.mktemp("source")
    cells = [jpeg(seed, 40, 40) for seed in range(ROWS - 2)]
    cells[3:3] = [b"broken"]
    cells[25:25] = [None]  # type: ignore[list-item]
    table = pa.table({"id": range(ROWS), "image": pa.array(cells, pa.binary())}).replace_schema_metadata({"owner": "x"})
    for part, (start, count, group) in {"day=1": (0, 21, 6), "day=2": (21, 10, 5)}.items():
        (folder / part).mkdir()
        pq.write_table(table.slice(start, count), folder / part / "rows.parquet", row_group_size=group)
    return folder


@pytest.fixture(scope="module")
def killer(source: Path, tiny_model: str) -> Iterator[Killer]:
    killer = Killer(source, tiny_model)
    yield killer
    killer.close()


@pytest.fixture(scope="module")
def undisturbed(source: Path, tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("undisturbed")
    enrich(source, destination, tiny_model)
    return destination


def enrich(source: Path, destination: Path, model: str) -> EnrichReport:
    return enrich_dataset(source, destination, ClassifyEmotions(model=model, batch_size=4, threads=2))


def assert_equal_outputs(destination: Path, undisturbed: Path) -> None:
    """As the contract defines it: everything bit for bit, but probabilities within 1e-6."""
    files = {path.relative_to(undisturbed) for path in undisturbed.rglob("*.parquet")}
    assert {path.relative_to(destination) for path in destination.rglob("*.parquet")} == files
    for file in files:
        ours, right = pq.read_table(destination / file), pq.read_table(undisturbed / file)
        exact = [name for name in right.column_names if not pa.types.is_floating(right.schema.field(name).type)]
        assert ours.select(exact).equals(right.select(exact))
        for name in set(right.column_names) - set(exact):
            np.testing.assert_allclose(ours.column(name).to_numpy(), right.column(name).to_numpy(), atol=1e-6)


def assert_no_leftovers(destination: Path) -> None:
    left = {path.relative_to(destination).as_posix() for path in destination.rglob("*") if path.is_file()}
    others = {name for name in left if not name.endswith(".parquet")}
    assert others == {"_emotion_ops/report.json", "_emotion_ops/report.html"}


def assert_whole_or_absent(destination: Path, undisturbed: Path) -> None:
    """What a reader may meet between the kill and the rerun."""
    for path in destination.rglob("*.parquet"):
        if not any(part.startswith((".", "_")) for part in path.relative_to(destination).parts):
            assert (
                pq.read_table(path).num_rows == pq.read_metadata(undisturbed / path.relative_to(destination)).num_rows
            )


def journalled(destination: Path) -> int:
    return sum(1 for path in destination.rglob("*.arrow") if not path.name.startswith("."))


def test_killed_at_every_kind_of_step_a_rerun_ends_as_if_nothing_had_happened(
    killer: Killer, source: Path, undisturbed: Path, tiny_model: str, tmp_path: Path
) -> None:
    whole = killer(tmp_path / "whole")
    assert (whole["killed"], whole["status"]) == (False, 0)
    assert whole["steps"] > 60
    for step in range(1, whole["steps"] + 1, 3):
        destination = tmp_path / f"step-{step}"
        assert killer(destination, step=step)["killed"]
        assert_whole_or_absent(destination, undisturbed)
        kept = journalled(destination)
        report = enrich(source, destination, tiny_model)
        assert_equal_outputs(destination, undisturbed)
        assert_no_leftovers(destination)
        assert report.skipped + report.files == 2
        assert report.rows_from_journal > 0 or kept == 0 or report.skipped > 0


def test_killed_again_and_again_at_random_instants_no_finished_row_group_is_computed_twice(
    killer: Killer, undisturbed: Path, tmp_path: Path
) -> None:
    rng = random.Random(5)
    destination, before = tmp_path / "out", 0
    for _ in range(40):
        answer = killer(destination, seconds=rng.uniform(0.02, 0.5))
        assert_whole_or_absent(destination, undisturbed)
        published = sum(4 if pq.read_metadata(p).num_rows == 21 else 2 for p in destination.glob("day=*/*.parquet"))
        finished = journalled(destination) + published
        assert finished >= before or published
        before = finished
        if not answer["killed"]:
            break
    assert not killer(destination)["killed"]
    assert_equal_outputs(destination, undisturbed)
