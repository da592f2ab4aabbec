"""The description of this package for ``airflow providers``. Airflow reads it while it starts."""

from __future__ import annotations

from typing import Any

from emotion_ops.version import __version__


def get_provider_info() -> dict[str, Any]:
    """The provider's description, by Airflow's schema of it."""
    return {
        "package-name": "emotion-ops",
        "name": "Emotion ops",
        "description": "Columns for Parquet datasets of images: facial emotions, or the results of any table operator.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Emotion ops",
                "external-doc-url": "https://github.com/emotion-ops/emotion-ops",
                "tags": ["software"],
            }
        ],
        "operators": [
            {
                "integration-name": "Emotion ops",
                "python-modules": [f"emotion_ops.airflow.{name}" for name in ("emotions", "enrich", "shards")],
            }
        ],
        "extra-links": ["emotion_ops.airflow.links.EnrichReportLink"],
        "config": {
            "emotion_ops": {
                "description": "Defaults of the operators of emotion-ops.",
                "options": {
                    "python": {
                        "description": "The interpreter for the work, unless a task has python=. Empty: Airflow's own.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/opt/emotion/bin/python",
                        "default": "",
                    },
                    "progress_seconds": {
                        "description": "Seconds between two lines of progress in a task's log.",
                        "version_added": "0.1.0",
                        "type": "float",
                        "example": None,
                        "default": "10",
                    },
                    "report_url": {
                        "description": "Where a browser finds the report of a run: a format with {uri}, the report's "
                        "path or URI, and {path}, the same without scheme and report_root. Empty: the path or URI "
                        "itself, which Airflow's UI does not show.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "https://files.example.com/{path}",
                        "default": "",
                    },
                    "report_root": {
                        "description": "The folder, or URI of one, that report_url serves: it is removed from {path}.",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "/data/lake",
                        "default": "",
                    },
                },
            }
        },
    }
