"""Compare this project with transformers.pipeline, datasets, Ray Data and Daft: images/s from the same Parquet files.

    python benchmarks/compare.py                                    # everything that is installed; half an hour
    python benchmarks/compare.py --images 32 --rounds 1             # a first impression
    python benchmarks/compare.py --only openvino --images 512       # contenders with one of these words in the name
    python benchmarks/compare.py --startup                          # from the start of a process to its first result
    python benchmarks/compare.py --markdown compare.json            # the table of docs/performance.md

The contenders run in turn, each turn in a new process and alone on the machine. Every round starts with another
contender. Loading and a first small run are not timed. Without ``--model`` the network is a ViT-B/16 of 224 px with
random weights from a seed, and the images are drawn: 640 × 480 pixels and about 100 kB. To install the other
frameworks: ``pip install --constraint constraints.txt --group bench``.
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
from comparison import figures, machine, startup
from comparison.contenders import Contender, contenders
from comparison.images import VIT_B16, jpegs, write_table
from numpy.typing import NDArray

from emotion_ops.testing import save_tiny_model

DISTINCT = 32
"""Number of images that are drawn; the rows use them in turn."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    if options.markdown:
        saved = json.loads(options.markdown.read_text())
        starts = saved.get("start_seconds")
        print(startup.as_markdown(starts) if starts else figures.as_markdown(saved["figures"]))
        return
    with _folder(options.folder) as folder:
        about, packages = machine.machine(), machine.versions()
        print("\n".join(machine.as_lines(about, packages)), flush=True)
        model = options.model or _build_network(folder)
        files = jpegs(min(DISTINCT, options.images), (640, 480))
        warm_up = _write_table(folder / "warm-up", files, options.warm_up, "warm-up")
        if options.startup:
            has_openvino = importlib.util.find_spec("openvino") is not None
            starts = startup.measure(folder, model, warm_up, options.rounds, has_openvino)
            print(startup.as_text(starts))
            _write_json(options.json, {"machine": about, "versions": packages, "start_seconds": starts})
            return
        chosen, left_out = _choose(options.only)
        for name, hint in left_out.items():
            print(f"left out: {name}: {hint}")
        calibration = folder / "calibration"
        if any(one.options.get("precision") == "int8" for one in chosen):
            _write_table(calibration, jpegs(DISTINCT, (640, 480), 1_000_000), 64, "calibration")
        shared = {
            "model": str(model),
            "calibration": str(calibration),
            "cores": about["cores"],
            "warm_up": str(warm_up),
        }
        print(f"{options.images} images, {options.rounds} rounds, {len(chosen)} contenders", flush=True)
        rates, probabilities = _run_rounds(chosen, folder, files, options.images, options.rounds, shared)
    results = figures.figures(chosen, rates, probabilities)
    print(figures.as_text(results))
    settings = {
        "images": options.images,
        "rounds": options.rounds,
        "size": "640x480",
        "kilobytes": len(files[0]) // 1000,
    }
    about_run = {"machine": about, "versions": packages, "settings": settings, "left_out": left_out}
    _write_json(options.json, {**about_run, "figures": figures.as_json(results)})
    if options.chart and importlib.util.find_spec("matplotlib"):
        title = f"{about['processor']}, {about['cores']} cores; JPEGs of 640 × 480 in Parquet"
        figures.draw(results, title, options.chart)
    elif options.chart:
        print("no chart: matplotlib is not installed; pip install --constraint constraints.txt --group bench")


def _run_rounds(
    chosen: list[Contender], folder: Path, files: list[bytes], images: int, rounds: int, shared: dict[str, Any]
) -> tuple[dict[str, list[float]], dict[str, NDArray[np.float64]]]:
    """Return the images/s of each contender's turns, and the probabilities of its last turn."""
    rates: dict[str, list[float]] = {one.name: [] for one in chosen}
    probabilities = {}
    for number in range(rounds):
        shutil.rmtree(folder / f"round-{number}", ignore_errors=True)  # an interrupted run may have left it
        source = write_table(folder / f"round-{number}", files, images, f"round-{number}")
        first = number * len(chosen) // rounds
        for contender in chosen[first:] + chosen[:first]:
            result = _run_turn({**shared, "contender": contender.name, "source": str(source)}, folder)
            probabilities[contender.name] = np.asarray(result["probabilities"])
            if len(probabilities[contender.name]) != images:
                rows = len(probabilities[contender.name])
                raise RuntimeError(f"{contender.name} returned {rows} of {images} rows")
            rates[contender.name].append(images / result["seconds"])
            print(f"  round {number + 1}  {contender.name:<32} {rates[contender.name][-1]:8.1f} images/s", flush=True)
        shutil.rmtree(source)
    return rates, probabilities


def _run_turn(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run one turn in a new process and return what it prints."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "EMOTION_OPS_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "DO_NOT_TRACK": "1",  # for Daft
    }
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "comparison.worker", json.dumps({**request, "scratch": scratch})]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{request['contender']} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _choose(words: list[str]) -> tuple[list[Contender], dict[str, str]]:
    """Return the contenders that can run, and for the others why they can't."""
    wanted = [one for one in contenders() if not words or any(word in one.name for word in words)]
    left_out = {
        one.name: f"{', '.join(one.missing())} not installed; pip install --constraint constraints.txt --group bench"
        for one in wanted
        if one.missing()
    }
    return [one for one in wanted if not one.missing()], left_out


def _build_network(folder: Path) -> Path:
    return folder / "vit-b16" if (folder / "vit-b16").exists() else save_tiny_model(folder / "vit-b16", **VIT_B16)


def _write_table(folder: Path, files: list[bytes], rows: int, mark: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return write_table(folder, files, rows, mark)


@contextlib.contextmanager
def _folder(path: Path | None) -> Iterator[Path]:
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        yield path.resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _write_json(path: Path | None, results: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(results, indent=2) + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128, help="in each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=32, help="images before the timed run")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="only contenders with one of these words")
    parser.add_argument("--model", type=lambda text: Path(text).resolve(), help="a local folder; default: a ViT-B/16")
    parser.add_argument("--folder", type=Path, help="for network and images, to use them again in the next run")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--chart", type=Path, help="where to write a PNG")
    parser.add_argument("--startup", action="store_true", help="time the start of a process instead")
    parser.add_argument("--markdown", type=Path, metavar="JSON", help="print the table of figures that --json wrote")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
