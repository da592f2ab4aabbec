"""The package as Airflow's provider: its description, settings, link and documentation."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow_home
import pytest

pytestmark = pytest.mark.airflow


def test_the_provider_info_fits_airflows_schema_and_is_read_without_airflow() -> None:
    import airflow
    import jsonschema

    program = (
        "import json, sys; from emotion_ops.airflow.provider import get_provider_info\n"
        "assert not any(name.partition('.')[0] == 'airflow' for name in sys.modules)\n"
        "print(json.dumps(get_provider_info()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    info = json.loads(done.stdout)
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(info, schema)
    for names in (info["extra-links"], [f"{m}.x" for m in info["operators"][0]["python-modules"]]):
        for name in names:
            module, _, attribute = name.rpartition(".")
            loaded = __import__(module, fromlist=["_"])
            assert attribute == "x" or hasattr(loaded, attribute)


def test_the_package_is_registered_as_a_provider() -> None:
    found = [point for point in entry_points(group="apache_airflow_provider") if point.module.startswith("emotion_ops")]
    assert [point.value for point in found] == ["emotion_ops.airflow.provider:get_provider_info"]


def test_every_setting_of_the_section_is_read_somewhere() -> None:
    from emotion_ops.airflow.provider import get_provider_info

    code = "".join(path.read_text() for path in (airflow_home.ROOT / "emotion_ops" / "airflow").glob("*.py"))
    for name in get_provider_info()["config"]["emotion_ops"]["options"]:
        assert f'"emotion_ops", "{name}"' in code


def test_the_setting_report_url_makes_the_address_of_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    from emotion_ops.airflow.links import report_address

    assert report_address("/data/out/_emotion_ops/report.html") == "file:///data/out/_emotion_ops/report.html"
    assert report_address("s3://bucket/out/report.html") == "s3://bucket/out/report.html"
    monkeypatch.setenv("AIRFLOW__EMOTION_OPS__REPORT_URL", "https://files.example.com/{path}")
    assert report_address("s3://bucket/out/report.html") == "https://files.example.com/bucket/out/report.html"
    assert report_address("/data/report.html") == "https://files.example.com/data/report.html"


@pytest.mark.parametrize(
    ("root", "page", "path"),
    [
        ("/data", "/data/out/report.html", "out/report.html"),
        ("/data/", "/data/out/report.html", "out/report.html"),
        ("/data", "/database/report.html", "database/report.html"),
        ("s3://bucket/lake", "s3://bucket/lake/out/report.html", "out/report.html"),
        ("s3://other", "s3://bucket/out/report.html", "bucket/out/report.html"),
    ],
)
def test_the_folder_that_is_served_is_left_off_the_report_address_a_report(
    root: str, page: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotion_ops.airflow.links import report_address

    monkeypatch.setenv("AIRFLOW__EMOTION_OPS__REPORT_URL", "http://localhost:8000/{path}")
    monkeypatch.setenv("AIRFLOW__EMOTION_OPS__REPORT_ROOT", root)
    assert report_address(page) == f"http://localhost:8000/{path}"


def test_the_setting_python_applies_unless_the_task_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from emotion_ops.airflow.worker import find_interpreter

    assert find_interpreter(None) == sys.executable
    monkeypatch.setenv("AIRFLOW__EMOTION_OPS__PYTHON", "/opt/emotion/bin/python")
    assert find_interpreter(None) == "/opt/emotion/bin/python"
    assert find_interpreter("/usr/bin/python3") == "/usr/bin/python3"


def test_the_reference_has_every_argument_setting_and_value_of_the_manifest(
    sharded: tuple[Path, Path, list[dict[str, Any]]],
) -> None:
    import inspect

    import emotion_ops.airflow
    from emotion_ops.airflow.base import WorkerOperator
    from emotion_ops.airflow.emotions import DEFAULTS
    from emotion_ops.airflow.enrich import JOB_DEFAULTS
    from emotion_ops.airflow.provider import get_provider_info

    text = (airflow_home.ROOT / "docs" / "airflow.md").read_text()
    part = text.partition("\n## Reference")[2].partition("\n## ")[0]
    kinds = [getattr(emotion_ops.airflow, name) for name in emotion_ops.airflow.__all__ if name.endswith("Operator")]
    arguments = {name for kind in (*kinds, WorkerOperator) for name in inspect.signature(kind.__init__).parameters}
    settings = get_provider_info()["config"]["emotion_ops"]["options"]
    known_elsewhere = {"self", "kwargs", *DEFAULTS, *JOB_DEFAULTS}
    for name in (*(arguments - known_elsewhere), *emotion_ops.airflow.__all__, *settings, *sharded[2][0]):
        assert name in part, name
