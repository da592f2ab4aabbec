"""Settings of Airflow for tests; import this before Airflow, which reads them when it is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = Path(tempfile.mkdtemp(prefix="emotion-airflow-"))
DAGS = ROOT / "dags"
SETTINGS = {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__API_AUTH__JWT_SECRET": "of-the-tests-" * 6,
    "AIRFLOW__CORE__PARALLELISM": "2",
    "EMOTION_OPS_HOME": str(HOME / "data"),
}
os.environ.update(SETTINGS)
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
