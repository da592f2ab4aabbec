"""Answers outlive the process, are never another image's or another model's, and a broken file costs time alone."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pictures import jpeg

from emotion_ops import ClassifyEmotions, OptionError
from emotion_ops.images.meter import Meter
from emotion_ops.operators import answer_file
from emotion_ops.operators.answer_file import AnswerFile
from emotion_ops.operators.classify.cached import answers_digest

A, B = bytes(16), bytes(range(16))
OPTIONS = bytes(32)

RUN = """
import sys
import pyarrow as pa
from emotion_ops import ClassifyEmotions
operator = ClassifyEmotions(model=sys.argv[1], answer_cache_dir=sys.argv[2])
print(operator(pa.table({"image": pa.array([open(sys.argv[3], "rb").read()], pa.binary())})).drop(["image"]).to_pylist())
"""

WRITE = """
import os, sys
import numpy as np
from emotion_ops.operators.answer_file import AnswerFile
file = AnswerFile(sys.argv[1], bytes(32))
number = int(sys.argv[2]) * 1_000_000
while True:
    file.put({(number + n).to_bytes(16, "little"): np.full(7, number + n, np.float32) for n in range(20)})
    number += 20
    print(number, flush=True)
"""


def answers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_later_process_recalls_the_very_numbers_and_other_options_do_not(tiny_model: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(jpeg(0, 400, 300))
    first = subprocess.run([sys.executable, "-c", RUN, tiny_model, str(tmp_path / "answers"), str(tmp_path / "image")],
                           capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip

    def again(decode: str) -> tuple[int, str]:
        operator = ClassifyEmotions(
            model=tiny_model, answer_cache=0, answer_cache_dir=tmp_path / "answers", decode=decode
        )
        meter, images = Meter(), pa.array([jpeg(0, 400, 300)], pa.binary())
        ((_, answers),) = operator.answer_each([(None, images)], meter)
        return meter.take().recalled, str(answers.to_pylist())

    assert again("exact") == (1, first.stdout.strip())
    recalled, fast = again("fast")
    assert recalled == 0
    assert fast != first.stdout.strip()


def test_every_option_that_changes_an_answer_is_in_the_key_and_no_other(tiny_model: str) -> None:
    base = ClassifyEmotions(model=tiny_model)
    made = {"engine": "torch", "precision": "fp32"}

    def digest(**options: object) -> bytes:
        return answers_digest(ClassifyEmotions(**{"model": tiny_model, **options}), made)

    changes = [
        {"model": "demo"},
        {"decode": "fast"},
        {"max_pixels": 9},
        {"max_side": 9},
        {"max_bytes": 9},
        {"max_frames": 9},
    ]
    assert len({digest(**change) for change in changes} | {digest()}) == len(changes) + 1
    assert answers_digest(base, {**made, "precision": "bf16"}) != digest()
    same = [{"prefix": "p"}, {"on_error": "drop"}, {"batch_size": 3}, {"threads": 1}, {"isolation": "process"},
            {"root": "/tmp"}, {"channels": "bgr"}, {"memory": 2**20}, {"answer_cache": 0}]  # fmt: skip
    assert {digest(**change) for change in same} == {digest()}


def test_equal_digests_of_other_options_are_other_images(tmp_path: Path) -> None:
    one, other = AnswerFile(str(tmp_path), OPTIONS), AnswerFile(str(tmp_path), b"\1" * 32)
    one.put({A: answers(0.25, 0.75)})
    assert one.get(A).tolist() == [0.25, 0.75]
    assert one.get(B) is None
    assert other.get(A) is None
    one.close()
    other.close()


def test_processes_share_a_file_and_one_that_is_killed_leaves_it_whole(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path), str(number)], env=environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for number in range(3)]  # fmt: skip
    reached = []
    for writer in writers:  # all three open it at once, and write together
        for _ in range(20):
            line = writer.stdout.readline()
            assert line, writer.stderr.read()
        reached.append(int(line))
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
    file = AnswerFile(str(tmp_path), OPTIONS)
    for number, until in enumerate(reached):
        for row in range(number * 1_000_000, until):
            assert file.get(row.to_bytes(16, "little")).tolist() == [float(row)] * 7
    assert file._database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()


def test_bytes_that_changed_on_the_disk_are_no_answer_and_are_written_anew(tmp_path: Path) -> None:
    file = AnswerFile(str(tmp_path), OPTIONS)
    file.put({A: answers(0.25, 0.75), B: answers(0.5, 0.5)})
    file.close()
    (path,) = tmp_path.glob("*.sqlite")
    data = path.read_bytes()
    torn = answers(0.25, 0.75).tobytes()
    assert data.count(torn) == 1
    path.write_bytes(data.replace(torn, answers(0.75, 0.25).tobytes()))
    again = AnswerFile(str(tmp_path), OPTIONS)
    assert again.get(A) is None
    assert again.get(B).tolist() == [0.5, 0.5]
    again.put({A: answers(0.25, 0.75)})
    assert again.get(A).tolist() == [0.25, 0.75]
    again.close()


def test_a_file_that_is_none_stops_the_job_at_its_start_and_says_what_to_do(tiny_model: str, tmp_path: Path) -> None:
    AnswerFile(str(tmp_path), OPTIONS).close()
    (path,) = tmp_path.glob("*.sqlite")
    path.write_bytes(b"no database" * 1000)
    operator = ClassifyEmotions(model=tiny_model, answer_cache_dir=tmp_path)
    with pytest.raises(OptionError, match=r"answer_cache_dir=.*not a database.*remove it"):
        operator(pa.table({"image": [jpeg(0)]}))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OptionError, match="cannot be used"):
        ClassifyEmotions(model=tiny_model, answer_cache_dir=tmp_path / "file" / "folder")(
            pa.table({"image": [jpeg(0)]})
        )


def test_a_file_that_breaks_later_on_is_left_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = AnswerFile(str(tmp_path), OPTIONS)
    other = sqlite3.connect(next(tmp_path.glob("*.sqlite")))
    other.execute("DROP TABLE answers")
    other.commit()
    other.close()
    with caplog.at_level(logging.WARNING, "emotion_ops"):
        file.put({A: answers(1.0)})
        assert file.get(A) is None
        file.put({A: answers(1.0)})
    assert len(caplog.records) == 1
    assert "goes on without it" in caplog.text
    file.close()


def test_a_file_holds_so_many_answers_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_file, "ROWS", 50)
    file = AnswerFile(str(tmp_path), OPTIONS)
    digests = [number.to_bytes(16, "big") for number in range(200)]
    for digest in digests:
        file.put({digest: answers(1.0)})
        assert file._database.execute("SELECT count(*) FROM answers").fetchone()[0] <= 50
    held = [file.get(digest) is not None for digest in digests]
    assert held[-45:] == [True] * 45
    assert not any(held[:150])
    file.close()


def test_an_operator_with_a_folder_stays_a_picklable_value_and_needs_no_memory(tiny_model: str, tmp_path: Path) -> None:
    operator = ClassifyEmotions(model=tiny_model, answer_cache_dir=tmp_path, answer_cache=0)
    again = pickle.loads(pickle.dumps(operator))
    assert (again, hash(again)) == (operator, hash(operator))
    table = pa.table({"image": pa.array([jpeg(0), jpeg(1), jpeg(0)], pa.binary())})
    assert operator(table).equals(again(table))
    for wrong in (-1, 1.5, True, "many"):
        with pytest.raises(OptionError, match="answer_cache"):
            ClassifyEmotions(answer_cache=wrong)
