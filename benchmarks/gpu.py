"""The speed of one device: the network alone, decoding alone, all from Parquet, and ``transformers.pipeline``.

    python benchmarks/gpu.py --json gpu.json                        # on a machine with a CUDA GPU
    python benchmarks/gpu.py --markdown gpu.json                    # print its tables for docs/performance.md
    python benchmarks/gpu.py --device cpu --images 64 --batches 16 --modes eager engine

It needs this repository, torch, transformers, PyArrow, Pillow and NumPy, and no network: the model is a ViT-B/16 with
weights from a seed, the images are drawn. Rates are the median of ``--rounds``, in images a second.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison import machine
from comparison.device import compiled_rate, count_gigaflops, device_name, engine_rate, matrix_rate
from comparison.end_to_end import decode_rate, pipeline_rate, stream_rate
from comparison.images import VIT_B16, jpegs, write_table

from emotion_ops import ClassifyEmotions
from emotion_ops.testing import save_tiny_model

MODES = ("eager", "graph", "compile", "max-autotune", "reduce-overhead", "engine")
"""How the network runs: kernel by kernel, as a CUDA graph, by ``torch.compile`` in three modes, and in our engine."""

SIZES = {"224x224": 1.0, "640x480": 1.0, "1920x1080": 0.25}
"""Sizes of images, and the part of ``--images`` of each size."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    if options.markdown:
        print("\n\n".join(map(_markdown, json.loads(options.markdown.read_text())["tables"])))
        return
    about, packages = machine.machine(), machine.versions()
    device = device_name(options.device)
    results: dict[str, Any] = {"device": device, "machine": about, "versions": packages, "tables": []}
    print("\n".join([device, *machine.as_lines(about, packages)]), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or save_tiny_model(folder / "vit-b16", **VIT_B16)
        operator = ClassifyEmotions(
            model=str(model), device=options.device, engine="torch", precision=options.precision, on_error="raise"
        )
        for table in (
            _ceiling(operator, options),
            _decoding(operator, options, about["cores"]),
            _from_parquet(operator, options, about["cores"], folder),
        ):
            results["tables"].append(table)
            print(f"\n{_markdown(table)}", flush=True)
            if options.json:  # after each table, in case a later one fails
                options.json.write_text(json.dumps(results, indent=2) + "\n")


def _ceiling(operator: ClassifyEmotions, options: argparse.Namespace) -> dict[str, Any]:
    """The network alone, by batch size and mode."""
    engine = operator.load_engine()
    rate, gigaflop = matrix_rate(options.device, options.matrix, options.rounds), count_gigaflops(engine)
    title = (
        f"The network alone in {engine.precision}, {gigaflop:.1f} GFLOP an image; matrix products in bf16 run at"
        f" {rate:.2f} TFLOP/s, {1000 * rate / gigaflop:,.0f} images/s"
    )
    rows = []
    for batch in options.batches:
        row: dict[str, Any] = {"batch": batch}
        for mode in options.modes:
            measure = engine_rate if mode == "engine" else compiled_rate
            row[mode] = measure(engine, batch, mode, options.seconds, options.rounds)
        rows.append(row)
    return {"title": title, "teraflops": rate, "gigaflop_an_image": gigaflop, "rows": rows}


def _decoding(operator: ClassifyEmotions, options: argparse.Namespace, cores: int) -> dict[str, Any]:
    """Decoding and resizing alone, by size and threads."""
    threads = sorted({count for count in (1, 2, 4, 8, 16, 32, 64, 128) if count < cores} | {cores})
    rows = []
    for size in options.sizes:
        files = jpegs(options.distinct, _pixels(size))
        row: dict[str, Any] = {"images": size, "kB": round(sum(map(len, files)) / len(files) / 1000)}
        for count in threads:
            row[f"{count} threads"] = decode_rate(operator, files, count, options.seconds, options.rounds)
        rows.append(row)
    return {"title": "Decoding and resizing alone", "rows": rows}


def _from_parquet(operator: ClassifyEmotions, options: argparse.Namespace, cores: int, folder: Path) -> dict[str, Any]:
    """This project and the pipeline, from Parquet with JPEG bytes."""
    engine = operator.load_engine()
    alone = engine_rate(engine, engine.batch_size, "engine", options.seconds, options.rounds)
    rows = []
    for size in options.sizes:
        images = max(1, int(options.images * SIZES.get(size, 1.0)))
        files = jpegs(min(options.distinct, images), _pixels(size))
        sources = (  # each is written after the previous one was read
            write_table(folder / f"{size}-{turn}", files, images, f"{size}-{turn}", options.rows_of_a_file)
            for turn in range(options.rounds + 1)
        )
        ours = stream_rate(operator, sources)
        few = write_table(folder / f"{size}-few", files, min(images, options.pipeline_images), "few", 1024)
        rates = {
            f"batch {batch}, {workers} workers": pipeline_rate(operator.model, few, options.device, batch, workers)
            for batch in options.pipeline_batches
            for workers in sorted({0, cores})
        }
        best = max(rates, key=lambda name: rates[name])
        rows.append(
            {
                "images": size, "emotion_ops": ours, "of network only": f"{ours / alone:.1%}", "pipeline": rates[best],
                "best setting": best, "× pipeline": f"{ours / rates[best]:.2f}", "pipeline rates": rates,
            }
        )  # fmt: skip
        shutil.rmtree(few)
    title = (
        f"From Parquet with JPEG bytes in {engine.precision}, batches of {engine.batch_size}, {cores} cores;"
        f" the network alone through the engine: {alone:,.1f} images/s; transformers.pipeline in"
        f" {'fp16' if engine.device != 'cpu' else 'fp32'}"
    )
    return {"title": title, "network_only": alone, "rows": rows}


def _markdown(table: dict[str, Any]) -> str:
    """A table with its title."""
    heads = [head for head in table["rows"][0] if head != "pipeline rates"]
    rows = [heads, ["---:"] * len(heads), *([_cell(row[head]) for head in heads] for row in table["rows"])]
    return f"{table['title']}\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(value: object) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else str(value)


def _pixels(size: str) -> tuple[int, int]:
    width, height = map(int, size.split("x"))
    return width, height


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument(
        "--model", type=lambda text: Path(text).resolve(), help="a folder; default: a ViT-B/16 with random weights"
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 64, 128, 256, 512])
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--images", type=int, default=16384, help="of a round; a quarter of them for 1920x1080")
    parser.add_argument("--distinct", type=int, default=64, help="different images; the rows use them in turn")
    parser.add_argument("--rows-of-a-file", type=int, default=1024)
    parser.add_argument("--pipeline-batches", nargs="+", type=int, default=[1, 8, 32, 128])
    parser.add_argument("--pipeline-images", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round that is not measured on a table")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--markdown", type=Path, metavar="JSON", help="print the tables of a file of figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
