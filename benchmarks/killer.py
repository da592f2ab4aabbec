"""Run jobs in forked children that kill themselves with SIGKILL at a chosen step.

    python benchmarks/killer.py SOURCE MODEL   (requests on stdin, one line of JSON each; results on stdout)

A step is the entry or the exit of a function that writes. The request ``{"destination": …, "step": k}`` kills the job
at step k, ``{"destination": …, "seconds": s}`` kills it after s seconds, and without either it runs to its end.
``"retry": true`` computes failed rows again. The result says whether the job was killed and how many rows the network
computed; the result of a complete run also lists its steps and its seconds.

The parent imports the libraries once, before any thread or network starts, so that it can fork safely. Nothing in the
package is replaced.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import re
import signal
import struct
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.models.pixel_spec import read_pixel_spec
from emotion_ops.reports import page

WRITING = {
    "folder.publish", "folder._link", "folder.publish_bytes", "folder.delete", "folder.delete_folder",
    "journal.write", "journal.remove", "commit.commit", "compose.output_row_groups", "commit._verify", "lease._take",
    "lease.end",
}  # fmt: skip
"""Functions of the package that write, as module.function."""

SYSTEM = {"fsync", "replace", "rename", "link"}
"""System calls that write, from any function."""


def function_name(frame: FrameType) -> str:
    """Return module.function."""
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"


def step_name(frame: FrameType, event: str, function: Any) -> str | None:
    """Return the name of the step that this event of the profiler is; None if it is not a step."""
    if event in ("c_call", "c_return"):
        is_step = function.__name__ in SYSTEM and getattr(function, "__module__", "") == "posix"
        return f"{function.__name__} {event.removeprefix('c_')}" if is_step else None
    name = function_name(frame)
    if event not in ("call", "return") or name not in WRITING:
        return None
    key = frame.f_locals.get("key", "")
    file_name = re.sub(r"^[0-9a-f]{6,}", "", key.rpartition("/")[2]) if isinstance(key, str) else ""
    return " ".join(filter(None, (name, file_name, event)))


def run(source: str, model: str, request: dict[str, Any], shared_rows: mmap.mmap) -> dict[str, Any]:
    """Run one job in the child.

    Args:
        source: The dataset.
        model: The model.
        request: As above.
        shared_rows: For the number of rows that the network has computed, which the parent reads.
    """
    from emotion_ops import ClassifyEmotions, Resources, enrich_dataset

    steps: list[str] = []
    rows, last = 0, request.get("step")

    def profile(frame: FrameType, event: str, function: Any) -> None:
        nonlocal rows
        if event == "return" and function_name(frame) == "stream._send_batch":
            rows += frame.f_locals["count"]
            shared_rows[:8] = struct.pack("q", rows)
        step = step_name(frame, event, function)
        if step is not None:
            steps.append(step)
            if len(steps) == last:
                os.kill(os.getpid(), signal.SIGKILL)

    operator = ClassifyEmotions(model=model, batch_size=4, resources=Resources(threads=2))
    operator.load_engine()  # before the job, so that the kill hits the job
    if "seconds" in request:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    started = time.perf_counter()
    sys.setprofile(profile)
    report = enrich_dataset(source, request["destination"], operator, retry_errors=request.get("retry", False))
    sys.setprofile(None)
    signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.perf_counter() - started
    return {"steps": steps, "seconds": seconds, "from_journal": report.rows_from_journal, "skipped": report.skipped}


def main() -> None:
    """Run requests until stdin ends."""
    for name in (
        "emotion_ops.lake.enrich",
        "emotion_ops.models.engines.torch_engine",
        "transformers.models.vit.modeling_vit",
    ):
        importlib.import_module(name)
    page._template()  # compiles the template once instead of in every child

    source, model = sys.argv[1:]
    read_pixel_spec(
        resolve_checkpoint(model)
    )  # imports what loading a model imports, so that no child imports it under its profiler
    shared_rows = mmap.mmap(-1, 8)
    for line in sys.stdin:
        shared_rows[:8] = bytes(8)
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receive)
            result = run(source, model, json.loads(line), shared_rows)
            with open(send, "w") as pipe:  # noqa: PTH123 (a descriptor has no path)
                json.dump(result, pipe)
            os._exit(0)
        os.close(send)
        with open(receive) as pipe:  # noqa: PTH123 (a descriptor has no path)
            sent = json.loads(pipe.read() or "{}")
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        [rows] = struct.unpack("q", shared_rows[:8])
        print(json.dumps({"killed": killed, "status": status, "rows": rows, **sent}), flush=True)


if __name__ == "__main__":
    main()
