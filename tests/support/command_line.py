"""The command line, run in this process or in another one."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

COMMAND = [sys.executable, "-m", "emotion_ops"]


def run_process(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``emotion-ops`` in another process."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def run_here(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``emotion-ops`` in this process, which has imported everything already: seconds faster."""
    from emotion_ops.cli.main import run

    command = ["emotion-ops", *map(str, arguments)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with _restored(), contextlib.chdir(cwd or Path.cwd()):
        sys.argv, sys.stdout, sys.stderr = command, out, err
        try:
            run()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    """Restore what the entry point changes in its process."""
    log = logging.getLogger("emotion_ops")
    streams, environment = (sys.argv, sys.stdout, sys.stderr), dict(os.environ)
    logging_state = log.handlers, log.level, log.propagate
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        sys.argv, sys.stdout, sys.stderr = streams
        log.handlers, log.level, log.propagate = logging_state
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environment)
