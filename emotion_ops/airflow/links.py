"""The link from a task to the report of its run."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk.bases.operatorlink import BaseOperatorLink


class EmotionReportLink(BaseOperatorLink):
    """The report that ``enrich_dataset`` writes beside its outputs.

    Its address is what ``[emotion_ops] report_url`` makes of the report's path or URI; without that setting it is these
    themselves, which Airflow's UI leaves out, for it shows http addresses alone.
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
    root = str(conf.get("emotion_ops", "report_root", fallback="")).rstrip("/")
    below = page.removeprefix(f"{root}/") if root else page
    path = below.partition("://")[2] if "://" in below else below.lstrip("/")
    if form:
        return form.format(uri=page, path=path)
    return page if "://" in page else f"file://{quote(page)}"
