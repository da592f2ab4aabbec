"""A forked process, which multiprocessing starts by default on Linux up to Python 3.13, answers as its parent does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import multiprocessing
import numpy as np
from emotion_ops import EmotionClassifier
from emotion_ops.models import engine

def answer(classifier):
    return classifier.predict([np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)] * 16)

if __name__ == "__main__":
    classifier = EmotionClassifier(model="demo")
    expected = answer(classifier)
    with engine._loading:  # as a thread holds it that loads another network while the process forks
        pool = multiprocessing.get_context("fork").Pool(2)
    with pool:
        for got in pool.map_async(answer, [classifier] * 4).get(60):
            np.testing.assert_allclose(got, expected, atol=1e-5)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_children_forked_from_a_process_whose_network_ran_on_two_threads_answer() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
