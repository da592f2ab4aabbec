"""Runs jobs that die: each in a forked child that sends itself SIGKILL at a chosen step of its writing.

    python benchmarks/killer.py SOURCE MODEL   (requests on stdin, one JSON line each; answers on stdout)

A request ``{"destination": …, "step": k}`` dies at the k-th step, which is the entry or exit of something that
writes; ``{"destination": …, "seconds": s}`` dies after that time, wherever it is; one with neither runs to its end;
``"retry": true`` answers failed rows again.
The answer names the steps of a run that ended, and tells of any run how many rows went through the network, in
which time, and how it ended. The libraries are imported once, before any thread or network is started, so that
forking is safe; nothing of the package is replaced.
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

from emotion_ops.models.pixel_spec import read_pixel_spec
from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.reports import page

WRITING = {
    "folder.publish", "folder._link", "folder.publish_bytes", "folder.delete", "folder.delete_folder",
    "journal.write", "journal.remove", "commit.commit", "commit._row_groups", "commit._verify", "lease._take",
    "lease.end",
}  # fmt: skip
SYSTEM = {"fsync", "replace", "rename", "link"}
"""Calls of the operating system that write, whoever makes them."""


def step_of(frame: FrameType, event: str, called: Any) -> str | None:
    """The name of what is entered or left here; None where it is nothing that writes."""
    if event in ("c_call", "c_return"):
        known = called.__name__ in SYSTEM and getattr(called, "__module__", "") == "posix"
        return f"{called.__name__} {event.removeprefix('c_')}" if known else None
    name = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"
    if event not in ("call", "return") or name not in WRITING:
        return None
    key = frame.f_locals.get("key", "")
    kind = re.sub(r"^[0-9a-f]{6,}", "", key.rpartition("/")[2]) if isinstance(key, str) else ""
    return " ".join(filter(None, (name, kind, event)))


def run(source: str, model: str, request: dict[str, Any], answered: mmap.mmap) -> dict[str, Any]:
    """What the child does.

    Args:
        source: The dataset.
        model: The model.
        request: As above.
        answered: Where the rows that went through the network are counted, so that they outlive the child.
    """
    from emotion_ops import ClassifyEmotions
    from emotion_ops.lake.enrich import enrich_dataset

    steps: list[str] = []
    rows, last = 0, request.get("step")

    def profile(frame: FrameType, event: str, called: Any) -> None:
        nonlocal rows
        if event == "return" and frame.f_code.co_name == "_predict":
            rows += len(frame.f_locals["batch"])
            answered[:8] = struct.pack("q", rows)
        step = step_of(frame, event, called)
        if step is not None:
            steps.append(step)
            if len(steps) == last:
                os.kill(os.getpid(), signal.SIGKILL)

    operator = ClassifyEmotions(model=model, batch_size=4, threads=2)
    operator.columns_for([])  # loads the network, so that what is killed is the job and not its start
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
    """Answer requests until stdin ends."""
    for name in (
        "emotion_ops.lake.enrich",
        "emotion_ops.models.engines.torch_engine",
        "transformers.models.vit.modeling_vit",
    ):
        importlib.import_module(name)
    page._template()  # compiled once here, instead of in every child

    source, model = sys.argv[1:]
    read_pixel_spec(
        resolve_checkpoint(model)
    )  # imports what loading imports, so that no child does it under its profiler
    answered = mmap.mmap(-1, 8)
    for line in sys.stdin:
        answered[:8] = bytes(8)
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receive)
            done = run(source, model, json.loads(line), answered)
            with open(send, "w") as pipe:  # noqa: PTH123 (a descriptor has no path)
                json.dump(done, pipe)
            os._exit(0)
        os.close(send)
        with open(receive) as pipe:  # noqa: PTH123
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        [rows] = struct.unpack("q", answered[:8])
        print(json.dumps({"killed": killed, "status": status, "rows": rows, **json.loads(told or "{}")}), flush=True)


if __name__ == "__main__":
    main()
