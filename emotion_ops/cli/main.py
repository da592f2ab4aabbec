"""The commands of ``emotion-ops``; each imports what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from emotion_ops.cli.audit import app as audit
from emotion_ops.cli.output import ExitCode, guarded, leave, set_up_logging
from emotion_ops.models.checkpoint import DEFAULT_MODEL
from emotion_ops.operators.classify.columns import thresholds_in
from emotion_ops.version import __version__

app = typer.Typer(
    name="emotion-ops",
    help="Facial emotion probabilities for tables of images.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

Image = Annotated[str, typer.Option(help="The column of images.")]
Model = Annotated[str, typer.Option(help="A hub id, a local folder, or 'demo'.")]
Revision = Annotated[str | None, typer.Option(help="Commit of a hub model; 'inspect' prints it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Engine = Annotated[str, typer.Option(help="auto, torch, openvino.")]
Precision = Annotated[str, typer.Option(help="auto (fp32), fp32, bf16, fp16, int8.")]
Calibration = Annotated[str | None, typer.Option(help="What int8 is calibrated on: a folder of images, or Parquet.")]
Allow = Annotated[list[str] | None, typer.Option(help="A URL scheme that paths may use; may be repeated.")]
AllowHosts = Annotated[list[str] | None, typer.Option(help="A private host that http(s) may reach; may be repeated.")]
_NOT_OPTIONS = ("source", "manifest", "as_json")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"emotion-ops {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Debug log, and tracebacks of errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    set_up_logging(verbose=verbose)


@app.command()
def enrich(
    source: Annotated[
        list[str],
        typer.Argument(help="Parquet files, folders or globs, then the destination.", metavar="SOURCE… DESTINATION"),
    ],
    image: Image = "image",
    model: Model = DEFAULT_MODEL,
    revision: Revision = None,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    calibration: Calibration = None,
    batch_size: Annotated[str, typer.Option(help="Rows in one forward pass, or auto.")] = "auto",
    on_error: Annotated[str, typer.Option(help="What becomes of a row that fails: null, raise, drop.")] = "null",
    prefix: Annotated[str, typer.Option(help="What the appended columns' names start with.")] = "emotion",
    labels_above: Annotated[
        str | None, typer.Option(help="List labels of at least this probability: 0.3, or happy=0.4,sad=0.2.")
    ] = None,
    min_probability: Annotated[float | None, typer.Option(help="No label where the highest is lower.")] = None,
    faces: Annotated[str, typer.Option(help="none (the image is a face), or look for faces: largest, all.")] = "none",
    detector: Annotated[str | None, typer.Option(help="A YuNet file; else it is fetched from the hub.")] = None,
    face_threshold: Annotated[float | None, typer.Option(help="Least probability of a face.")] = None,
    min_face_size: Annotated[float | None, typer.Option(help="Least shorter side of a face, in pixels.")] = None,
    face_margin: Annotated[float | None, typer.Option(help="Part of a face's side that is added on each side.")] = None,
    max_faces: Annotated[int | None, typer.Option(help="Most faces of an image that are classified.")] = None,
    root: Annotated[str | None, typer.Option(help="Folder that paths start from and may not leave.")] = None,
    allow: Allow = None,
    allow_hosts: AllowHosts = None,
    channels: Annotated[str, typer.Option(help="Order of colours in decoded pixels: rgb, bgr.")] = "rgb",
    max_bytes: Annotated[int | None, typer.Option(help="Most encoded bytes of an image.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Most pixels of an image.")] = None,
    max_side: Annotated[int | None, typer.Option(help="Longest side of an image, in pixels.")] = None,
    max_frames: Annotated[int | None, typer.Option(help="Most frames that an image file may claim.")] = None,
    decode: Annotated[str, typer.Option(help="exact, or fast: large JPEGs at a part of their size.")] = "exact",
    isolation: Annotated[str, typer.Option(help="Decode in thread, or in process: a crash costs its row.")] = "thread",
    decode_timeout: Annotated[float | None, typer.Option(help="Seconds for one image, in processes.")] = None,
    decode_memory: Annotated[int | None, typer.Option(help="Bytes for one image, in processes.")] = None,
    threads: Annotated[str, typer.Option(help="Images decoded at once, or auto.")] = "auto",
    memory: Annotated[int | None, typer.Option(help="Bytes that decoding ahead may hold.")] = None,
    answer_cache: Annotated[int | None, typer.Option(help="Answers remembered in memory, for equal images.")] = None,
    answer_cache_dir: Annotated[str | None, typer.Option(help="Folder that remembers answers across runs.")] = None,
    columns: Annotated[str, typer.Option(help="all, none, names with commas, or -name to leave out.")] = "all",
    shard: Annotated[str | None, typer.Option(help="I/N: only the files of shard I of N, from 0.")] = None,
    retry_errors: Annotated[
        str | None, typer.Option(help="Answer failed rows of outputs that stand again: all, or codes with commas.")
    ] = None,
    quarantine: Annotated[str | None, typer.Option(help="Folder for a table of the failed rows.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many files in this run.")] = None,
    max_errors: Annotated[int | None, typer.Option(help="Stop when more rows than this fail.")] = None,
    max_error_rate: Annotated[float | None, typer.Option(help="Stop when a larger part of the rows fails.")] = None,
    compression: Annotated[str, typer.Option(help="Parquet compression of the outputs.")] = "zstd",
    row_group_rows: Annotated[int | None, typer.Option(help="Most rows in an output's row group.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another run that is writing here.")] = 0.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that were made otherwise.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove outputs whose source is gone.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing: the same as the command plan.")] = False,
    sample_rows: Annotated[int, typer.Option(help="Rows that a plan tries, to say what the job will take.")] = 64,
    report_page: Annotated[bool, typer.Option(help="Write the report as an HTML page too.")] = True,
    contact_sheet: Annotated[
        bool | None,
        typer.Option(
            "--contact-sheet/--no-contact-sheet",
            help="Show small pictures on that page; unless said, only where the output holds the images anyway.",
            show_default=False,
        ),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="A local file for the report in short, as JSON: what a scheduler keeps.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Append emotion columns to a Parquet dataset; run again, it goes on or skips what stands.

    emotion-ops enrich faces/ enriched/ --image photo --model demo
    """
    given = {name: value for name, value in locals().items() if name not in _NOT_OPTIONS}
    from emotion_ops.cli.enrich import enrich as command

    if len(source) < 2:
        raise typer.BadParameter("give SOURCE and DESTINATION")
    given = _as_read(given)
    given["columns"] = columns if columns in ("all", "none") else _names(columns)
    given["retry_errors"], given["shard"] = _retry(retry_errors), _shard(shard)
    given["contact_sheet"] = "auto" if contact_sheet is None else contact_sheet
    command(source[:-1], source[-1], given, as_json=as_json, manifest=manifest)


