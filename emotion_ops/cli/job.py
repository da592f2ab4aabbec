"""``emotion-ops job``: one job for another program, in JSON lines.

    stdin   one line, the request; then nothing. When stdin closes, the caller has ended, and the job stops.
    stdout  events, one JSON object on each line: started, progress, log, and at last finished or failed.

A request on stdin keeps its types, may have any number of sources, and is not visible in the list of processes.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import typer

from emotion_ops.cli.failures import describe_failure
from emotion_ops.cli.output import Terminated, exit_code_of
from emotion_ops.errors import EmotionOpsError, OptionError
from emotion_ops.version import __version__

Send: TypeAlias = Callable[[dict[str, Any]], None]
"""Writes one event."""

_GRACE = 4.0  # seconds from the end of stdin to the end of this process, whatever a thread waits for
_MIN_PAUSE = 0.5  # seconds between two events of progress


def job() -> None:
    """Do one job for another program: a request on stdin, events on stdout, in JSON lines; ends when stdin closes.

    The Airflow operators use it; docs/cli.md describes the lines.
    """
    receive, send = _take_stdio()
    request = _parse(receive())
    threading.Thread(target=_stop_when_closed, args=(receive,), name="emotion-ops-stdin", daemon=True).start()
    log = logging.getLogger("emotion_ops")
    log.handlers = [_Events(send)]
    send({"event": "started", "version": __version__, "python": sys.executable})
    try:
        send({"event": "finished", "result": _do(request, send)})
    except (KeyboardInterrupt, Terminated):
        raise
    except Exception as error:
        if not isinstance(error, EmotionOpsError | OSError):
            log.error("%s", "".join(traceback.format_exception(error)))  # for a bug, or memory, the place helps
        send({"event": "failed", **describe_failure(error)})
        raise typer.Exit(exit_code_of(error)) from error


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request: dict[str, Any] = json.loads(line)
        return {"do": request.pop("do"), **request}
    except (ValueError, KeyError, AttributeError) as error:
        hint = 'send one line of JSON, for example {"do": "plan_shards", "source": ["faces/"]}'
        raise OptionError("request", line[:200].decode(errors="replace"), hint) from error


def _do(request: dict[str, Any], send: Send) -> Any:
    """One of the three kinds of jobs."""
    kind = request.pop("do")
    if kind == "plan_shards":
        return _plan_shards(**request)
    if kind == "check_shards":
        return _check_shards(**request)
    if kind == "enrich":
        return _enrich(**request, send=send)
    raise OptionError("do", kind, "give enrich, plan_shards or check_shards")


def _enrich(
    *,
    source: list[str],
    destination: str,
    operator: str,
    options: Mapping[str, Any],
    job: Mapping[str, Any],
    send: Send,
) -> dict[str, Any]:
    """Enrich, or plan.

    Args:
        source: The sources.
        destination: The destination.
        operator: The operator's registered name.
        options: The operator's options, flat or in groups; text is read as a value of the option's type.
        job: Options of ``enrich_dataset`` by flat name; text is read in the same way.
        send: Sends progress.

    Returns:
        The manifest; of a plan with the estimate, after a comparison with its result.
    """
    from emotion_ops.cli.operators import job_arguments, make_operator
    from emotion_ops.lake.enrich import enrich_dataset
    from emotion_ops.lake.manifest import build_manifest

    made, arguments = make_operator(operator, options), job_arguments(job)
    made = made.pinned()  # after all options were read
    report = enrich_dataset(source, destination, made, **arguments, on_progress=_Progress(send))
    columns, shard = arguments.get("columns", "all"), arguments.get("shard")
    manifest = build_manifest(report, made, columns=columns, shard=shard)
    if report.estimate is not None:
        manifest["estimate"] = report.to_dict()["estimate"]
    return manifest if report.comparison is None else {**manifest, "comparison": _short(report.comparison)}


def _plan_shards(*, source: list[str], options: Mapping[str, Any]) -> list[tuple[int, int]]:
    from emotion_ops.flags.fields import read_flags
    from emotion_ops.flags.values import build_arguments
    from emotion_ops.lake.shards import plan_shards

    return plan_shards(source, **build_arguments(read_flags(plan_shards), options))


def _check_shards(
    *, source: list[str], destination: str, manifests: list[dict[str, Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    from emotion_ops.flags.fields import read_flags
    from emotion_ops.flags.values import build_arguments
    from emotion_ops.lake.gate import Gate
    from emotion_ops.lake.shards import check_shards

    flags, limits = read_flags(check_shards), read_flags(Gate)
    arguments = build_arguments(flags, {name: one for name, one in options.items() if name in flags.flags})
    given = build_arguments(limits, {name: one for name, one in options.items() if name not in flags.flags})
    gate = Gate(**given) if any(value is not None for value in given.values()) else None
    if gate is not None:
        gate.check_places(destination)
    manifest = check_shards(source, destination, manifests, **arguments)
    if gate is None:
        return manifest
    comparison = gate.compare(destination)
    gate.require(comparison, destination)
    return manifest if comparison is None else {**manifest, "comparison": _short(comparison)}


def _short(comparison: Any) -> dict[str, Any]:
    return {
        "to": comparison.a, "rows": comparison.rows, "changes": comparison.changes,
        "change_rate": comparison.change_rate, "max_drift": comparison.drift.largest,
        "mean_drift": comparison.drift.mean, "coverage": comparison.coverage,
    }  # fmt: skip


class _Progress:
    """Sends progress, not too often."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._first: tuple[float, int] | None = None
        self._last = float("-inf")

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        since, before = self._first = self._first or (now, progress.rows_done)
        if now - self._last < _MIN_PAUSE and progress.rows_done < progress.rows_total:
            return
        self._last = now
        event: dict[str, Any] = {"rows": progress.rows_done, "of": progress.rows_total, "failed": progress.errors}
        if now > since:
            event["rows_per_second"] = round((progress.rows_done - before) / (now - since), 1)
        self._send({"event": "progress", **event})


class _Events(logging.Handler):
    """Log records as events."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send({"event": "log", "level": record.levelname.lower(), "message": record.getMessage()})


def _take_stdio() -> tuple[Callable[[], bytes], Send]:
    """A reader of lines from stdin and a writer of events to stdout; everything else that is printed goes to stderr.

    Stdin is read without a buffer, because the interpreter does not end well while a thread waits in a buffered read.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def receive() -> bytes:
        line = b""
        while not line.endswith(b"\n") and (piece := os.read(0, 65536)):
            line += piece
        return line

    def send(event: dict[str, Any]) -> None:
        data = memoryview(json.dumps(event, default=str).encode() + b"\n")
        with lock:
            while data:
                data = data[os.write(out, data) :]

    return receive, send


def _stop_when_closed(receive: Callable[[], bytes]) -> None:
    while receive():
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # the job ends as after any other SIGTERM
    time.sleep(_GRACE)
    os._exit(143)
