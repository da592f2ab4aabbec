"""The link from a task to the report of its run."""

from __future__ import annotations

from typing import Any

from airflow.sdk.bases.operatorlink import BaseOperatorLink


class EmotionReportLink(BaseOperatorLink):
    """The report that ``enrich_dataset`` writes beside its outputs.

    Its address is the report's own path or URI, or what ``[emotion_ops] report_url`` makes of it.
    """

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address; empty where no report was made.

        Args:
            operator: The operator, after its run.
            ti_key: The task instance.
        """
        page = getattr(operator, "_report", "")
        return address_of(page) if page else ""


def address_of(page: str) -> str:
    """Where a browser finds a report."""
    from airflow.sdk.configuration import conf

    form = str(conf.get("emotion_ops", "report_url", fallback=""))
    path = page.partition("://")[2] if "://" in page else page.lstrip("/")
    if form:
        return form.format(uri=page, path=path)
    return page if "://" in page else f"file://{page}"
