"""One turn of one contender, in a process of its own: load, warm up, run, and print what it took.

python -m comparison.worker '{"contender": "torch fp32, stream", "model": …, "warm_up": …, "source": …}'
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from comparison.contenders import Contender, Job, Run, contenders


def prepared(contender: Contender, job: Job) -> Run:
    """A contender, loaded."""
    room = importlib.import_module(f"comparison.{contender.room}")
    options = (
        contender.options if contender.batch_size is None else {**contender.options, "batch_size": contender.batch_size}
    )
    run: Run = room.prepare(job, **options)
    return run


def turn(contender: Contender, job: Job, warm_up: Path, source: Path) -> dict[str, Any]:
    """Seconds and probabilities of one turn; start-up and a first small run are not in it."""
    run = prepared(contender, job)
    run(warm_up)
    began = time.time()
    answer = run(source)
    seconds = time.time() - max(began, answer.ready)
    return {"seconds": seconds, "probabilities": answer.probabilities.tolist()}


def main() -> None:
    told = json.loads(sys.argv[1])
    (contender,) = [one for one in contenders() if one.name == told["contender"]]
    job = Job(Path(told["model"]), Path(told["calibration"]), Path(told["scratch"]), told["cores"])
    print(json.dumps(turn(contender, job, Path(told["warm_up"]), Path(told["source"]))))


if __name__ == "__main__":
    main()
