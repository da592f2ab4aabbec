"""``emotion-ops job``: one job for another program, asked and answered in JSON lines.

    stdin   one line, the request; then nothing. When stdin closes, whoever asked is gone, and the job stops.
    stdout  events, one JSON object a line: started, progress, log, and at last finished or failed.

A request on stdin keeps its types, has room for any number of sources, and is not in the list of processes.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from emotion_ops.cli.output import Terminated, exit_code_of
from emotion_ops.errors import EmotionOpsError, OptionError
from emotion_ops.version import __version__

if TYPE_CHECKING:
    from emotion_ops.reports.comparison import DiffReport

_GRACE = 4.0  # seconds from the end of stdin to the end of this process, whatever a thread hangs in
_LEAST_PAUSE = 0.5  # seconds between two events of progress
_NO_MEMORY = ("outofmemory", "out of memory", "can't allocate memory", "alloc_failed", "bad_alloc", "bad allocation")
"""What allocators say that raise no MemoryError: those of CUDA, of torch for a CPU, of cuBLAS, of C++."""


def job() -> None:
    """Read a request from stdin, do it, and answer on stdout; see the module."""
    ask, answer = _take_stdio()
    request = _request(ask())
    threading.Thread(target=_stop_with, args=(ask,), name="emotion-ops-stdin", daemon=True).start()
    log = logging.getLogger("emotion_ops")
    log.handlers = [_Events(answer)]
    answer({"event": "started", "version": __version__, "python": sys.executable})
    try:
        answer({"event": "finished", "result": _do(request, answer)})
    except (KeyboardInterrupt, Terminated):
        raise
    except Exception as error:
        if not isinstance(error, EmotionOpsError | OSError):
            log.error("%s", "".join(traceback.format_exception(error)))  # a bug, or memory: where it happened helps
        answer(_failed(error))
        raise typer.Exit(exit_code_of(error)) from error


def _request(line: bytes) -> dict[str, Any]:
    try:
        request: dict[str, Any] = json.loads(line)
        return {"do": request.pop("do"), **request}
    except (ValueError, KeyError, AttributeError) as error:
        hint = 'send one line of JSON, {"do": "plan_shards", "source": ["faces/"]} say'
        raise OptionError("request", line[:200].decode(errors="replace"), hint) from error


def _do(request: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> Any:
    """One of the three things that may be asked."""
    what = request.pop("do")
    if what == "plan_shards":
        from emotion_ops.lake.shards import plan_shards

        return plan_shards(**request)
    if what == "check_shards":
        return _check(**request)
    if what == "enrich":
        return _enrich(**request, answer=answer)
    raise OptionError("do", what, "give enrich, plan_shards or check_shards")


def _enrich(
    *,
    source: list[str],
    destination: str,
    operator: dict[str, Any],
    options: dict[str, Any],
    gate: dict[str, Any] | None,
    answer: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    from emotion_ops.lake.enrich import enrich_dataset
    from emotion_ops.lake.gate import Gate, enrich_with_gate
    from emotion_ops.lake.manifest import build_manifest
    from emotion_ops.lake.targets.folder import Folder
    from emotion_ops.operators.classify.operator import ClassifyEmotions

    if options.get("shard") is not None:
        options["shard"] = tuple(options["shard"])
    table_operator = ClassifyEmotions(**operator).pinned()
    options["on_progress"] = _Progress(answer)
    if gate is None or options.get("dry_run"):
        report, difference = enrich_dataset(source, destination, table_operator, **options), None
    else:
        report, difference = enrich_with_gate(Gate(**gate), source, destination, table_operator, **options)
    manifest = build_manifest(report, table_operator, columns=options.get("columns", "all"), shard=options.get("shard"))
    if report.estimate is not None:
        manifest["estimate"] = report.to_dict()["estimate"]
    if gate is not None:
        manifest["destination"] = str(Folder(destination))
    return manifest if difference is None else {**manifest, "compared": _compared(difference)}


def _check(*, gate: dict[str, Any] | None, **shards: Any) -> dict[str, Any]:
    from emotion_ops.lake.gate import Gate
    from emotion_ops.lake.shards import check_shards

    held_against = None if gate is None else Gate(**gate)
    if held_against is not None:
        held_against.check_places(shards["destination"])
    manifest = check_shards(**shards)
    difference = None if held_against is None else held_against.check(shards["destination"])
    return manifest if difference is None else {**manifest, "compared": _compared(difference)}


def _compared(difference: DiffReport) -> dict[str, Any]:
    return {
        "to": difference.a, "rows": difference.rows, "coverage": difference.coverage,
        "changes": difference.changes, "change_rate": difference.change_rate,
        "max_drift": difference.drift.largest, "mean_drift": difference.drift.mean,
    }  # fmt: skip


class _Progress:
    """Answers with how far the rows are, not too often."""

    def __init__(self, answer: Callable[[dict[str, Any]], None]) -> None:
        self._answer = answer
        self._first: tuple[float, int] | None = None
        self._said = float("-inf")

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        since, before = self._first = self._first or (now, progress.rows_done)
        if now - self._said < _LEAST_PAUSE and progress.rows_done < progress.rows_total:
            return
        self._said = now
        event: dict[str, Any] = {"rows": progress.rows_done, "of": progress.rows_total, "failed": progress.errors}
        if now > since:
            event["rows_per_second"] = round((progress.rows_done - before) / (now - since), 1)
        self._answer({"event": "progress", **event})


class _Events(logging.Handler):
    """Log records as events."""

    def __init__(self, answer: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._answer = answer

    def emit(self, record: logging.LogRecord) -> None:
        self._answer({"event": "log", "level": record.levelname.lower(), "message": record.getMessage()})


def _failed(error: Exception) -> dict[str, Any]:
    memory = _lack_of_memory(error)
    told = memory or error
    name = type(told).__name__
    known = isinstance(told, EmotionOpsError | OSError)
    return {
        "event": "failed",
        "error": name,
        "message": str(told) if known else f"{name}: {told}",
        "permanent": memory is None and _is_hopeless(error),
        "out_of_memory": memory is not None,
    }


def _lack_of_memory(error: BaseException) -> BaseException | None:
    """The error of a chain of causes that says that memory ran out; None where none does."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MemoryError) or (isinstance(link, OSError) and link.errno == errno.ENOMEM):
            return link
        text = f"{type(link).__name__}: {link}".lower()
        if not isinstance(link, EmotionOpsError | OSError) and any(sign in text for sign in _NO_MEMORY):
            return link
        link = link.__cause__
    return None


def _is_hopeless(error: BaseException) -> bool:
    """Whether the same would come of trying again: not where a network, a store or another run was in the way."""
    if isinstance(error, EmotionOpsError):
        return not error.retryable
    return isinstance(error, ModuleNotFoundError) or (
        isinstance(error, TypeError) and "unexpected keyword" in str(error)
    )


def _take_stdio() -> tuple[Callable[[], bytes], Callable[[dict[str, Any]], None]]:
    """Lines of stdin, and events to stdout; what else is printed goes to stderr.

    Stdin is read without a buffer, since a thread that waits in a buffered read ends the interpreter badly.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def ask() -> bytes:
        line = b""
        while not line.endswith(b"\n") and (piece := os.read(0, 65536)):
            line += piece
        return line

    def answer(event: dict[str, Any]) -> None:
        data = memoryview(json.dumps(event, default=str).encode() + b"\n")
        with lock:
            while data:
                data = data[os.write(out, data) :]

    return ask, answer


def _stop_with(ask: Callable[[], bytes]) -> None:
    while ask():
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # the job unwinds as after any other SIGTERM
    time.sleep(_GRACE)
    os._exit(143)
