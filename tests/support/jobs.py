"""Runs the command line in forked children, many at the same time; modules are imported once, before.

    python jobs.py   (requests on stdin, one JSON line each; responses on stdout)

``{"argv": […], "log": PATH, "go": PATH, "environment": {…}}`` starts a child that loads the model, waits for the file ``go``, and runs
``emotion-ops`` with these arguments; the response is its process id. ``{"wait": PID}`` returns its exit status, as
``subprocess`` gives it. Nothing of the package is replaced; no thread is started before a fork.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def run(request: dict[str, Any]) -> None:
    """What the child does. It ends the process."""
    os.environ.update(request["environment"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from emotion_ops import ClassifyEmotions
    from emotion_ops.cli.main import run as cli

    argv = request["argv"]
    ClassifyEmotions(model=argv[argv.index("--model") + 1]).append_columns({"image": []})
    while not Path(request["go"]).exists():
        time.sleep(0.005)
    sys.argv = ["emotion-ops", *argv]
    code = 70
    try:
        cli()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serve requests until stdin ends."""
    for name in (
        "emotion_ops.cli.enrich",
        "emotion_ops.models.engines.torch_engine",
        "transformers.models.vit.modeling_vit",
        "s3fs",
    ):
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            response = os.waitstatus_to_exitcode(status)
        else:
            response = os.fork()
            if response == 0:
                run(request)
        print(json.dumps(response), flush=True)


if __name__ == "__main__":
    main()
