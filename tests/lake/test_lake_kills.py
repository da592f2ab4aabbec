"""A job that is killed at any step and run again ends with the same output as an undisturbed one.

The longer run of the same code, at every step and 200 random instants, is benchmarks/kills.py.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kills import IN_FLIGHT, Outcome, Trial, leftovers, trial

pytestmark = pytest.mark.kills


@pytest.fixture(scope="module")
def attempt(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trial, dict[str, Any]]]:
    with trial(tmp_path_factory.mktemp("kills"), tiny_model) as prepared:
        yield prepared


def assert_recovered(outcome: Outcome) -> None:
    """The rerun ended like an undisturbed run, left no files, and computed again at most what was in flight."""
    assert (outcome.wrong, outcome.leftovers) == ((), ())
    assert outcome.recomputed <= IN_FLIGHT


WRITES = (
    "lease._take", "journal.write", "compose.output_row_groups", "commit._verify",
    "fsync", "folder.publish rows.parquet", "link", "replace", "journal.remove", "folder.publish report.json",
)  # fmt: skip
"""What a job does to the destination; it is killed when it enters and when it leaves each."""


def test_after_a_kill_before_or_after_any_write_a_rerun_ends_like_an_undisturbed_run(
    attempt: tuple[Trial, dict[str, Any]], tmp_path: Path
) -> None:
    """One write of each kind, chosen at random."""
    jobs, whole = attempt
    rng = random.Random(3)
    for write, event in itertools.product(WRITES, (" call", " return")):
        met = [step for step, name in enumerate(whole["steps"], 1) if name.startswith(write) and name.endswith(event)]
        step = rng.choice(met)
        outcome = jobs(tmp_path / str(step), step=step)
        assert outcome.killed, (write, event)
        assert_recovered(outcome)


def test_a_killed_retry_leaves_each_output_old_or_new_and_the_next_run_continues(
    attempt: tuple[Trial, dict[str, Any]], tmp_path: Path
) -> None:
    """The failed rows fail again, so that outputs are equal before, during and after the retry."""
    jobs, _ = attempt
    shutil.copytree(jobs.undisturbed, tmp_path / "whole")
    steps = jobs.killer(tmp_path / "whole", retry=True)["steps"]
    for number, write in enumerate(dict.fromkeys(name.rpartition(" ")[0] for name in steps if name.startswith(WRITES))):
        event = ("call", "return")[number % 2]
        destination = tmp_path / str(number)
        shutil.copytree(jobs.undisturbed, destination)
        assert jobs.killer(destination, retry=True, step=steps.index(f"{write} {event}") + 1)["killed"], write
        assert jobs.differences(destination) == [], write
        assert not jobs.killer(destination, retry=True)["killed"]
        assert (jobs.differences(destination), leftovers(destination)) == ([], ()), write


def test_a_job_that_is_killed_repeatedly_keeps_its_finished_row_groups(
    attempt: tuple[Trial, dict[str, Any]], tmp_path: Path
) -> None:
    jobs, whole = attempt
    rng = random.Random(5)
    missing = jobs.unfinished(tmp_path)
    for _ in range(8):
        jobs.killer(tmp_path, seconds=rng.uniform(0, whole["seconds"] / 2))
        assert not jobs.incomplete_files(tmp_path)
        still = jobs.unfinished(tmp_path)
        assert still <= missing
        missing = still
    assert not jobs.killer(tmp_path)["killed"]
    assert (jobs.differences(tmp_path), leftovers(tmp_path)) == ([], ())
