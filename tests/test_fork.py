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


AGAIN = """
import os, sys
import pyarrow as pa
from emotion_ops import ClassifyEmotions
from emotion_ops.testing import faces_table
faces, engine = faces_table(3, size=48), sys.argv[1]
operator = ClassifyEmotions(model="demo", engine=engine)
expected = operator(faces)["emotion"].to_pylist()
for _ in range(int(sys.argv[2])):
    operator(faces.slice(0, 2))
    child = os.fork()
    if not child:
        os._exit(operator(faces)["emotion"].to_pylist() != expected)
    assert os.waitpid(child, 0)[1] == 0
print("all ended")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_each_of_many_children_that_are_forked_right_after_an_answer_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, "auto", "6"], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.stdout == "all ended\n", done.stderr
    refused = subprocess.run(
        [sys.executable, "-c", AGAIN, "openvino", "1"], capture_output=True, text=True, timeout=100, check=False
    )
    assert "OpenVINO does not survive a fork" in refused.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_children_forked_from_a_process_whose_network_ran_on_two_threads_answer() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
