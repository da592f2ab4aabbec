"""Killed at any step and run again, a job ends with what an undisturbed one gives.

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


@pytest.fixture(scope="module")
def attempt(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trial, dict[str, Any]]]:
    with trial(tmp_path_factory.mktemp("kills"), tiny_model) as prepared:
        yield prepared


def assert_mended(outcome: Outcome) -> None:
    """The rerun gave what an undisturbed run gives, left nothing, and lost what one batch can touch at the most."""
    assert (outcome.wrong, outcome.leftovers) == ((), ())
    assert outcome.recomputed <= IN_FLIGHT


WRITES = (
    "lease._take", "journal.write", "commit._row_groups", "commit._verify",
    "fsync", "folder.publish rows.parquet", "link", "replace", "journal.remove", "folder.publish report.json",
)  # fmt: skip
"""What a job does to the destination; it is killed as it enters and as it leaves each."""


def test_killed_before_and_after_every_kind_of_write_a_rerun_ends_as_if_nothing_had_happened(
    attempt: tuple[Trial, dict[str, Any]], tmp_path: Path
) -> None:
    """One of each kind, now an early, now a late one."""
    jobs, whole = attempt
    rng = random.Random(3)
    for write, event in itertools.product(WRITES, (" call", " return")):
        met = [step for step, name in enumerate(whole["steps"], 1) if name.startswith(write) and name.endswith(event)]
        step = rng.choice(met)
        outcome = jobs(tmp_path / str(step), step=step)
        assert outcome.killed, (write, event)
        assert_mended(outcome)


def test_a_retry_that_is_killed_leaves_each_output_as_it_was_or_as_it_becomes_and_is_gone_on_with(
    attempt: tuple[Trial, dict[str, Any]], tmp_path: Path
) -> None:
    """The rows that failed fail again, so that before, after and between the outputs hold the same."""
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


def test_killed_again_and_again_at_random_instants_a_job_keeps_what_it_finished(
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
