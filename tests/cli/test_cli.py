"""The command line: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import COMMAND, run_here, run_process
from pictures import jpeg
from PIL import Image

from emotion_ops import ClassifyEmotions
from emotion_ops.cli.main import COMMANDS


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faces") / "faces.parquet"
    cells = [jpeg(seed, 60, 60) for seed in range(5)] + [None, b"text"]
    pq.write_table(pa.table({"id": range(7), "image": pa.array(cells, pa.binary())}), path, row_group_size=3)
    return path


def test_the_demo_writes_its_three_files_and_a_readable_table_and_can_be_run_again(tmp_path: Path) -> None:
    first = run_process("demo", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "21 of 21 faces got the emotion that was drawn" in first.stdout
    for label in ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy"):
        assert label in first.stdout
    assert pq.read_table(tmp_path / "demo-output" / "enriched.parquet").num_rows == 21
    with Image.open(tmp_path / "demo-output" / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    assert run_process("demo", cwd=tmp_path).returncode == 0


def test_enrich_prints_what_it_did_and_a_second_run_skips_the_output(
    faces: Path, tiny_model: str, tmp_path: Path
) -> None:
    done = run_here("enrich", faces, tmp_path / "out.parquet", "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    assert re.search(r"failed +2 \(28.6% of the rows\)", done.stdout)
    assert re.search(r"missing1\S*faces.parquet,row", "".join(done.stdout.split()))  # a long path is folded
    assert "enriching: 7 of 7 rows, 2 failed" in done.stderr
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 7
    again = run_here("enrich", faces, tmp_path / "out.parquet", "--model", tiny_model)
    assert "0 written, 1 skipped" in again.stdout


def test_json_is_one_object_and_alone_on_stdout(faces: Path, tiny_model: str, tmp_path: Path) -> None:
    done = run_here("enrich", faces, tmp_path, "--model", tiny_model, "--json", "--columns", "-image")
    report = json.loads(done.stdout)
    counts = (report["files"], report["rows"], report["good_rows"], report["errors"])
    assert counts == (1, 7, 5, {"missing": 1, "unsupported": 1})
    assert report["rows_per_second"] > 0
    assert "image" not in pq.read_schema(tmp_path / "faces.parquet").names
    inspected = json.loads(run_here("inspect", faces, "--model", tiny_model, "--json").stdout)
    assert inspected["source"]["images"][0] == "JPEG RGB 60 × 60"
    assert inspected["operator"]["lineage"]["revision"].startswith("sha256:")


def test_a_dry_run_shows_the_plan_and_writes_nothing(faces: Path, tiny_model: str, tmp_path: Path) -> None:
    arguments = [faces, tmp_path / "out", "--model", tiny_model]
    for command in (["enrich", *arguments, "--dry-run"], ["plan", *arguments]):
        done = run_here(*command)
        assert done.returncode == 0
        assert "nothing was written" in done.stdout
        assert "rows/s" in done.stdout
    assert not (tmp_path / "out").exists()


def test_inspect_shows_the_column_the_images_and_what_would_be_appended(faces: Path, tiny_model: str) -> None:
    shown = run_here("inspect", faces, "--model", tiny_model, "--rows", 7).stdout
    for words in (
        "encoded images (binary)",
        "JPEG RGB 60 × 60",
        "missing: the cell is null",
        "emotion_happy: float",
        "surprise",
    ):
        assert words in shown
    wrong = run_here("inspect", faces, "--model", tiny_model, "--image", "photo")
    assert wrong.returncode == 3
    assert "'image, which could hold images'" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["enrich", "faces.parquet", "out", "--on-error", "ignore"], 2, "--on-error='ignore' cannot be used"),
        (["enrich", "faces.parquet", "out", "--faces", "all", "--face-threshold", "2"], 2, "--face-threshold=2.0 cannot"),
        (["enrich", "faces.parquet", "out", "--memory", "2 GBs"], 2, "--memory='2 GBs' cannot be used"),
        (["enrich", "faces.parquet", "out", "--operator", "nothing"], 2, "--operator='nothing' cannot be used"),
        (["enrich", "faces.parquet", "out", "--labels-above", "bored=0.3"], 2, "--labels-above={'bored': 0.3} cannot"),
        (["plan", "faces.parquet", "out", "--max-changes", "3"], 2, "--compare-to=None"),
        (["verify", "faces.parquet"], 2, "DESTINATION"),
        (["diff", "faces.parquet", "faces.parquet", "--max-drift", "far"], 2, "--max-drift='far' cannot be used"),
        (["preview", "faces.parquet", "-n", "0"], 2, "--rows=0 cannot be used"),
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
    has_model = arguments[0] in ("verify", "diff") or {"--model", "nothing"} & set(arguments)
    model = [] if has_model else ["--model", tiny_model]
    done = run_here(*arguments, *model, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_on_a_terminal_there_is_a_progress_bar_with_rows_per_second(
    faces: Path, tiny_model: str, tmp_path: Path
) -> None:
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
    assert b"rows/s" in seen


def test_inspect_shows_what_would_be_appended_and_what_decides_it(faces: Path, tiny_model: str) -> None:
    command = ["inspect", faces, "--model", tiny_model, "--labels-above", "happy=0.4", "--prefix", "mood", "--json"]
    shown = json.loads(run_here(*command, "--rows", "1").stdout)
    wanted = ClassifyEmotions(model=tiny_model, labels={"happy": 0.4}, prefix="mood").output_fields()
    assert shown["operator"]["appended"] == [f"{field.name}: {field.type}" for field in wanted]
    assert shown["operator"]["identity"]["labels_above"] == {"happy": 0.4}
    assert len(shown["operator"]["identity"]["weights_sha256"]) == 64
    assert len(shown["source"]["images"]) == 1
    other = json.loads(run_here("inspect", "--operator", "image_statistics", "--json").stdout)
    assert "source" not in other
    assert other["operator"]["appended"][0] == "brightness: float"


def test_a_manifest_is_a_small_json_file_next_to_other_output(faces: Path, tmp_path: Path) -> None:
    done = run_here(
        "enrich", faces, tmp_path / "out", "--model", "demo", "--json", "--manifest", tmp_path / "manifest.json"
    )  # fmt: skip
    assert done.returncode == 0
    report, manifest = json.loads(done.stdout), json.loads((tmp_path / "manifest.json").read_text())
    same = ("rows", "good_rows", "errors", "files", "skipped", "operator", "lineage", "destination")
    assert {name: manifest[name] for name in same} == {name: report[name] for name in same}
    assert len(manifest["fingerprint"]) == 64


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['emotion-ops', sys.argv[1]]\nfrom emotion_ops.cli.main import run\n"
        "try: run()\nfinally: print([name for name in ('torch', 'transformers', 'pandas', 'pyarrow') if name in sys.modules])"
    )
    for flag, words in (("--help", "doctor"), ("--version", "0.1.0")):
        shown = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, check=True).stdout
        assert words in shown
        assert shown.rstrip().endswith("[]")


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide terminal, so that no text is wrapped."""
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 240)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("wide")
def test_every_command_has_help_that_begins_with_its_line_in_the_list_of_commands(command: str) -> None:
    text = " ".join(run_here(command, "--help").stdout.split())
    assert COMMANDS[command].removesuffix(".").partition(" (docs")[0] in text


