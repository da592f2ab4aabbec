"""A manifest as OpenLineage tells of it: datasets, columns and numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from emotion_ops.version import __version__


def lineage_of(manifest: Mapping[str, Any], source: Sequence[str], image: str) -> Any:
    """What a job read and wrote: the datasets, which columns came of the images, rows and bytes.

    Args:
        manifest: The job's.
        source: What it read.
        image: The column of images.

    Returns:
        An ``OperatorLineage``; None where Airflow's OpenLineage provider is not installed.
    """
    try:
        from airflow.providers.common.compat.openlineage.facet import (
            ColumnLineageDatasetFacet,
            Dataset,
            Fields,
            InputField,
            OutputDataset,
            OutputStatisticsOutputDatasetFacet,
            SchemaDatasetFacet,
            SchemaDatasetFacetFields,
        )
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.facet_v2 import processing_engine_run
    except ImportError:
        return None
    sources = [dataset_of(uri) for uri in source]
    namespace, name = dataset_of(manifest["destination"])
    made_of = [InputField(namespace=space, name=source, field=image) for space, source in sources]
    lineage = {
        column: Fields(
            inputFields=made_of,
            transformationType="TRANSFORMATION",
            transformationDescription=", ".join(f"{name} {value}" for name, value in manifest["lineage"].items()),
        )
        for column in manifest["columns"]
    }
    label, *_ = columns = manifest["columns"]
    types = {label: "string", f"{label}_error": "string"}
    facets = {
        "columnLineage": ColumnLineageDatasetFacet(fields=lineage),
        "schema": SchemaDatasetFacet(
            fields=[SchemaDatasetFacetFields(name=column, type=types.get(column, "float")) for column in columns]
        ),
    }
    statistics = OutputStatisticsOutputDatasetFacet(
        rowCount=manifest["rows"], size=manifest["bytes_written"], fileCount=manifest["files"]
    )
    return OperatorLineage(
        inputs=[Dataset(namespace=space, name=source) for space, source in sources],
        outputs=[
            OutputDataset(namespace=namespace, name=name, facets=facets, outputFacets={"outputStatistics": statistics})
        ],
        run_facets={
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(version=__version__, name="emotion-ops")
        },
    )


def dataset_of(uri: str) -> tuple[str, str]:
    """The namespace and name of a place, by OpenLineage's naming."""
    scheme, is_uri, path = uri.partition("://")
    if not is_uri or scheme == "file":  # what follows a ? or # is a part of a file's name
        return "file", os.path.abspath(path if is_uri else uri)  # noqa: PTH100  (a path of the worker, not ours to resolve)
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.strip("/")
