"""What all commands share: exit codes, errors on one line, log lines and progress."""

from __future__ import annotations

import atexit
import contextlib
import enum
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from emotion_ops.errors import (
    ColumnError,
    DatasetError,
    EmotionOpsError,
    ErrorBudgetExceededError,
    GateClosedError,
    MissingDependencyError,
    ModelError,
    OptionError,
    RowFailedError,
)

out = Console(highlight=False, markup=False)  # a path may have brackets in it
err = Console(stderr=True, highlight=False, markup=False)


class ExitCode(enum.IntEnum):
    """The exit codes of the command line."""

    OK = 0
    FOUND_WRONG = 1
    USAGE = 2
    COLUMN = 3
    MODEL = 4
    DATASET = 5
    ROW = 6
    MISSING_DEPENDENCY = 7
    BUDGET = 8
    BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (OptionError, ExitCode.USAGE),
    (ColumnError, ExitCode.COLUMN),
    (ModelError, ExitCode.MODEL),
    (ErrorBudgetExceededError, ExitCode.BUDGET),
    (GateClosedError, ExitCode.FOUND_WRONG),
    (DatasetError, ExitCode.DATASET),
    (RowFailedError, ExitCode.ROW),
    (MissingDependencyError, ExitCode.MISSING_DEPENDENCY),
)


class Terminated(BaseException):
    """Raised by SIGTERM: it ends the program in order, as Ctrl-C does, so that nothing is left half written."""


def guarded(command: Callable[[], None], *, verbose: bool, describe: Callable[[Exception], str] = str) -> ExitCode:
    """Run a command to its exit code; an exception becomes one line on stderr, and so does a signal.

    Args:
        command: What to run.
        verbose: Show the traceback too.
        describe: The message of an error of this package.
    """
    signals: list[ExitCode] = []

    def stop(number: int, _: object) -> None:
        signals.append(ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nohup ignores it, and that stays
        signal.signal(signal.SIGINT, stop)
    try:
        command()
    except (KeyboardInterrupt, Terminated):
        return _stopped(signals[0] if signals else ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:
        if signals:  # code that a signal interrupts may raise something else: an import raises ImportError
            return _stopped(signals[0])
        if verbose:
            err.print_exception()
        known = isinstance(error, EmotionOpsError | OSError)
        what = describe(error) if known else f"this is a bug ({type(error).__name__}: {error}); --verbose shows where"
        err.print(f"error: {what}", style="red", markup=False, soft_wrap=True)
        return exit_code_of(error)
    return ExitCode.OK


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code for an error."""
    unknown = ExitCode.DATASET if isinstance(error, EmotionOpsError | OSError) else ExitCode.BUG
    return next((code for kind, code in _CODES if isinstance(error, kind)), unknown)


def leave(code: ExitCode) -> NoReturn:
    """Exit; after a signal at once, because Python would wait for all threads, and a download may hang."""
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def set_up_logging(*, verbose: bool) -> None:
    """Send the log of this package to stderr, one line for each record; other packages log nothing."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log = logging.getLogger("emotion_ops")
    log.handlers = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "0" if sys.stderr.isatty() else "1")


def two_columns() -> Table:
    """A table of names and values without lines; long values are folded, not cut."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter: ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{max(seconds, 0.1):.1f} s" if seconds < 10 else f"{rest} s"


def counted(counts: Mapping[str, int]) -> str:
    """Numbers by name, in words."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def made_by(lineage: Mapping[str, str]) -> str:
    """A lineage in one line; of a long hash the beginning, since ``--json`` has all of it."""
    parts = {name: value for name, value in lineage.items() if name not in ("finished_at", "recipe")}
    return ", ".join(f"{name.replace('_', ' ')} {_shortened(value)}" for name, value in parts.items()) or "unknown"


def _shortened(value: str) -> str:
    return f"{value[:19]}…" if re.fullmatch(r"(sha256:)?[0-9a-f]{40,}", value) else value


def print_json(value: Any) -> None:
    """The one JSON object of ``--json``, alone on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


@contextlib.contextmanager
def progress_of_rows(title: str) -> Iterator[Callable[[int, int, int], None]]:
    """Show the progress of rows: a bar on a terminal, else a log line every few seconds.

    Args:
        title: What is done.

    Yields:
        A function of finished rows, all rows, and failed rows.
    """
    if not err.is_terminal:
        yield _log_lines(title)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=err) as bar:
        task = bar.add_task(title, total=None, rate="")
        rate = _Rate()

        def show(done: int, total: int, failed: int) -> None:
            note = rate(done) + (f", {failed:,} failed" if failed else "")
            bar.update(task, completed=done, total=total, rate=note)

        yield show


class _Rate:
    """Rows per second in words, from the second report on without the time before the first: the model was loading."""

    def __init__(self) -> None:
        self._since = time.monotonic(), 0
        self._reports = 0

    def __call__(self, done: int) -> str:
        now = time.monotonic()
        (started, before), self._reports = self._since, self._reports + 1
        if self._reports == 1:
            self._since = now, done
        return f"{(done - before) / max(now - started, 1e-9):,.0f} rows/s"


def _log_lines(title: str, every: float = 5.0) -> Callable[[int, int, int], None]:
    rate, last = _Rate(), 0.0

    def show(done: int, total: int, failed: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < every:
            return
        last = now
        logging.getLogger("emotion_ops").info(
            "%s: %s of %s rows, %s failed, %s",
            title,
            f"{done:,}",
            f"{total:,}",
            f"{failed:,}",
            rate(done),
        )

    return show


def _stopped(code: ExitCode) -> ExitCode:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the program is ending
    why = "interrupted" if code is ExitCode.INTERRUPTED else "terminated"
    err.print(f"{why}: finished row groups and files stay; run the same command again to continue", soft_wrap=True)
    return code
