"""Time from the start of a process to its first result: a table of one row, with the weights on disk."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_READ = "import pyarrow.parquet as pq; table = pq.read_table({source!r}).slice(0, 1)\n"
_PIPELINE = _READ + (
    "import io; from PIL import Image; from transformers import pipeline\n"
    "classify = pipeline('image-classification', model={model!r}, device='cpu')\n"
    "print('result', classify(Image.open(io.BytesIO(table['image'][0].as_py())), top_k=1), flush=True)\n"
)
_OURS = _READ + (
    "from emotion_ops import ClassifyEmotions\n"
    "operator = ClassifyEmotions(model={model!r}, device='cpu', engine={engine!r}, on_error='raise')\n"
    "print('result', operator(table)['emotion'], flush=True)\n"
)


def measure(folder: Path, model: Path, source: Path, rounds: int, openvino: bool) -> dict[str, list[float]]:
    """Return the seconds of each kind of start in each round; an extra first round fills the disk cache."""
    cache = folder / "start-cache"
    starts = {"transformers.pipeline": (_PIPELINE, ""), "torch": (_OURS, "torch")}
    if openvino:
        starts |= {"openvino, first start": (_OURS, "openvino"), "openvino, second start": (_OURS, "openvino")}
    found: dict[str, list[float]] = {name: [] for name in starts}
    for number in range(rounds + 1):
        shutil.rmtree(cache, ignore_errors=True)  # the first start makes the graph, the second uses it
        for name, (code, engine) in starts.items():
            seconds = _start(code.format(model=str(model), source=str(source), engine=engine), cache)
            if number > 0:
                found[name].append(seconds)
    return found


def as_markdown(found: dict[str, list[float]]) -> str:
    """Return the table of docs/performance.md."""
    rows = ["| start to first result | median s | min–max |", "| --- | ---: | ---: |"]
    for name, seconds in found.items():
        rows.append(f"| {name} | {statistics.median(seconds):.1f} | {min(seconds):.1f}–{max(seconds):.1f} |")
    return "\n".join(rows)


def as_text(found: dict[str, list[float]]) -> str:
    """Return a table with aligned columns."""
    width = max(map(len, found))
    rows = [f"{'start to first result':<{width}}  median s  min–max"]
    for name, seconds in found.items():
        rows.append(f"{name:<{width}}  {statistics.median(seconds):8.1f}  {min(seconds):.1f}–{max(seconds):.1f}")
    return "\n".join(rows)


def _start(code: str, cache: Path) -> float:
    """Return the seconds until the line with the result."""
    environment = {**os.environ, "EMOTION_OPS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process:
            for line in process.stdout or ():
                if line.startswith("result"):
                    return time.perf_counter() - began
        log.seek(0)
        raise RuntimeError(f"there was no result:\n{log.read()}")
