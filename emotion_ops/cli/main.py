"""The command ``emotion-ops``. Only the module of the command that runs is imported, so that ``--help`` is fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from emotion_ops.cli.output import ExitCode, guarded, leave, set_up_logging
from emotion_ops.errors import OptionError
from emotion_ops.version import __version__

COMMANDS = {
    "enrich": "Append an operator's columns to a Parquet dataset; run it again to continue or to skip what exists.",
    "plan": "Say what enrich would do with the same arguments, and try a small sample: time, memory, errors, limit.",
    "inspect": "Say what a dataset's inputs are, what would be appended, and what decides its values.",
    "preview": "Draw the first rows with what an operator appends to them, as one image.",
    "status": "Say which files of a dataset are done, in progress, stale or failed; nothing is changed.",
    "verify": "Prove that every source row has exactly its output row; the exit code is 1 if something is wrong.",
    "diff": "Compare two enriched outputs: rows that changed, numbers that drifted, rows in one only.",
    "clean": "Remove what killed runs left in a destination, and nothing else.",
    "demo": "Enrich sample faces with the bundled demo model, print a table and write a contact sheet.",
    "doctor": "Check an installation: versions, devices, known images, throughput.",
    "job": "Do one job for another program: a request on stdin, events on stdout, in JSON lines (docs/cli.md).",
}
"""The commands, each with what it does. The module ``emotion_ops.cli.<name>`` has the function ``<name>``."""


@dataclass(frozen=True)
class CommandLine:
    """The commands, for the arguments of one call.

    Attributes:
        app: The commands. The one that is called has its arguments and options, the others only their description.
        describe: The message of an error, in the words of the command line.
    """

    app: typer.Typer
    describe: Callable[[Exception], str] = str


def make_command_line(arguments: Sequence[str]) -> CommandLine:
    """The commands for the arguments of a call.

    Args:
        arguments: The arguments, without the name of the program. They decide which command and which operator's
            flags are needed.

    Raises:
        EmotionOpsError: There is no such operator, or its options cannot be flags.
    """
    app = typer.Typer(
        name="emotion-ops",
        help="Append columns to tables of images: facial emotions, or the results of any table operator.",
        no_args_is_help=True,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(_main)
    called = next((name for name in arguments if not name.startswith("-")), "")
    describe: Callable[[Exception], str] = str
    for name, summary in COMMANDS.items():
        command: Callable[..., None] = _not_called
        if name == called:
            module = importlib.import_module(f"emotion_ops.cli.{name}")
            command = getattr(module, name)
            if hasattr(module, "flag_sets"):
                command, describe = _with_flags(command, module.flag_sets, _find_operator(arguments))
        app.command(name, help=None if name == called else summary, short_help=summary)(command)
    return CommandLine(app, describe)


def _with_flags(
    command: Callable[..., None], flag_sets: Callable[[str], Any], operator: str
) -> tuple[Callable[..., None], Callable[[Exception], str]]:
    from emotion_ops.cli.parameters import describe_error, with_flags

    try:
        sets = flag_sets(operator)
    except OptionError as error:
        raise OptionError("--operator", error.value, error.hint) from None
    return with_flags(command, *sets), lambda error: describe_error(error, sets)


def _find_operator(arguments: Sequence[str]) -> str:
    """The operator that arguments name; empty if there is none."""
    for place, argument in enumerate(arguments):
        flag, is_joined, value = argument.partition("=")
        if flag == "--operator":
            return value if is_joined else next(iter(arguments[place + 1 :]), "")
    return ""


def _not_called() -> None:
    """Stands for a command in the list of commands."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"emotion-ops {__version__}")
        raise typer.Exit


def _main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Debug log, and tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    set_up_logging(verbose=verbose)


def run() -> None:
    """The entry point: exits with a code of ``ExitCode``."""
    code = ExitCode.OK
    describe: Callable[[Exception], str] = str

    def command() -> None:
        nonlocal code, describe
        line = make_command_line(sys.argv[1:])
        describe = line.describe
        try:
            code = ExitCode(line.app(standalone_mode=False) or 0)
        except typer.Abort:
            code = ExitCode.INTERRUPTED
        except Exception as error:
            show = getattr(error, "show", None)  # a usage error of Typer, whose class is not public
            if show is None:
                raise
            show()
            code = ExitCode.USAGE
        if code is ExitCode.INTERRUPTED:  # Typer handled Ctrl-C
            raise KeyboardInterrupt

    verbose = any(flag in sys.argv for flag in ("--verbose", "-v"))
    leave(guarded(command, verbose=verbose, describe=lambda error: describe(error)) or code)
