"""One turn of one contender in its own process: load, warm up, run, print the time.

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


def load(contender: Contender, job: Job) -> Run:
    """Load a contender."""
    module = importlib.import_module(f"comparison.{contender.module}")
    batch_size = {} if contender.batch_size is None else {"batch_size": contender.batch_size}
    run: Run = module.load(job, **contender.options, **batch_size)
    return run


def run_turn(contender: Contender, job: Job, warm_up: Path, source: Path) -> dict[str, Any]:
    """Return seconds and probabilities of one turn; loading and a first small run are not timed."""
    run = load(contender, job)
    run(warm_up)
    began = time.time()
    result = run(source)
    seconds = time.time() - max(began, result.ready)
    return {"seconds": seconds, "probabilities": result.probabilities.tolist()}


def main() -> None:
    request = json.loads(sys.argv[1])
    (contender,) = [one for one in contenders() if one.name == request["contender"]]
    job = Job(Path(request["model"]), Path(request["calibration"]), Path(request["scratch"]), request["cores"])
    print(json.dumps(run_turn(contender, job, Path(request["warm_up"]), Path(request["source"]))))


if __name__ == "__main__":
    main()
