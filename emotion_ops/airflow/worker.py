"""The process that does the work: ``python -m emotion_ops job``. A task starts it, and it ends with the task."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from emotion_ops.version import __version__

STOP_SECONDS = 3.0
"""Seconds from the first signal to the last. Airflow kills a task 5 seconds after its own first signal."""

_CHECK_SECONDS = 1.0
_LAST_LINES = 20
_MAX_LINE = 16 * 2**20  # bytes of a line; the rest of a longer line is dropped
_EVENTS = {
    "started": {"version", "python"},
    "progress": {"rows", "of"},
    "log": {"level", "message"},
    "finished": {"result"},
    "failed": {"error", "message", "retryable", "out_of_memory"},
}
"""The events on the worker's stdout, and the values that each has at least."""

_LEVELS = ("debug", "info", "warning", "error", "critical")
_NO_MEMORY = (
    "lower memory= (bytes for images), batch_size=, threads=, or on a GPU precision= to bf16; or give the task more "
    "memory, and run fewer tasks at the same time in a pool. Finished row groups stay, and the next try continues"
)


class Worker:
    """One process that does one job.

    The request goes to its stdin, which stays open until the job ends. If the task dies, stdin closes, and the process
    stops.
    """

    def __init__(self, python: str, environment: Mapping[str, str | None]) -> None:
        """Start it.

        Args:
            python: An interpreter that has this package and its dependencies.
            environment: Variables in addition to the task's own; None removes a variable.

        Raises:
            AirflowFailException: There is no such interpreter, or a variable has a name or value that cannot be used.
        """
        self._python = python
        self._stopped = False
        self._last = deque[str](maxlen=_LAST_LINES)
        given = {**os.environ, **environment}
        try:
            self._process = subprocess.Popen(
                [python, "-P", "-m", "emotion_ops", "job"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={name: value for name, value in given.items() if value is not None},
                process_group=0,
            )
        except OSError as error:
            message = f"python={python!r} cannot be started ({error}): give the path of an interpreter on the worker"
            raise AirflowFailException(message) from error
        except ValueError as error:
            message = f"the environment cannot be used ({error}): check the names and values in env="
            raise AirflowFailException(message) from error

    def run(self, request: Mapping[str, Any], log: Any, progress_seconds: float) -> Any:
        """Do a job.

        Args:
            request: What to do; see ``emotion_ops.cli.job``.
            log: The task's log.
            progress_seconds: Minimum time between two lines of progress in the log.

        Returns:
            The result, of plain JSON types.

        Raises:
            AirflowFailException: It failed, and a retry would fail too.
            AirflowException: It failed, or was stopped; the next try continues.
        """
        logged = float("-inf")
        end: dict[str, Any] = {}
        waiting: dict[str, Any] | None = None
        for event in self._events(request):
            kind = event.pop("event", "")
            if kind == "progress":
                waiting = event
                if time.monotonic() - logged >= progress_seconds:
                    logged, waiting = time.monotonic(), None
                    log.info("progress", **event)
            elif kind == "log":
                level = event["level"]
                getattr(log, level if level in _LEVELS else "info")(event["message"])
            elif kind == "started":
                log.info("started", pid=self._process.pid, **event)
                if event["version"] != __version__:
                    log.warning("emotion-ops differs", here=__version__, there=event["version"], python=self._python)
            else:
                end = {"event": kind, **event}
        if waiting:
            log.info("progress", **waiting)
        return self._result(end)

    def stop(self) -> None:
        """End it and all that it started within ``STOP_SECONDS``; finished row groups stay in the journal."""
        if self._process.poll() is None:
            self._stopped = True
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self._signal(signal.SIGKILL)  # processes that it started may still run

    def close(self) -> None:
        """Stop it if it still runs, and close its pipes."""
        self.stop()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _events(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send the request, and yield events until it ends. A line that is not an event is a line of the log."""
        lines = {True: _Lines(), False: _Lines()}
        for is_stdout, data in self._pieces(memoryview(json.dumps(request).encode() + b"\n")):
            for line in lines[is_stdout].add(data or b"\n"):
                if line.strip():
                    yield self._event(line, is_stdout=is_stdout)

    def _pieces(self, request: memoryview) -> Iterator[tuple[bool, bytes]]:
        """Pieces of its output, and whether each is from stdout; an empty piece at the end of stdout and stderr.

        Output is read while the request is written, because it may write much before it reads a long request.
        """
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        open_ = [stdout, stderr]
        with selectors.DefaultSelector() as selector:
            for pipe in (stdin, stdout, stderr):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_WRITE if pipe is stdin else selectors.EVENT_READ)
            while open_:
                ready = selector.select(_CHECK_SECONDS)
                if not ready and self._process.poll() is not None:  # a process that it started may keep a pipe open
                    return
                for key, _ in ready:
                    data = b""
                    if key.fileobj is stdin:
                        request = _write(key.fd, request)
                    else:
                        data = os.read(key.fd, 65536)
                        yield key.fileobj is stdout, data
                    if not (request if key.fileobj is stdin else data):
                        selector.unregister(key.fileobj)
                        open_ = [pipe for pipe in open_ if pipe is not key.fileobj]

    def _event(self, line: bytes, *, is_stdout: bool) -> dict[str, Any]:
        text = line.decode(errors="replace")
        if is_stdout and text.startswith("{"):
            with contextlib.suppress(ValueError):
                event: dict[str, Any] = json.loads(text)
                if _EVENTS.get(str(event.get("event")), {"no such event"}) <= event.keys():
                    return event
        self._last.append(text)
        return {"event": "log", "level": "info", "message": text}

    def _result(self, end: dict[str, Any]) -> Any:
        code = self._process.wait()
        if end.get("event") == "finished":
            return end["result"]
        if self._stopped:
            raise AirflowException("stopped; finished row groups stay, and the next try continues")
        if end.get("out_of_memory"):
            raise AirflowException(f"out of memory ({end['message']}): {_NO_MEMORY}")
        if end.get("error") == "ModuleNotFoundError":
            hint = "install emotion-ops with its dependencies there, or give python= an interpreter that has them"
            raise AirflowFailException(f"{self._python} cannot do the work ({end['message']}): {hint}")
        if end.get("event") == "failed":
            raise (AirflowException if end["retryable"] else AirflowFailException)(end["message"])
        last = "\n".join(self._last)
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):  # the second from a shell or a wrapper
            message = "the worker process was killed (SIGKILL), as Linux does if memory runs out"
            raise AirflowException(f"{message}: {_NO_MEMORY}")
        if code < 0:
            name = signal.Signals(-code).name
            raise AirflowException(f"the worker process died of {name}; the next try continues\n{last}")
        if "No module named" in last or "No such command" in last:
            hint = "install the version of emotion-ops there that Airflow has"
            raise AirflowFailException(f"{self._python} cannot do the work: {hint} ({__version__})\n{last}")
        raise AirflowException(f"the worker process ended with exit code {code}\n{last}")


class _Lines:
    """Lines of a stream that arrives in pieces."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def add(self, data: bytes) -> Iterator[bytes]:
        """The lines that end in the next piece."""
        *ended, begun = data.split(b"\n")
        for end in ended:
            yield bytes(self._begun) + end
            self._begun.clear()
        self._begun += begun[: max(0, _MAX_LINE - len(self._begun))]


def _write(pipe: int, data: memoryview) -> memoryview:
    """Write as much as the pipe takes. Returns the rest; nothing if the reader has gone."""
    try:
        return data[os.write(pipe, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:  # it died at once; its exit code says how
        return data[:0]


def find_interpreter(python: str | None) -> str:
    """The interpreter to use: that of the task, else the configured one, else this one."""
    from airflow.sdk.configuration import conf

    return python or str(conf.get("emotion_ops", "python", fallback="")) or sys.executable
