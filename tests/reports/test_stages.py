"""The report says where the time went and what limits the job, and what it says is true."""

from __future__ import annotations

import pytest

from emotion_ops.images.meter import StageTimes
from emotion_ops.reports.stages import Stages


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ({"compute": 6.0, "wait": 1.0, "decode": 5.0}, "Computing is the limit: it took 50% of the time; a faster dev"),
        ({"compute": 2.0, "wait": 7.0, "decode": 9.0}, "Decoding is the limit: it took 58% of the time; more "),
        ({"compute": 2.0, "wait": 7.0, "fetch": 9.0}, "Fetching is the limit: it took 58% of the time; images come"),
        ({"compute": 2.0, "wait": 7.0}, "Preparing is the limit: it took 58% of the time; more processors help"),
        ({"compute": 2.0, "read": 5.0}, "Reading is the limit: it took 42% of the time"),
        ({"compute": 2.0, "journal": 1.0, "write": 4.0}, "Writing is the limit: it took 42% of the time; leave out"),
        ({"compute": 3.0, "wait": 2.9, "read": 2.0}, "No stage dominates: computing took the largest part of the ti"),
        ({}, ""),
    ],
)
def test_the_limit_is_the_stage_that_takes_most_of_the_time(seconds: dict[str, float], words: str) -> None:
    stages = Stages.from_times(StageTimes({**seconds, "load": 1.0}), 12.0, 1.0)
    assert stages.running == pytest.approx(10.0)
    assert stages.limit().startswith(words)
    assert stages.limit() or not words


def test_loading_is_the_limit_where_it_takes_most_of_the_time_and_no_faster_device_is_advised() -> None:
    limit = Stages.from_times(StageTimes({"load": 10.1, "compute": 3.9, "wait": 0.2}), 14.9, 0.3).limit()
    assert limit.startswith("Loading is the limit: it took 68% of the time; it happens once in each process")
    assert limit.endswith("After that, computing took most: 87%.")
    assert "device" not in limit
    almost_all = Stages.from_times(StageTimes({"load": 38.8, "compute": 0.4, "read": 0.35, "wait": 0.3}), 40.0, 0.1)
    assert almost_all.limit().startswith("Loading is the limit: it took 97% of the time")


def test_planning_is_the_limit_where_it_takes_most_of_the_time() -> None:
    limit = Stages.from_times(StageTimes({"load": 1.0, "compute": 2.0}), 20.0, 16.0).limit()
    assert limit.startswith("Planning is the limit: it took 80% of the time; it lists files")


def test_shares_stay_true_where_several_processes_took_longer_than_the_wall_time() -> None:
    limit = Stages.from_times(StageTimes({"load": 30.0, "compute": 60.0, "network": 60.0}), 25.0, 1.0).limit()
    assert limit.startswith("Computing is the limit: it took 66% of the time")
