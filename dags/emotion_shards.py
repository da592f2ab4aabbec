"""A large dataset in mapped tasks, one event at the end, and a DAG that waits for it.

### What it does

`plan` cuts the dataset into shards. `enrich` runs once for each, as many at a time as the pool and
`max_active_tis_per_dag` allow. `check` makes sure that together they did the whole, and only then tells of it: the
asset `emotions` gets one event, with the manifest of all shards as its extra. `emotion_shards_consumer` runs for that
event and reads the manifest; of events that gathered while it was paused it runs once, and reads the last.

### Try it

1. Put Parquet files with an `image` column below `$EMOTION_OPS_HOME/faces`, as `emotion_nightly` says.
2. For a GPU: `airflow pools set gpu 1 "GPU slots"`, and start Airflow with `EMOTION_OPS_POOL=gpu`. A task in a pool
   that does not exist waits, and only the scheduler's log says so.
3. Switch `emotion_shards_consumer` on, and trigger `emotion_shards`. The run lists one task instance of `enrich` for
   each shard; the consumer starts by itself.

### Make it yours

- Map over shards or files, never over rows: Airflow takes at most 1,024 mapped tasks.
- The asset stands on `check`. On the mapped task each shard would emit an event of its own.
- One shard that failed is cleared by itself; it goes on from its journal, and the others stand.
- `verify=True` on `check` proves every row, and reads both datasets once.
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
    description="Enrich a dataset in mapped shards and tell of it once",
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
    description="Runs once for each time that the emotions are whole",
    doc_md=__doc__,
    schedule=[EMOTIONS],
    start_date=datetime(2026, 1, 1),
    tags=["emotion"],
):

    @task
    def read(triggering_asset_events: Any = None) -> dict[str, Any]:
        """The manifest of the last event; none where the run was triggered by hand."""
        # one run may stand for several events: while this DAG is paused they gather
        events = (triggering_asset_events or {}).get(EMOTIONS, [])
        if not events:
            print("Nothing to read: this run was triggered by hand, and no event came with it.")
            return {}
        manifest: dict[str, Any] = max(events, key=lambda one: one.timestamp).extra
        print(f"{manifest['rows'] + manifest['rows_skipped']:,} rows in {manifest['destination']}")
        return manifest

    read()
