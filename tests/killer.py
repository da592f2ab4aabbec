"""Runs jobs that die: each in a forked child that sends itself SIGKILL at a chosen step of its writing.

    python killer.py SOURCE MODEL   (requests on stdin, one JSON line each; answers on stdout)

A request ``{"destination": …, "step": k}`` dies when the k-th function that writes is entered or left, with
``step`` null it runs to its end; ``{"destination": …, "seconds": s}`` dies after that time, wherever it is. The
answer tells how many steps there were and how the child ended. The libraries are imported once, before any
thread or network is started, so that forking is safe; nothing of the package is replaced.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from emotion_ops.models.spec import pixels_of
from emotion_ops.models.weights import locate

WRITING = {
    ("storage.py", "publish"), ("storage.py", "_fsync"), ("storage.py", "_link"), ("storage.py", "publish_bytes"),
    ("storage.py", "delete"), ("storage.py", "delete_folder"), ("journal.py", "write"), ("journal.py", "remove"), ("commit.py", "commit"),
    ("commit.py", "_verify"), ("lease.py", "_take"), ("lease.py", "end"),
}  # fmt: skip


def run(source: str, model: str, request: dict[str, Any]) -> int:
    """What the child does; returns the number of steps that it came to."""
    from emotion_ops import ClassifyEmotions
    from emotion_ops.lake.enrich import enrich_dataset

    steps, last = 0, request.get("step")

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal steps
        name = (Path(frame.f_code.co_filename).name, frame.f_code.co_name)
        if event in ("call", "return") and name in WRITING:
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)

    operator = ClassifyEmotions(model=model, batch_size=4, threads=2)
    operator.columns_for([])  # loads the network, so that what is killed is the job and not its start
    if "seconds" in request:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
    sys.setprofile(profile)
    enrich_dataset(source, request["destination"], operator)
    sys.setprofile(None)
    return steps


def main() -> None:
    """Answer requests until stdin ends."""
    for name in ("emotion_ops.lake.enrich", "emotion_ops.models.torch_engine", "transformers.models.vit.modeling_vit"):
        importlib.import_module(name)

    source, model = sys.argv[1:]
    pixels_of(locate(model))  # imports what loading imports, so that no child does it under its profiler
    for line in sys.stdin:
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            steps = run(source, model, json.loads(line))
            os.write(send, str(steps).encode())
            os._exit(0)
        os.close(send)
        told = os.read(receive, 100)
        os.close(receive)
        _, status = os.waitpid(child, 0)
        print(
            json.dumps(
                {
                    "steps": int(told or 0),
                    "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
                    "status": status,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
