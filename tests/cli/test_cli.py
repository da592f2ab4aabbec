"""The command line: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from faces_model import Marked
from pictures import jpeg
from PIL import Image

from emotion_ops import ClassifyEmotions, enrich_dataset
from emotion_ops.cli import inspect as inspecting
from emotion_ops.cli import main
from emotion_ops.cli.main import enrich
from emotion_ops.operators.classify.columns import thresholds_in

COMMAND = [sys.executable, "-m", "emotion_ops"]


def emotion_ops(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faces") / "faces.parquet"
    cells = [jpeg(seed, 60, 60) for seed in range(5)] + [None, b"text"]
    pq.write_table(pa.table({"id": range(7), "image": pa.array(cells, pa.binary())}), path, row_group_size=3)
    return path


def test_the_demo_writes_its_three_files_and_a_readable_table_and_can_be_run_again(tmp_path: Path) -> None:
    first = emotion_ops("demo", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "21 of 21 faces got the emotion that was drawn" in first.stdout
    for label in ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy"):
        assert label in first.stdout
    assert pq.read_table(tmp_path / "demo-output" / "enriched.parquet").num_rows == 21
    with Image.open(tmp_path / "demo-output" / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    assert emotion_ops("demo", cwd=tmp_path).returncode == 0


def test_enrich_says_what_it_did_and_a_second_run_skips_it(faces: Path, tiny_model: str, tmp_path: Path) -> None:
    done = emotion_ops("enrich", faces, tmp_path / "out.parquet", "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    assert re.search(r"failed +2 \(28.6% of the rows\)", done.stdout)
    assert re.search(r"missing1\S*faces.parquet,row", "".join(done.stdout.split()))  # a long path is folded
    assert "enriching: 7 of 7 rows, 2 failed" in done.stderr
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 7
    again = emotion_ops("enrich", faces, tmp_path / "out.parquet", "--model", tiny_model)
    assert "0 written, 1 skipped" in again.stdout


def test_json_is_one_object_and_alone_on_stdout(faces: Path, tiny_model: str, tmp_path: Path) -> None:
    done = emotion_ops("enrich", faces, tmp_path, "--model", tiny_model, "--json", "--columns", "-image")
    report = json.loads(done.stdout)
    assert (report["files"], report["rows"], report["images"], report["errors"]) == (
        1,
        7,
        5,
        {"missing": 1, "unsupported": 1},
    )
    assert report["images_per_second"] > 0
    assert "image" not in pq.read_schema(tmp_path / "faces.parquet").names
    inspected = json.loads(emotion_ops("inspect", faces, "--model", tiny_model, "--json").stdout)
    assert inspected["source"]["images"][0] == "JPEG RGB 60 × 60"
    assert inspected["model"]["revision"].startswith("sha256:")


def test_a_dry_run_shows_the_plan_and_writes_nothing(faces: Path, tiny_model: str, tmp_path: Path) -> None:
    done = emotion_ops("enrich", faces, tmp_path / "out", "--model", tiny_model, "--dry-run")
    assert done.returncode == 0
    assert "nothing was written" in done.stdout
    assert not (tmp_path / "out").exists()


def test_inspect_shows_the_column_the_images_and_what_would_be_appended(faces: Path, tiny_model: str) -> None:
    shown = emotion_ops("inspect", faces, "--model", tiny_model, "--rows", 7).stdout
    for words in (
        "encoded images (binary)",
        "JPEG RGB 60 × 60",
        "missing: the cell is null",
        "emotion_happy: float",
        "surprise",
    ):
        assert words in shown
    wrong = emotion_ops("inspect", faces, "--model", tiny_model, "--image", "photo")
    assert wrong.returncode == 3
    assert "'image, which could hold images'" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["enrich", "faces.parquet", "out", "--on-error", "ignore"], 2, "on_error='ignore'"),
        (["enrich", "faces.parquet"], 2, "DESTINATION"),
        (["enrich", "faces.parquet", "out", "--no-such-option"], 2, "--no-such-option"),
        (["enrich", "faces.parquet", "out", "--shard", "4"], 2, "give I/N"),
        (["preview", "faces.parquet", "-o", "sheet.xyz"], 2, "give a file that ends in .png"),
        (["enrich", "faces.parquet", "out", "--image", "photo"], 3, "no column 'photo'"),
        (["enrich", "faces.parquet", "out", "--model", "./nowhere"], 4, "no folder"),
        (["enrich", "nowhere.parquet", "out"], 5, "no such Parquet file"),
        (["enrich", "faces.parquet", "/proc/nowhere/out"], 5, "/proc/nowhere"),
        (["enrich", "faces.parquet", "out", "--on-error", "raise"], 6, "row group 1, row 2"),
        (["enrich", "faces.parquet", "out", "--max-errors", "0"], 8, "rows failed, more than max_errors=0"),
    ],
)  # fmt: skip
def test_each_kind_of_failure_has_its_exit_code_and_one_line_without_a_traceback(
    arguments: list[str], code: int, words: str, faces: Path, tiny_model: str, tmp_path: Path
) -> None:
    (tmp_path / "faces.parquet").write_bytes(faces.read_bytes())
    model = [] if "--model" in arguments else ["--model", tiny_model]
    done = emotion_ops(*arguments, *model, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_on_a_terminal_there_is_a_bar_with_images_a_second(faces: Path, tiny_model: str, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    job = subprocess.Popen(
        [*COMMAND, "enrich", str(faces), str(tmp_path / "out"), "--model", tiny_model],
        stdout=subprocess.DEVNULL, stderr=follower, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(follower)
    seen = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # the other side is closed
            break
        seen += chunk
    assert job.wait(timeout=60) == 0
    assert b"7/7" in seen
    assert b"2 failed" in seen


def test_every_option_of_the_operator_and_of_the_job_is_an_option_of_enrich() -> None:
    of_the_code = {option.name for option in dataclasses.fields(ClassifyEmotions)} | {
        name
        for name in inspect.signature(enrich_dataset).parameters
        if name not in ("source", "destination", "operator", "runner", "on_progress")  # arguments, and Python's alone
    }
    not_options = ("source", "manifest", "as_json")
    assert {name for name in inspect.signature(enrich).parameters if name not in not_options} == of_the_code


def test_commands_share_the_options_of_enrich_that_mean_something_to_them() -> None:
    of_the_code = {option.name for option in dataclasses.fields(ClassifyEmotions)}
    of_running = {
        "device", "engine", "precision", "calibration", "batch_size", "channels", "decode", "threads", "memory",
        "answer_cache", "answer_cache_dir",
    }  # fmt: skip
    for command, own, shared in (
        (main.preview, {"source", "rows", "output"}, of_the_code - {"on_error", "prefix"}),
        (main.inspect_, {"source", "rows", "as_json"}, of_the_code - {"on_error"} - of_running),
        (main.plan, set(), set(inspect.signature(enrich).parameters) - {"dry_run"}),
    ):
        found = inspect.signature(command).parameters
        assert set(found) == own | shared
        assert all(found[name] is main._OPTIONS[name] for name in shared)  # one declaration, with its help and default


@pytest.mark.parametrize(
    ("text", "meant"),
    [("0.3", 0.3), ("happy=0.4,sad=.2", {"happy": 0.4, "sad": 0.2}), (" happy = 0.4 , a=b=1", {"happy": 0.4, "a=b": 1.0})],
)  # fmt: skip
def test_thresholds_are_read_as_they_are_written(text: str, meant: object) -> None:
    assert thresholds_in(text) == meant


@pytest.mark.parametrize(
    ("text", "words"),
    [("happy=0.4,happy=.2", "names 'happy' twice"), ("happy=0.4,sad", "is no threshold"), ("", "is no threshold")],
)
@pytest.mark.parametrize(
    ("command", "source"),
    [(main.enrich, ["a", "b"]), (main.plan, ["a", "b"]), (main.preview, "a"), (main.inspect_, "a")],
)
def test_thresholds_that_contradict_each_other_or_are_none_are_a_usage_error(
    command: Callable[..., None], source: str | list[str], text: str, words: str
) -> None:
    with pytest.raises(typer.BadParameter, match=words):
        command(source=source, labels_above=text)


def test_inspect_shows_what_faces_and_thresholds_append(
    faces: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {
        "model": tiny_model, "faces": "all", "detector": Marked(), "max_faces": 7, "labels_above": {"happy": 0.4},
        "min_probability": 0.6, "prefix": "mood",
    }  # fmt: skip
    inspecting.inspect(str(faces), options, 1, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    appended = dict(one.split(": ", 1) for one in shown["source"]["appended"])
    wanted = ClassifyEmotions(**options).output_columns().fields()
    assert list(appended) == [field.name for field in wanted]
    assert all(appended[field.name].startswith(str(field.type)) for field in wanted)
    assert appended["mood"] == "string, null below 0.6"
    assert appended["mood_labels"].endswith(", of at least happy: 0.4")
    assert "Marked" in shown["faces"]["detector"]
    inspecting.inspect(str(faces), {"model": tiny_model}, 1, as_json=True)
    assert "faces" not in json.loads(capsys.readouterr().out)


def test_a_manifest_is_a_small_file_of_json_beside_whatever_else_is_told(faces: Path, tmp_path: Path) -> None:
    done = emotion_ops(
        "enrich", faces, tmp_path / "out", "--model", "demo", "--json", "--manifest", tmp_path / "manifest.json"
    )  # fmt: skip
    assert done.returncode == 0
    report, manifest = json.loads(done.stdout), json.loads((tmp_path / "manifest.json").read_text())
    same = ("rows", "images", "errors", "files", "skipped", "model", "weights_sha256", "destination")
    assert {name: manifest[name] for name in same} == {name: report[name] for name in same}
    assert len(manifest["fingerprint"]) == 64


def test_help_and_version_answer_without_loading_anything_heavy() -> None:
    code = (
        "import sys; sys.argv = ['emotion-ops', sys.argv[1]]\nfrom emotion_ops.cli.main import run\n"
        "try: run()\nfinally: print([name for name in ('torch', 'transformers', 'pandas', 'pyarrow') if name in sys.modules])"
    )
    for flag, words in (("--help", "doctor"), ("--version", "0.1.0")):
        shown = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, check=True).stdout
        assert words in shown
        assert shown.rstrip().endswith("[]")


def test_the_documented_exit_codes_are_those_of_the_code() -> None:
    from emotion_ops.cli.output import ExitCode

    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for code in ExitCode:
        assert f"| {code.value} |" in page


def test_names_that_look_like_markup_are_printed_as_they_are(faces: Path, tmp_path: Path) -> None:
    odd = tmp_path / "o[bold]ut["
    done = emotion_ops("enrich", faces, odd, "--model", "demo")
    assert done.returncode == 0
    assert "o[bold]ut[" in done.stdout.replace("\n", "")


def test_inspecting_what_is_no_parquet_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"id,image\n1,a.jpg\n")
    done = emotion_ops("inspect", str(tmp_path / "rows.parquet"), "--model", "demo")
    assert done.returncode == 5
    assert "is no whole Parquet file" in done.stderr
