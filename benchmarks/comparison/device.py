"""The speed of a device: matrix products, and the network on batches that are ready."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from emotion_ops.models.engines.engine import Engine

_COMPILE = {"compile": "default", "max-autotune": "max-autotune", "reduce-overhead": "reduce-overhead"}


def device_name(device: str) -> str:
    """Return the name of the device, with its memory."""
    found = torch.device(device)
    if found.type != "cuda":
        return found.type
    about = torch.cuda.get_device_properties(found)
    return f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"


def matrix_rate(device: str, side: int, rounds: int) -> float:
    """Return the TFLOP/s of a square matrix product in bf16, the best of some rounds."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = max(rate(lambda: (torch.mm(left, right), 1)[1], device, 0.5, 1) for _ in range(rounds))
    return best * 2 * side**3 / 1e12


def count_gigaflops(engine: Any) -> float:
    """Return the multiplications and additions for one image, in 10^9."""
    blank = torch.zeros((1, engine.pixels.height, engine.pixels.width, 3), dtype=torch.uint8, device=engine.device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        engine.network(blank)
    return float(counter.get_total_flops()) / 1e9


def compiled_rate(engine: Any, batch: int, mode: str, seconds: float, rounds: int) -> float | str:
    """Return the images/s of the torch network on a batch that is on the device, or why it fails."""
    pixels = torch.from_numpy(_noise(engine, batch)).to(engine.device)
    try:
        with torch.inference_mode():
            run = _record(engine.network, pixels) if mode == "graph" else _network(engine.network, pixels, mode)
            return rate(lambda: (run(), batch)[1], engine.device, seconds, rounds)
    except Exception as error:  # a compiler or a capture may fail in any way; the other modes are measured
        return f"failed: {(str(error).splitlines() or [type(error).__name__])[0][:80]}"
    finally:
        torch._dynamo.reset()
        if torch.device(engine.device).type == "cuda":
            torch.cuda.empty_cache()


def engine_rate(engine: Engine, batch: int, mode: str, seconds: float, rounds: int) -> float:
    """Return the images/s of ``Engine.predict`` on arrays of the host, with as many parallel calls as it takes."""
    pixels = _noise(engine, batch)
    with ThreadPoolExecutor(engine.concurrency) as pool:

        def predict() -> int:
            return sum(len(result) for result in pool.map(engine.predict, [pixels] * 4 * engine.concurrency))

        return rate(predict, engine.device, seconds, rounds)


def rate(work: Callable[[], int], device: str, seconds: float, rounds: int) -> float:
    """Return the work per second: the median of some rounds of about so many seconds, after a warm-up."""
    at_once = 1 if torch.device(device).type == "cpu" else 8  # a GPU works while the next kernels are launched
    for _ in range(3):
        work()
    rates = []
    for _ in range(rounds):
        _synchronise(device)
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            done += sum(work() for _ in range(at_once))
            _synchronise(device)
        rates.append(done / (time.perf_counter() - started))
    return statistics.median(rates)


def _network(network: torch.nn.Module, pixels: torch.Tensor, mode: str) -> Callable[[], Any]:
    run: Any = network if mode == "eager" else torch.compile(network, mode=_COMPILE[mode])
    return lambda: run(pixels)


def _record(network: torch.nn.Module, pixels: torch.Tensor) -> Callable[[], Any]:
    """Record the network as a CUDA graph."""
    stream = torch.cuda.Stream(pixels.device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    stream.wait_stream(torch.cuda.current_stream(pixels.device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            network(pixels)
    stream.synchronize()
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording, stream=stream):
        network(pixels)
    return recording.replay


def _noise(engine: Engine, batch: int) -> Any:
    shape = (batch, engine.pixels.height, engine.pixels.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _synchronise(device: str) -> None:
    if torch.device(device).type != "cpu":
        torch.get_device_module(device).synchronize()
