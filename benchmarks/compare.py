"""This project against transformers.pipeline, datasets, Ray Data and Daft: images a second from the same Parquet files.

    python benchmarks/compare.py                                    # everything that is installed; half an hour
    python benchmarks/compare.py --images 32 --rounds 1             # a first impression
    python benchmarks/compare.py --only openvino --images 512       # those whose names have one of these words
    python benchmarks/compare.py --startup                          # from the start of a process to its first answer
    python benchmarks/compare.py --markdown compare.json            # the table of docs/performance.md

The contenders take turns, round by round and each round beginning with another; each turn is a process of its own, with
the machine to itself. Loading and a first small run are not timed. Without ``--model`` the network is a ViT-B/16 of
224 px with weights from a seed, and the images are drawn, 640 × 480 and some 100 KB. The other frameworks come with
``pip install --constraint constraints.txt --group bench``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from comparison import ceiling, figures, machine, startup
from comparison.contenders import Contender, contenders
from comparison.pictures import VIT_B16, jpegs, write_table
from numpy.typing import NDArray

from emotion_ops.testing import save_tiny_model

DISTINCT = 32
"""Pictures that are drawn; rows have them in turn."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    if options.markdown:
        written = json.loads(options.markdown.read_text())
        starts = written.get("start_seconds")
        print(startup.as_markdown(starts) if starts else figures.as_markdown(written["figures"]))
        if not starts:
            print("\n" + ceiling.as_text(written["ceiling"]))
        return
    with _folder(options.folder) as folder:
        about, packages = machine.machine(), machine.versions()
        print("\n".join(machine.lines(about, packages)), flush=True)
        model = options.model or _network(folder)
        files = jpegs(min(DISTINCT, options.images), (640, 480))
        warm_up = _table(folder / "warm-up", files, options.warm_up, "warm-up")
        if options.startup:
            has_openvino = importlib.util.find_spec("openvino") is not None
            starts = startup.measure(folder, model, warm_up, options.rounds, has_openvino)
            print(startup.as_text(starts))
            _write(options.json, {"machine": about, "versions": packages, "start_seconds": starts})
            return
        chosen, left_out = _chosen(options.only)
        for name, hint in left_out.items():
            print(f"left out: {name}: {hint}")
        calibration = folder / "calibration"
        if any(one.options.get("precision") == "int8" for one in chosen):
            _table(calibration, jpegs(DISTINCT, (640, 480), 1_000_000), 64, "calibration")
        shared = {
            "model": str(model),
            "calibration": str(calibration),
            "cores": about["cores"],
            "warm_up": str(warm_up),
        }
        at_most = ceiling.measure(model)
        print(ceiling.as_text(at_most))
        print(f"{options.images} images, {options.rounds} rounds, {len(chosen)} contenders", flush=True)
        rates, answers = _rounds(chosen, folder, files, options.images, options.rounds, shared)
    found = figures.figures(chosen, rates, answers)
    print(figures.as_text(found))
    settings = {
        "images": options.images,
        "rounds": options.rounds,
        "size": "640x480",
        "kilobytes": len(files[0]) // 1000,
    }
    results = {"machine": about, "versions": packages, "settings": settings, "left_out": left_out, "ceiling": at_most}
    _write(options.json, {**results, "figures": figures.as_json(found)})
    if options.chart and importlib.util.find_spec("matplotlib"):
        figures.draw(
            found, f"{about['processor']}, {about['cores']} cores; JPEGs of 640 × 480 in Parquet", options.chart
        )
    elif options.chart:
        print("no chart: matplotlib is not installed; pip install --constraint constraints.txt --group bench")


def _rounds(
    chosen: list[Contender], folder: Path, files: list[bytes], images: int, rounds: int, shared: dict[str, Any]
) -> tuple[dict[str, list[float]], dict[str, NDArray[np.float64]]]:
    """Images a second of each contender's turns, and its last answers."""
    rates: dict[str, list[float]] = {one.name: [] for one in chosen}
    answers = {}
    for number in range(rounds):
        shutil.rmtree(folder / f"round-{number}", ignore_errors=True)  # of a run that was stopped
        source = write_table(folder / f"round-{number}", files, images, f"round-{number}")
        first = number * len(chosen) // rounds
        for contender in chosen[first:] + chosen[:first]:
            told = {**shared, "contender": contender.name, "source": str(source)}
            done = _turn(told, folder)
            answers[contender.name] = np.asarray(done["probabilities"])
            if len(answers[contender.name]) != images:
                raise RuntimeError(f"{contender.name} answered {len(answers[contender.name])} of {images} images")
            rates[contender.name].append(images / done["seconds"])
            print(f"  round {number + 1}  {contender.name:<32} {rates[contender.name][-1]:8.1f} images/s", flush=True)
        shutil.rmtree(source)
    return rates, answers


def _turn(told: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What one process prints."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "EMOTION_OPS_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "DO_NOT_TRACK": "1",  # Daft's
    }
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "comparison.worker", json.dumps({**told, "scratch": scratch})]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{told['contender']} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _chosen(words: list[str]) -> tuple[list[Contender], dict[str, str]]:
    """Contenders that run, and why the others do not."""
    wanted = [one for one in contenders() if not words or any(word in one.name for word in words)]
    left_out = {
        one.name: f"{', '.join(one.missing())} not installed; pip install --constraint constraints.txt --group bench"
        for one in wanted
        if one.missing()
    }
    return [one for one in wanted if not one.missing()], left_out


def _network(folder: Path) -> Path:
    return folder / "vit-b16" if (folder / "vit-b16").exists() else save_tiny_model(folder / "vit-b16", **VIT_B16)


def _table(folder: Path, files: list[bytes], rows: int, mark: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return write_table(folder, files, rows, mark)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _write(path: Path | None, results: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(results, indent=2) + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=32, help="images before the clock starts")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="contenders with one of these in their names"
    )
    parser.add_argument("--model", type=lambda text: Path(text).resolve(), help="a folder; else a ViT-B/16 is made")
    parser.add_argument("--folder", type=Path, help="keeps what is made, for the next run")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument("--chart", type=Path, help="where a PNG is drawn")
    parser.add_argument("--startup", action="store_true", help="time starts instead")
    parser.add_argument("--markdown", type=Path, metavar="JSON", help="print the table of figures written before")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
