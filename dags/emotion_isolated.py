"""A separate environment for the work: torch is there, and not where Airflow is.

### What it does

Airflow pins pandas, pyarrow and a hundred other packages. This DAG does not change Airflow's environment: the task
starts another interpreter, which has torch and everything else that the work needs, and talks to it in JSON lines. Log,
manifest, retries and time-outs are the same. When the task ends, that process ends too.

### Try it

1. Create an environment for the work, on every worker: `python3 -m venv /opt/emotion` and
   `/opt/emotion/bin/pip install emotion-ops`.
2. In Airflow's environment install only the operator: `pip install --no-deps emotion-ops`.
3. Start Airflow with `EMOTION_OPS_PYTHON=/opt/emotion/bin/python`, and trigger `emotion_isolated`.

### Adapt it

- For all tasks: `AIRFLOW__EMOTION_OPS__PYTHON=/opt/emotion/bin/python`, without `python=` here.
- `env` sets variables of that process only: the model cache (`HF_HOME`) or the GPU (`CUDA_VISIBLE_DEVICES`).
- Upgrade both environments together. The log has a warning if their versions differ.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, Param

from emotion_ops.airflow import EmotionEnrichOperator

HOME = os.environ.get("EMOTION_OPS_HOME", "/tmp/emotion-ops")
PYTHON = os.environ.get("EMOTION_OPS_PYTHON", "/opt/emotion/bin/python")

with DAG(
    dag_id="emotion_isolated",
    description="Enrich in a separate environment",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_runs=1,
    tags=["emotion"],
    params={"source": Param(f"{HOME}/faces", type="string"), "model": Param("demo", type="string")},
):
    EmotionEnrichOperator(
        task_id="enrich",
        source="{{ params.source }}",
        destination=f"{HOME}/isolated",
        model="{{ params.model }}",
        columns=["-image"],
        python=PYTHON,
        env={"HF_HOME": f"{HOME}/models"},
        retries=3,
        retry_delay=timedelta(minutes=1),
        execution_timeout=timedelta(hours=6),
    )
