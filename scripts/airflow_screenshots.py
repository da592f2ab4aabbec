"""Make the screenshots of Airflow's UI for the documentation.

    pip install playwright
    python scripts/airflow_screenshots.py docs/images --home /srv/airflow

Starts Airflow (an API server, a DAG processor and a scheduler, with SQLite), runs the DAG ``emotion_shards`` over six
small files with the demo model, and takes screenshots of the grid, of the log of a shard and of the report that its
link opens. Needs Chromium. ``--home`` must be a folder that does not exist yet: the screenshots show its path, and it
is removed at the end.
"""

from __future__ import annotations

import argparse
import functools
import io
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from drawn_faces import faces_table
from PIL import Image

ROOT = Path(__file__).parents[1]
DAG, RUN = "emotion_shards", "manual__2026-03-01"
FILES, ROWS = 6, 140
WIDTH, COLOURS = 1440, 128
SETTLE_MS = 2000  # until animations have ended


def make_home(home: Path) -> tuple[Path, Path]:
    """Write DAGs, data and an environment below one folder, so that the screenshots show no other path."""
    home.mkdir(parents=True)
    (home / "venv").symlink_to(sys.prefix)
    (home / "dags").mkdir()
    shutil.copy(ROOT / "dags" / f"{DAG}.py", home / "dags")
    for day in range(1, FILES + 1):
        folder = home / "data" / "faces" / f"day=2026-03-0{day}"
        folder.mkdir(parents=True)
        pq.write_table(faces_table(ROWS, seed=ROWS * day), folder / "faces.parquet")
    return home / "dags", home / "data"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP, for the links that ``[emotion_ops] report_url`` makes."""
    handler = functools.partial(_SilentHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class _SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name is the library's)
        """Log nothing."""


def take_screenshots(base: str, target: Path) -> None:
    """Open the pages of the run in a browser and save what it shows."""
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser_path is None:
        sys.exit("no Chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(
            viewport={"width": WIDTH, "height": 740}, color_scheme="light", locale="en-GB", timezone_id="UTC"
        )
        page = context.new_page()
        run = f"{base}/dags/{DAG}/runs/{RUN}"
        page.goto(run)
        page.get_by_text("CheckShardsOperator").wait_for()
        page.get_by_text("enrich [").first.wait_for()
        save_screenshot(page, target / "airflow-grid.png", 740)
        page.goto(f"{run}/tasks/enrich/mapped/0")
        page.get_by_text("rows_per_second").first.wait_for()
        save_screenshot(page, target / "airflow-log.png", 480)
        page.goto(f"{run}/tasks/enrich/mapped/0/details")
        with context.expect_page() as opened:
            page.get_by_role("link", name="Report").click()
        report = opened.value
        report.wait_for_load_state("networkidle")
        save_screenshot(report, target / "airflow-report.png", 900)
        browser.close()


def save_screenshot(page: Any, target: Path, height: int) -> None:
    """Save the visible part of a page with few colours, which makes a small file."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.wait_for_timeout(SETTLE_MS)
    with Image.open(io.BytesIO(page.screenshot(animations="disabled"))) as image:
        few_colours = image.convert("RGB").quantize(
            COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=8, dither=Image.Dither.NONE
        )
        few_colours.save(target, optimize=True)


def main(target: Path, home: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import airflow_cluster

    dags, data = make_home(home)
    try:
        with serving(data) as files:
            python = str(home / "venv" / "bin" / "python")
            settings = {
                "EMOTION_OPS_HOME": str(data),
                "AIRFLOW__EMOTION_OPS__REPORT_URL": f"{files}/{{path}}",
                "AIRFLOW__EMOTION_OPS__REPORT_ROOT": str(data),
                "AIRFLOW__EMOTION_OPS__PROGRESS_SECONDS": "0",
            }
            with airflow_cluster.running_airflow(home / "home", dags, python=python, **settings) as cluster:
                cluster.trigger(DAG, RUN)
                if cluster.wait(DAG, RUN) != "success":
                    sys.exit("the run failed")
                take_screenshots(cluster.base, target)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--home", type=Path, default=Path("/srv/airflow"))
    options = parser.parse_args()
    main(options.target.resolve(), options.home)
