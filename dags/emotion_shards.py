"""A large dataset in mapped tasks, one event at the end, and a DAG that waits for it.

### What it does

`plan` divides the dataset into shards. `enrich` runs once for each, as many at the same time as the pool and
`max_active_tis_per_dag` allow. `check` makes sure that together they did the whole dataset. Only then the asset
`emotions` gets one event, with the manifest of all shards as its extra. `emotion_shards_consumer` runs for that event
and reads the manifest. If several events came while it was paused, it runs once and reads the last.

### Try it

1. Put Parquet files with an `image` column below `$EMOTION_OPS_HOME/faces`, as `emotion_nightly` says.
2. For a GPU: `airflow pools set gpu 1 "GPU slots"`, and start Airflow with `EMOTION_OPS_POOL=gpu`. A task in a pool
   that does not exist waits, and only the scheduler's log says so.
3. Switch `emotion_shards_consumer` on, and trigger `emotion_shards`. The run has one task instance of `enrich` for
   each shard. The consumer starts by itself.

### Adapt it

- Map over shards or files, never over rows: Airflow maps to at most 1,024 tasks.
- The asset is an outlet of `check`. As an outlet of the mapped task it would get an event from each shard.
- If one shard failed, clear it alone: it continues from its journal, and the others are not affected.
- `verify=True` on `check` proves every row; it reads both datasets once.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, Param, task

from emotion_ops.airflow import CheckShardsOperator, EmotionEnrichOperator, PlanShardsOperator

HOME = os.environ.get("EMOTION_OPS_HOME", "/tmp/emotion-ops")
POOL = os.environ.get("EMOTION_OPS_POOL", "default_pool")
EMOTIONS = Asset(name="emotions", uri=f"file://{HOME}/emotions")

with DAG(
    dag_id="emotion_shards",
    description="Enrich a dataset in mapped shards, and emit one event for it",
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_runs=1,
    tags=["emotion"],
    params={
        "source": Param(f"{HOME}/faces", type="string"),
        "max_shards": Param(4, type="integer", minimum=1),
        "model": Param("demo", type="string"),
    },
):
    plan = PlanShardsOperator(
        task_id="plan", source="{{ params.source }}", max_shards="{{ params.max_shards }}"
    )  # fmt: skip
    enrich = EmotionEnrichOperator.partial(
        task_id="enrich",
        source="{{ params.source }}",
        destination=f"{HOME}/emotions",
        model="{{ params.model }}",
        columns=["-image"],
        pool=POOL,
        max_active_tis_per_dag=2,
        retries=3,
        retry_delay=timedelta(seconds=10),
        execution_timeout=timedelta(hours=6),
    ).expand(shard=plan.output)
    check = CheckShardsOperator(
        task_id="check",
        source="{{ params.source }}",
        destination=f"{HOME}/emotions",
        manifests=enrich.output,
        outlets=[EMOTIONS],
        retries=1,
        retry_delay=timedelta(seconds=10),
    )

with DAG(
    dag_id="emotion_shards_consumer",
    description="Runs when all emotions are complete",
    doc_md=__doc__,
    schedule=[EMOTIONS],
    start_date=datetime(2026, 1, 1),
    tags=["emotion"],
):

    @task
    def read(triggering_asset_events: Any = None) -> dict[str, Any]:
        """The manifest of the last event; empty if the run was triggered by hand."""
        # a run may have several events: those that came while this DAG was paused
        events = (triggering_asset_events or {}).get(EMOTIONS, [])
        if not events:
            print("Nothing to read: this run was triggered by hand, without an event.")
            return {}
        manifest: dict[str, Any] = max(events, key=lambda event: event.timestamp).extra
        print(f"{manifest['rows'] + manifest['rows_skipped']:,} rows in {manifest['destination']}")
        return manifest

    read()
