"""The link from a task to the report of its run."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk.bases.operatorlink import BaseOperatorLink


class EnrichReportLink(BaseOperatorLink):
    """The report that ``enrich_dataset`` writes next to its outputs.

    Its address is made by ``[emotion_ops] report_url`` from the report's path or URI. Without that setting it is the
    path or URI, which Airflow's UI does not show: it shows http addresses only.
    """

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address; empty if there is no report.

        Args:
            operator: The operator, after its run.
            ti_key: The task instance.
        """
        page = getattr(operator, "_report", "")
        return report_address(page) if page else ""


def report_address(page: str) -> str:
    """Where a browser finds a report."""
    from airflow.sdk.configuration import conf

    form = str(conf.get("emotion_ops", "report_url", fallback=""))
    root = str(conf.get("emotion_ops", "report_root", fallback="")).rstrip("/")
    below = page.removeprefix(f"{root}/") if root else page
    path = below.partition("://")[2] if "://" in below else below.lstrip("/")
    if form:
        return form.format(uri=page, path=path)
    return page if "://" in page else f"file://{quote(page)}"
