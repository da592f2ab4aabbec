"""A manifest as OpenLineage describes it: datasets, columns and numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from emotion_ops.version import __version__


def make_lineage(manifest: Mapping[str, Any], source: Sequence[str]) -> Any:
    """What a job read and wrote: the datasets, which columns come from which, rows and bytes.

    Args:
        manifest: The job's manifest.
        source: The sources of the job.

    Returns:
        An ``OperatorLineage``; None if Airflow's OpenLineage provider is not installed.
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
    sources = [name_dataset(uri) for uri in source]
    namespace, name = name_dataset(manifest["destination"])
    inputs = [
        InputField(namespace=space, name=source, field=column)
        for space, source in sources
        for column in manifest["inputs"]
    ]
    description = ", ".join(f"{key} {value}" for key, value in manifest["lineage"].items())
    lineage = {
        column: Fields(inputFields=inputs, transformationType="TRANSFORMATION", transformationDescription=description)
        for column in manifest["columns"]
    }
    facets = {
        "columnLineage": ColumnLineageDatasetFacet(fields=lineage),
        "schema": SchemaDatasetFacet(
            fields=[SchemaDatasetFacetFields(name=column, type=kind) for column, kind in manifest["columns"].items()]
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


def name_dataset(uri: str) -> tuple[str, str]:
    """The namespace and name of a place, by the naming of OpenLineage."""
    scheme, is_uri, path = uri.partition("://")
    if not is_uri or scheme == "file":  # in a path, ? and # are part of a file's name
        return "file", os.path.abspath(path if is_uri else uri)  # noqa: PTH100  (a path of the worker, not to be resolved)
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.strip("/")
