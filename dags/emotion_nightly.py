"""Nightly enrichment of new partitions.

### What it does

Every night it enriches the Parquet files of a folder that have no output yet: yesterday's partition, and any late ones.
It skips files whose output exists, so that a night without new files takes seconds. A quarantine has copies of the
failed rows. If more than one row in ten fails, the job stops.

### Try it

1. `emotion-ops demo` creates a small dataset. Copy it to where this DAG looks:
   `mkdir -p "$EMOTION_OPS_HOME/faces/day=2026-01-01"` and
   `cp demo-output/faces.parquet "$EMOTION_OPS_HOME/faces/day=2026-01-01/"`. Without the variable the folder is
   `/tmp/emotion-ops`.
2. Trigger `emotion_nightly` in the UI. The form shows its parameters.
3. The task's log has a line of progress every ten seconds. Its XCom is the manifest, whose `report` is the page of the
   run. If `[emotion_ops] report_url` is set, the link *Report* under *Details* opens it.
4. Add another partition and trigger it again: only that one is computed.

### Adapt it

- `model`: `demo` is the small bundled model, for trying things. Give a hub id, and pin its `revision`.
- `source` and `destination`: paths, or URIs with an Airflow connection, `s3://lake@bucket/faces`.
- A new model: trigger with `overwrite` on. Otherwise outputs of another model are refused, not mixed.
- Killed, cleared or retried, the task continues from its journal.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, Param

from emotion_ops.airflow import EmotionEnrichOperator

HOME = os.environ.get("EMOTION_OPS_HOME", "/tmp/emotion-ops")

with DAG(
    dag_id="emotion_nightly",
    description="Enrich the partitions that have no output yet",
    doc_md=__doc__,
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["emotion"],
    params={
        "source": Param(f"{HOME}/faces", type="string"),
        "destination": Param(f"{HOME}/nightly", type="string"),
        "model": Param("demo", type="string"),
        "revision": Param(None, type=["null", "string"]),
        "overwrite": Param(False, type="boolean", description="Replace outputs of another model."),
    },
):
    EmotionEnrichOperator(
        task_id="enrich",
        source="{{ params.source }}",
        destination="{{ params.destination }}",
        model="{{ params.model }}",
        revision="{{ params.revision }}",
        overwrite="{{ params.overwrite }}",
        columns=["-image"],  # the images stay where they are
        quarantine="{{ params.destination }}-failed",
        max_error_rate=0.1,
        retries=3,
        retry_delay=timedelta(minutes=2),
        execution_timeout=timedelta(hours=6),
    )
