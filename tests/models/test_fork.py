"""A forked process gives the results of its parent. multiprocessing forks by default on Linux up to Python 3.13."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faces_model import YUNET, needs_yunet, photograph

pytestmark = pytest.mark.slow

TWO_THREADS = """
import multiprocessing
import numpy as np
from emotion_ops import ClassifyEmotions
from emotion_ops.models.engines import engine

def predict(operator):
    return operator.predict([np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)] * 16)

if __name__ == "__main__":
    operator = ClassifyEmotions(on_error="raise", model="demo")
    expected = predict(operator)
    with engine._loading:  # as if a thread loads another network while the process forks
        pool = multiprocessing.get_context("fork").Pool(2)
    with pool:
        for found in pool.map_async(predict, [operator] * 4).get():
            np.testing.assert_allclose(found, expected, atol=1e-5)
"""


MANY_CHILDREN = """
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
def test_each_of_many_children_that_are_forked_after_a_result_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MANY_CHILDREN, "auto", "6"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "all ended\n", done.stderr
    refused = subprocess.run(
        [sys.executable, "-c", MANY_CHILDREN, "openvino", "1"], capture_output=True, text=True, check=False
    )
    assert "OpenVINO does not survive a fork" in refused.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_children_of_a_process_whose_network_ran_on_two_threads_give_the_same_results() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_THREADS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


FACES = """
import os, sys, threading
import numpy as np
from PIL import Image
from emotion_ops import ModelError, find_faces
from emotion_ops.faces import detector, runtime
from emotion_ops.models.engines.choice import choose

runtime.RUNTIMES = (sys.argv[1],)
image, file = Image.open(sys.argv[2]).convert("RGB"), sys.argv[3]
loaded = detector.open_detector(file, 0.7)  # as in a stream
threads = [threading.Thread(target=loaded, args=(image,)) for _ in range(3)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
expected = find_faces(image, file)

def ended(work):
    child = os.fork()
    if not child:
        work()
    return os.waitpid(child, 0)[1]

def finds():
    try:
        found = find_faces(image, file)
    except ModelError as error:
        assert "does not survive a fork" in str(error) and sys.argv[1] == "openvino"
        assert choose("auto", "cpu", "fp32", "vit").engine == "torch"
        os._exit(7)
    os._exit(0 if np.array_equal(found, expected) else 1)

def closes():
    global loaded
    loaded = None
    detector._load.cache_clear()
    os._exit(0)

assert ended(lambda: os._exit(0)) == 0
assert ended(closes) == 0
assert ended(sys.exit) == 0
assert ended(finds) == (7 << 8 if sys.argv[1] == "openvino" else 0)
np.testing.assert_allclose(loaded(image)[:, :5], expected, atol=1e-3)
print("all ended")
"""


@needs_yunet
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_each_child_that_is_forked_after_faces_were_found_finds_the_same_or_says_why_not(
    runtime: str, tmp_path: Path
) -> None:
    photograph("astronaut").save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", FACES, runtime, str(tmp_path / "a.png"), str(YUNET)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "all ended\n", done.stderr