_OPTIONS = dict(inspect.signature(enrich, eval_str=True).parameters)
_OF_OPERATOR = tuple(itertools.takewhile(lambda name: name != "columns", list(_OPTIONS)[1:]))
"""The options of the table operator, which stand first."""


def _with_options_of_enrich(names: Iterable[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare the ``**given`` of a command to be these options of ``enrich``, to the letter."""

    def declare(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        every = [*own, *(_OPTIONS[name] for name in names)]
        command.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]  # Typer reads both
        command.__annotations__ = {one.name: one.annotation for one in every}
        return command

    return declare


@app.command()
@_with_options_of_enrich(name for name in _OPTIONS if name != "dry_run")
def plan(**given: Any) -> None:
    """Say what enrich would do with the same arguments, and try a small sample: time, memory, errors, the limit.

    emotion-ops plan faces/ enriched/ --image photo --model demo
    """
    enrich(**given, dry_run=True)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path("demo-output"),
) -> None:
    """Draw faces, enrich them with the bundled demo model, print a table and write a contact sheet.

    emotion-ops demo
    """
    from emotion_ops.cli.demo import demo as command

    command(folder)


_OF_RUNNING = (
    "device", "engine", "precision", "calibration", "batch_size", "on_error", "channels", "decode", "threads",
    "memory", "answer_cache", "answer_cache_dir",
)  # fmt: skip
"""Options of the table operator that change nothing of what is appended and of what an image may be."""


@app.command(name="inspect")
@_with_options_of_enrich(name for name in _OF_OPERATOR if name not in _OF_RUNNING)
def inspect_(
    source: Annotated[
        str | None, typer.Argument(help="Parquet file or folder; without it only the model is shown.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows whose images are opened.", min=0)] = 5,
    as_json: Json = False,
    **given: Any,
) -> None:
    """Say what the image column holds, what would be appended, and which weights the model has.

    emotion-ops inspect faces.parquet --model demo
    """
    from emotion_ops.cli.inspect import inspect as command

    command(source, _as_read(given), rows, as_json=as_json)


@app.command()
@_with_options_of_enrich(name for name in _OF_OPERATOR if name not in ("on_error", "prefix"))
def preview(
    source: Annotated[str, typer.Argument(help="Parquet file, folder or glob.")],
    rows: Annotated[int, typer.Option("--rows", "-n", help="Rows that are drawn, from the first on: 1 to 200.")] = 12,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture that is written.")] = Path("preview.png"),
    **given: Any,
) -> None:
    """Draw the first images with their face boxes, labels and probabilities, as one picture.

    emotion-ops preview faces.parquet --model demo -n 7
    """
    from emotion_ops.cli.preview import preview as command

    command(source, _as_read(given), rows, output)


@app.command()
def doctor(
    model: Model = DEFAULT_MODEL,
    revision: Revision = None,
    device: Device = "auto",
    calibration: Calibration = None,
    as_json: Json = False,
) -> None:
    """Prove a set-up before it is trusted: versions, devices, golden images, throughput.

    emotion-ops doctor --model demo
    """
    from emotion_ops.cli.doctor import doctor as command

    raise typer.Exit(command(model, revision, device, calibration, as_json=as_json))


app.add_typer(audit)


@app.command()
def job() -> None:
    """Do one job for another program: a request on stdin, events on stdout, in JSON lines; stop when stdin closes.

    It is what the Airflow operator speaks with; docs/cli.md has the lines.
    """
    from emotion_ops.cli.job import job as command

    command()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _as_read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they were typed → as the table operator takes them, without those that were not given."""
    readers = {"batch_size": _number_or_auto, "threads": _number_or_auto, "labels_above": _thresholds}
    return {
        name: readers[name](value) if name in readers else value for name, value in given.items() if value is not None
    }


def _thresholds(text: str) -> float | dict[str, float]:
    try:
        return thresholds_in(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _retry(text: str | None) -> bool | list[str]:
    return text == "all" if text in (None, "all") else _names(text)


def _number_or_auto(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, separator, count = text.partition("/")
    if not (separator and index.isdigit() and count.isdigit()):
        raise typer.BadParameter(f"{text!r} is no shard; give I/N, 0/4 say")
    return int(index), int(count)


def run() -> None:
    """The entry point: exits with a code of ``ExitCode``."""
    ended = ExitCode.OK

    def command() -> None:
        nonlocal ended
        try:
            ended = ExitCode(app(standalone_mode=False) or 0)
        except typer.Abort:
            ended = ExitCode.INTERRUPTED
        except Exception as error:
            show = getattr(error, "show", None)  # a usage error of Typer's, whose class is not public
            if show is None:
                raise
            show()
            ended = ExitCode.USAGE
        if ended is ExitCode.INTERRUPTED:  # Typer took the Ctrl-C for itself
            raise KeyboardInterrupt

    verbose = any(flag in sys.argv for flag in ("--verbose", "-v"))
    leave(guarded(command, verbose=verbose) or ended)
