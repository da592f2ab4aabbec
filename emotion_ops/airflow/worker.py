"""The process that does the work: ``python -m emotion_ops job``, asked by a task and ended with it."""

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

STOPS_WITHIN = 3.0
"""Seconds from the first signal to the last; Airflow itself kills a task 5 seconds after it asked."""

_LOOKS_EVERY = 1.0
_LAST_LINES = 20
_LONGEST = 16 * 2**20  # bytes of a line; the rest of a longer one is let go
_EVENTS = {
    "started": {"version", "python"},
    "progress": {"rows", "of"},
    "log": {"level", "message"},
    "finished": {"result"},
    "failed": {"error", "message", "permanent", "out_of_memory"},
}
"""What the worker says on its stdout, and what each of it has at least."""

_LEVELS = ("debug", "info", "warning", "error", "critical")
_NO_MEMORY = (
    "lower memory= (bytes that images may fill), batch_size=, threads=, or on a GPU precision= to bf16; or give the "
    "task more memory, and run fewer of them at once in a pool. What was answered is kept, and the next try goes on"
)


class Worker:
    """One process that does one job.

    It is asked on its stdin, which stays open until the job ends: should the task die however suddenly, its end
    closes, and the process stops by itself.
    """

    def __init__(self, python: str, environment: Mapping[str, str | None]) -> None:
        """Start it.

        Args:
            python: An interpreter that has this package and what it depends on.
            environment: Variables on top of the task's own; one that is None is taken away from these.

        Raises:
            AirflowFailException: There is no such interpreter, or a variable that no process can have.
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
            message = f"the environment cannot be given to a process ({error}): check the names and values in env="
            raise AirflowFailException(message) from error

    def run(self, request: Mapping[str, Any], log: Any, progress_seconds: float) -> Any:
        """Have it do a job.

        Args:
            request: What to do; see ``emotion_ops.cli.job``.
            log: The task's log.
            progress_seconds: The least time between two lines of progress there.

        Returns:
            The result, of plain JSON types.

        Raises:
            AirflowFailException: It failed, and would fail again.
            AirflowException: It failed, or was stopped; the next try goes on where it was.
        """
        said = float("-inf")
        end: dict[str, Any] = {}
        waiting: dict[str, Any] | None = None
        for event in self._events(request):
            kind = event.pop("event", "")
            if kind == "progress":
                waiting = event
                if time.monotonic() - said >= progress_seconds:
                    said, waiting = time.monotonic(), None
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
        """End it within ``STOPS_WITHIN`` seconds, with all that it started; what was answered stays in the journal."""
        if self._process.poll() is None:
            self._stopped = True
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOPS_WITHIN)
        self._signal(signal.SIGKILL)  # what it started may be there though it is not

    def close(self) -> None:
        """Stop it if it is still going, and let its pipes go."""
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
        """Ask it, and give what it says until it ends; a line that is no event is a line of the log."""
        lines = {True: _Lines(), False: _Lines()}
        for told, data in self._pieces(memoryview(json.dumps(request).encode() + b"\n")):
            for line in lines[told].of(data or b"\n"):
                if line.strip():
                    yield self._event(line, told=told)

    def _pieces(self, asked: memoryview) -> Iterator[tuple[bool, bytes]]:
        """Pieces of what it says, and whether on its stdout; an empty one where that or stderr ends.

        It is listened to while it is asked, for it may say much before it reads a long request.
        """
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        open_ = [stdout, stderr]
        with selectors.DefaultSelector() as selector:
            for pipe in (stdin, stdout, stderr):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_WRITE if pipe is stdin else selectors.EVENT_READ)
            while open_:
                ready = selector.select(_LOOKS_EVERY)
                if not ready and self._process.poll() is not None:  # what it started may hold a pipe open
                    return
                for key, _ in ready:
                    data = b""
                    if key.fileobj is stdin:
                        asked = _written(key.fd, asked)
                    else:
                        data = os.read(key.fd, 65536)
                        yield key.fileobj is stdout, data
                    if not (asked if key.fileobj is stdin else data):
                        selector.unregister(key.fileobj)
                        open_ = [pipe for pipe in open_ if pipe is not key.fileobj]

    def _event(self, line: bytes, *, told: bool) -> dict[str, Any]:
        text = line.decode(errors="replace")
        if told and text.startswith("{"):
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
            raise AirflowException("stopped; what was answered is kept, and the next try goes on from there")
        if end.get("out_of_memory"):
            raise AirflowException(f"out of memory ({end['message']}): {_NO_MEMORY}")
        if end.get("error") == "ModuleNotFoundError":
            hint = "install emotion-ops with its dependencies there, or give python= an interpreter that has them"
            raise AirflowFailException(f"{self._python} cannot do the work ({end['message']}): {hint}")
        if end.get("event") == "failed":
            raise (AirflowFailException if end["permanent"] else AirflowException)(end["message"])
        last = "\n".join(self._last)
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):  # the second where a shell or a wrapper tells of it
            message = "the worker process was killed (SIGKILL), as Linux does where memory runs out"
            raise AirflowException(f"{message}: {_NO_MEMORY}")
        if code < 0:
            name = signal.Signals(-code).name
            raise AirflowException(f"the worker process died of {name}; the next try goes on where it was\n{last}")
        if "No module named" in last or "No such command" in last:
            hint = "install emotion-ops there, of the version that Airflow has"
            raise AirflowFailException(f"{self._python} cannot do the work: {hint} ({__version__})\n{last}")
        raise AirflowException(f"the worker process ended with exit code {code}\n{last}")


class _Lines:
    """Lines of a stream that comes in pieces."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def of(self, data: bytes) -> Iterator[bytes]:
        """Those that end in the next piece."""
        *ended, begun = data.split(b"\n")
        for end in ended:
            yield bytes(self._begun) + end
            self._begun.clear()
        self._begun += begun[: max(0, _LONGEST - len(self._begun))]


def _written(pipe: int, data: memoryview) -> memoryview:
    """What of the data is left when as much as has room was written; nothing where nobody reads any more."""
    try:
        return data[os.write(pipe, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:  # it died at once, and how is told by its end
        return data[:0]


def interpreter(python: str | None) -> str:
    """The interpreter to use: the one given, else the configured one, else this one."""
    from airflow.sdk.configuration import conf

    return python or str(conf.get("emotion_ops", "python", fallback="")) or sys.executable