@pytest.mark.usefixtures("wide")
def test_help_groups_options_shows_defaults_and_has_those_of_the_operator() -> None:
    text = run_here("enrich", "--help").stdout
    for panel in (
        "ClassifyEmotions",
        "Labels",
        "Faces",
        "Decoding",
        "Access",
        "Limits",
        "Resources",
        "Cache",
        "Job",
        "Gate",
    ):
        assert re.search(rf"^╭─ {panel} ─", text, re.MULTILINE), panel
    for words in (
        "--face-threshold", "none|largest|all", "[default: 0.7]", "[default: 512 MiB]", "BYTES", "auto|INTEGER",
        "[default: dima806/facial_emotions_image_detection]",
    ):  # fmt: skip
        assert words in text, words
    other = run_here("enrich", "--operator", "image_statistics", "--help").stdout
    assert "─ ImageStatistics ─" in other
    assert "--face-threshold" not in other


def test_the_documented_exit_codes_are_those_of_the_code() -> None:
    from emotion_ops.cli.output import ExitCode

    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for code in ExitCode:
        assert f"| {code.value} |" in page


def test_names_with_brackets_are_printed_unchanged(faces: Path, tmp_path: Path) -> None:
    odd = tmp_path / "o[bold]ut["
    done = run_process("enrich", faces, odd, "--model", "demo")
    assert done.returncode == 0
    assert "o[bold]ut[" in "".join(done.stdout.split())


def test_inspecting_a_file_that_is_not_parquet_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"id,image\n1,a.jpg\n")
    done = run_here("inspect", str(tmp_path / "rows.parquet"), "--model", "demo")
    assert done.returncode == 5
    assert "rows.parquet: is not a complete Parquet file" in done.stderr


def test_an_operator_is_chosen_by_name_in_every_command_that_needs_one(faces: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    named = ["--operator", "image_statistics"]
    assert run_here("plan", faces, out, *named).returncode == 0
    done = run_here("enrich", faces, out, *named, "--columns=-image", "--max-side", "9999")
    assert done.returncode == 0, done.stderr
    assert re.search(r"brightness +5 +100.0%", done.stdout)
    assert pq.read_schema(out / "faces.parquet").names == ["id", "brightness", "width", "height", "image_error"]
    assert run_here("verify", faces, out).returncode == 0
    assert run_here("preview", faces, *named, "-n", "3", "-o", sheet).returncode == 0
    assert sheet.stat().st_size > 1000
