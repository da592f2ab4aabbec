"""On Kubernetes, a pod with a GPU for each shard.

### What it does

Each mapped task starts a pod that runs `emotion-ops enrich` on one shard, with a GPU of its own. The pods share nothing
but the destination: which files are whose follows from their names. Each writes its manifest to where Airflow picks it
up, and `check` puts them together and tells of the whole by one event.

### Before you trigger it

1. An image with `emotion-ops` and CUDA in a registry that the cluster reaches: `EMOTION_OPS_IMAGE`.
2. `pip install apache-airflow-providers-cncf-kubernetes` in Airflow's environment, and the connection
   `kubernetes_default`. Without the provider this file has no DAG.
3. Source and destination in an object store, and a service account whose pods may read and write there: credentials
   come from the pod, as usual in a cluster.
4. `check` runs on Airflow's worker and lists both; give it a connection in the URI if it has no credentials itself.

### Make it yours

- A pod that is evicted is retried, and goes on from the journal in the destination.
- A pod that ran out of memory is told by Kubernetes as `OOMKilled`: raise `limits`, or lower `--memory` and
  `--batch-size`.
- `SHARDS` is fixed here, for the pods are cut before they start; a shard without files ends at once.
"""

from __future__ import annotations

import importlib.util
import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, Asset, Param

from emotion_ops.airflow import CheckShardsOperator

IMAGE = os.environ.get("EMOTION_OPS_IMAGE", "registry.example.com/emotion-ops:0.1.0-cuda")
SHARDS = 4
SOURCE, DESTINATION = "{{ params.source }}", "{{ params.destination }}"
MANIFEST = "/airflow/xcom/return.json"  # where the provider's sidecar looks for the task's result

if importlib.util.find_spec("airflow.providers.cncf"):
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from kubernetes.client import models as k8s

    with DAG(
        dag_id="emotion_kubernetes",
        description="Enrich a dataset in pods with a GPU each",
        doc_md=__doc__,
        schedule=None,
        start_date=datetime(2026, 1, 1),
        max_active_runs=1,
        tags=["emotion"],
        params={
            "source": Param("s3://bucket/faces", type="string"),
            "destination": Param("s3://bucket/emotions", type="string"),
            "model": Param("dima806/facial_emotions_image_detection", type="string"),
            "revision": Param("main", type="string", description="Pin the commit that emotion-ops inspect prints."),
        },
    ):
        enrich = KubernetesPodOperator.partial(
            task_id="enrich",
            name="emotion-enrich",
            image=IMAGE,
            cmds=["emotion-ops"],
            container_resources=k8s.V1ResourceRequirements(
                requests={"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"},
                limits={"memory": "8Gi", "nvidia.com/gpu": "1"},
            ),
            do_xcom_push=True,
            get_logs=True,
            on_finish_action="delete_pod",
            termination_grace_period=30,
            retries=3,
            retry_delay=timedelta(minutes=1),
            execution_timeout=timedelta(hours=6),
        ).expand(
            arguments=[
                [
                    "enrich", SOURCE, DESTINATION, "--model", "{{ params.model }}",
                    "--revision", "{{ params.revision }}", "--device", "cuda", "--columns=-image",
                    "--shard", f"{shard}/{SHARDS}", "--wait", "120", "--manifest", MANIFEST,
                ]
                for shard in range(SHARDS)
            ]
        )  # fmt: skip
        CheckShardsOperator(
            task_id="check",
            source=SOURCE,
            destination=DESTINATION,
            manifests=enrich.output,
            outlets=[Asset(name="emotions_of_pods", uri="s3://bucket/emotions")],
        )
