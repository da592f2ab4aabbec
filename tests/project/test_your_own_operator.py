"""The operator of docs/your-own-operator.md, as the package of a user: in every place where operators run."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import jpeg

import emotion_ops.testing.operators

PAGE = Path(__file__).parents[2] / "docs" / "your-own-operator.md"
NAMES = ["brightness", "width", "height", "image_error"]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def code_of_the_page() -> str:
    return BLOCK.findall(PAGE.read_text())[0]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's package, installed as pip would install it: its module, and its entry point."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "my_statistics.py").write_text(code_of_the_page())
    info = folder / "my_statistics-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-statistics\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[emotion_ops.operators]\nmy_statistics = my_statistics:ImageStatistics\n")
    return folder


@pytest.fixture(scope="module")
def environment(package: Path) -> dict[str, str]:
    """The environment of a process that has the user's package."""
    inherited = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{inherited}"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of 20 rows in row groups of 4; one row of each fails."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("a", "b"):
        cells = [jpeg(seed, 50 + seed, 40) for seed in range(19)] + [b"not an image"]
        table = pa.table({"id": range(20), "image": pa.array(cells, pa.binary())})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=4)
    return folder


def run_python(code: str, environment: dict[str, str], *arguments: object) -> str:
    """Run a program in a process that has the user's package, and return its output."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_command(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``emotion-ops`` in a process that has the user's package."""
    command = [sys.executable, "-m", "emotion_ops", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_operator_of_the_page_is_the_one_in_the_package_and_has_at_most_25_lines() -> None:
    packaged = Path(emotion_ops.testing.operators.__file__).read_text()
    assert classes(packaged) == classes(code_of_the_page())
    assert len(code_of_the_page().partition("@dataclass")[2].splitlines()) <= 25


def classes(code: str) -> list[str]:
    """The classes of a module, without the docstrings of their methods."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and isinstance(node.body[0], ast.Expr):
            del node.body[0]
    return [ast.unparse(node) for node in tree.body if isinstance(node, ast.ClassDef)]


def test_it_appends_columns_to_a_dataframe(environment: dict[str, str], source: Path) -> None:
    code = """
        import sys
        import pandas as pd
        from emotion_ops import append_columns
        from my_statistics import ImageStatistics

        df = pd.read_parquet(sys.argv[1]).pipe(append_columns, ImageStatistics())
        assert list(df.columns) == ["id", "image", "brightness", "width", "height", "image_error"]
        assert df["width"].tolist()[:19] == [50 + row for row in range(19)]
        assert df["brightness"].between(0, 1).sum() == 19
        assert df["image_error"].iloc[19].startswith("unsupported: ")
        assert df.attrs["emotion_ops"]["operator"] == "my_statistics"
    """
    run_python(code, environment, source / "a.parquet")


def test_it_enriches_a_dataset_is_killed_and_continues(
    environment: dict[str, str], source: Path, tmp_path: Path
) -> None:
    code = """
        import os, signal, sys
        from emotion_ops import enrich_dataset
        from my_statistics import ImageStatistics

        def kill(progress):
            if progress.rows_done >= 8:
                os.kill(os.getpid(), signal.SIGKILL)

        enrich_dataset(sys.argv[1], sys.argv[2], ImageStatistics(), columns=["id"], on_progress=kill)
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(source), str(tmp_path / "out")], env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not list((tmp_path / "out").glob("b.parquet"))
    code = """
        import sys
        from emotion_ops import enrich_dataset
        from my_statistics import ImageStatistics

        continued = enrich_dataset(sys.argv[1], sys.argv[2], ImageStatistics(), columns=["id"])
        assert continued.rows_from_journal >= 4, continued
        enrich_dataset(sys.argv[1], sys.argv[3], ImageStatistics(), columns=["id"])
        again = enrich_dataset(sys.argv[1], sys.argv[2], ImageStatistics(), columns=["id"])
        assert (again.files, again.skipped) == (0, 2)
    """
    run_python(code, environment, source, tmp_path / "out", tmp_path / "undisturbed")
    for name in ("a.parquet", "b.parquet"):
        ours, undisturbed = (pq.read_table(tmp_path / folder / name) for folder in ("out", "undisturbed"))
        assert ours.equals(undisturbed)
        assert ours.schema.names == ["id", *NAMES]


def test_the_command_line_has_its_flags_and_verifies_its_output(
    environment: dict[str, str], source: Path, tmp_path: Path
) -> None:
    out, named = tmp_path / "out", ["--operator", "my_statistics"]
    text = run_command(environment, "enrich", *named, "--help").stdout
    assert "ImageStatistics" in text
    assert "--max-side" in text
    assert "--face-threshold" not in text
    done = run_command(environment, "enrich", source, out, *named, "--max-side", "60")
    assert done.returncode == 0, done.stderr
    errors = pq.read_table(out)["image_error"].to_pylist()
    assert sum(str(error).startswith("too_large") for error in errors) == 16
    assert "Proven" in run_command(environment, "verify", source, out).stdout

    path = out / "a.parquet"
    with pq.ParquetFile(path) as file:
        table, footer = file.read(), file.metadata.metadata
    wrong = table.set_column(4, table.schema.field(4), pa.array([7] * 20, pa.int32()))  # a failed row gets a height
    with pq.ParquetWriter(path, wrong.schema) as writer:
        writer.write_table(wrong)
        writer.add_key_value_metadata({key: value for key, value in footer.items() if key.startswith(b"emotion_ops.")})
    found = run_command(environment, "verify", source, out)
    assert found.returncode == 1
    assert "has a value next to its error" in " ".join(found.stdout.split())


@pytest.mark.airflow
def test_airflow_runs_it_by_its_name(package: Path, source: Path, tmp_path: Path) -> None:
    from airflow_tasks import make, run_task

    inherited = os.environ.get("PYTHONPATH", "")
    operator = make(
        "EnrichOperator", source=str(source), destination=str(tmp_path / "out"), operator="my_statistics",
        options={"image": "{{ 'image' }}", "limits": {"max_side": "{{ 60 }}"}}, columns=["id"],
        env={"PYTHONPATH": f"{package}{os.pathsep}{inherited}"},
    )  # fmt: skip
    manifest = run_task(operator)
    assert (manifest["operator"], manifest["rows"]) == ("my_statistics", 40)
    assert manifest["errors"] == {"too_large": 16, "unsupported": 2}
    assert list(manifest["columns"]) == NAMES
