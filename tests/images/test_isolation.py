"""With ``isolation="process"`` a decoder that crashes, hangs or fills memory fails its own row only."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile_decoders
import numpy as np
import psutil
import pyarrow as pa
import pytest
from bad_images import BAD_BYTES
from pictures import every_mode, jpeg

from emotion_ops import Access, ClassifyEmotions, Decoding, Limits, OptionError, Resources, RowError, RowErrorCode
from emotion_ops.images.decoder import ImageDecoder
from emotion_ops.images.isolation.pool import DecoderPool
from emotion_ops.images.isolation.stop import Stop, StoppedError
from emotion_ops.images.loader import ImageLoader, decoder_pool
from emotion_ops.images.memory import Memory
from emotion_ops.images.resize import Resize
from emotion_ops.operators.classify.session import build_transform
from emotion_ops.operators.rows import ObjectColumn, RowBatch
from emotion_ops.operators.run import Run
from emotion_ops.operators.stream import RowStream

TESTS = Path(__file__).parents[1] / "support"
LIMIT = 2**28


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(hostile_decoders.decode, 2.0, LIMIT)
    yield pool
    pool.close()


def failure(pool: DecoderPool, encoded: bytes) -> str:
    with pytest.raises(RowError) as caught:
        pool.decode(encoded, lambda amount: None)
    assert caught.value.code is RowErrorCode.UNDECODABLE
    return caught.value.detail


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def have_ended(pids: list[int]) -> bool:
    """Wait until processes have ended; the test's own timeout limits it."""
    while any(map(runs, pids)):
        time.sleep(0.05)
    return True


def run(script: str, arguments: Sequence[str] = (), **options: object) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(TESTS), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *arguments], env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_a_decoder_that_fails_in_any_way_fails_its_own_row_only(pool: DecoderPool, tiny_model: str) -> None:
    bad = {
        b"abort": "the decoder crashed (signal 6, Aborted)",
        b"segfault": "the decoder crashed (signal 11, Segmentation fault)",
        b"hang": "the decoder took longer than Decoding.timeout=2 seconds",
        b"spin": "the decoder took longer than Decoding.timeout=2 seconds",
        b"exit": "the decoder's process ended with code 3",
        b"fill": f"the decoder needed more than the {LIMIT:,} bytes of Decoding.memory",
        b"nonsense": "the decoder's process sent an invalid message (41 bytes for 5 × 5 pixels)",
        b"raise": 'the decoder failed (KeyError: "a parser\'s own mistake")',
    }
    cells: list[bytes] = []
    for seed, cell in enumerate(bad):
        cells += [cell, *(jpeg(seed, 40, 40) for _ in range(4))]
    operator = ClassifyEmotions(model=tiny_model)
    resize = build_transform(operator.load_engine().pixels)

    def enrich(loader: ImageLoader, images: list[bytes]) -> pa.RecordBatch:
        run = Run(Resources(2**27, 4), Access(), Limits(), Decoding())
        session = dataclasses.replace(operator.start(run), prepare=lambda row: loader.load(row.cell("image")))
        stream = RowStream[None](session, run, operator.name, operator.appended_schema())
        ((_, columns),) = stream.run([RowBatch(None, len(images), {"image": ObjectColumn(images)})])
        return columns

    # The tests' decoder does not resize. The loader resizes what a transform other than ``Resize`` gets.
    loader = ImageLoader(Access(), Limits(), Decoding(), lambda image: resize(image), Memory(2**29), pool)
    threads = ImageLoader(Access(), Limits(), Decoding(), resize, Memory(2**29))
    columns = enrich(loader, cells)
    good = [row for row, cell in enumerate(cells) if cell not in bad]
    alone = enrich(threads, [cells[row] for row in good])
    errors = columns.column("emotion_error").to_pylist()
    assert [error for error in errors if error] == [f"undecodable: {what}" for what in bad.values()]
    assert [error is None for error in errors] == [row in good for row in range(len(cells))]
    for name in operator.output_columns().probabilities:
        found = columns.column(name).take(pa.array(good)).to_numpy()
        np.testing.assert_allclose(found, alone.column(name).to_numpy(), atol=1e-6)


def test_processes_and_threads_give_the_same_table(tiny_model: str, tmp_path: Path) -> None:
    cells = [*every_mode().values(), *(cell for cell, _ in BAD_BYTES.values())]
    (tmp_path / "image.jpg").write_bytes(jpeg(5))
    paths = pa.table({"image": ["image.jpg", "gone.jpg", "../out.jpg", None]})
    for table in (pa.table({"image": pa.array(cells, pa.binary())}), paths):
        by_thread = ClassifyEmotions(model=tiny_model, access=Access(root=tmp_path))(table)
        by_process = ClassifyEmotions(
            model=tiny_model, access=Access(root=tmp_path), decoding=Decoding(isolation="process")
        )(table)
        assert by_process.equals(by_thread, check_metadata=True)


def test_a_checkpoints_own_transform_runs_in_this_process_and_gives_the_same_pixels() -> None:
    def own(image: object) -> np.ndarray:
        return Resize((20, 30), 3, None)(image)  # type: ignore[arg-type]  # in place of a processor of transformers

    loader = ImageLoader(Access(), Limits(), Decoding(), own, Memory(2**29))
    pool = decoder_pool(Decoding(isolation="process", memory=LIMIT), Limits(), own)
    isolated = ImageLoader(Access(), Limits(), Decoding(), own, Memory(2**29), pool)
    for encoded in (jpeg(1), every_mode()["orientation 6 JPEG"]):
        np.testing.assert_array_equal(isolated.load(encoded), loader.load(encoded))


def test_the_memory_of_an_image_in_a_worker_is_reserved_first() -> None:
    pool, asked = DecoderPool(ImageDecoder(Limits(), None), 30.0, LIMIT), []
    pool.decode(jpeg(0, 50, 40), asked.append)
    pool.close()
    assert asked == [50 * 40 * (5 + 12)]


def test_a_worker_that_died_while_idle_is_replaced_and_no_row_fails(pool: DecoderPool) -> None:
    pool.decode(jpeg(), lambda amount: None)
    [worker] = pool.processes()
    os.kill(worker, signal.SIGKILL)
    assert have_ended([worker])
    assert pool.decode(jpeg(), lambda amount: None).shape == (131, 97, 3)
    assert (pool.lost, pool.processes() == [worker]) == (0, False)


def test_workers_are_reused_and_load_neither_torch_nor_pyarrow(pool: DecoderPool) -> None:
    assert failure(pool, b"modules") == "the decoder failed (LookupError: numpy, PIL)"
    first = pool.processes()
    assert failure(pool, b"raise")
    assert pool.processes() == first


def test_output_of_native_code_is_not_shown(pool: DecoderPool, capfd: pytest.CaptureFixture[str]) -> None:
    assert pool.decode(b"print", lambda amount: None).shape == (2, 2, 3)
    assert capfd.readouterr() == ("", "")


ORPHANS = """
import sys, threading, time, hostile_decoders
from emotion_ops.images.isolation.pool import DecoderPool
pool = DecoderPool(hostile_decoders.decode, 600.0, 2**28)
pool.decode(b"print", lambda amount: None)
def work(what):
    try: pool.decode(what, lambda amount: None)
    except Exception: pass
for what in (b"hang", b"spin"):
    threading.Thread(target=work, args=[what], daemon=True).start()
while len(pool.processes()) < 2:
    time.sleep(0.01)
time.sleep(0.5)
print(*pool.processes(), flush=True)
time.sleep(600)
"""


@pytest.mark.kills
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_their_parent_even_while_a_decoder_hangs(how: signal.Signals) -> None:
    with run(ORPHANS, start_new_session=True) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        if how is signal.SIGINT:
            os.killpg(parent.pid, how)  # as a terminal does
        else:
            parent.send_signal(how)
        parent.wait()
    assert have_ended(workers)


STUCK = """
import dataclasses, sys, threading, time, hostile_decoders
from emotion_ops import Access, ClassifyEmotions, Decoding, Limits, Resources
from emotion_ops.images.isolation.pool import DecoderPool
from emotion_ops.images.loader import ImageLoader
from emotion_ops.images.memory import Memory
from emotion_ops.operators.classify.session import build_transform
from emotion_ops.operators.rows import ObjectColumn, RowBatch
from emotion_ops.operators.run import Run
from emotion_ops.operators.stream import RowStream
pool = DecoderPool(hostile_decoders.decode, 600.0, 2**28)
operator = ClassifyEmotions(model="demo", batch_size=1)
resize = build_transform(operator.load_engine().pixels)
run = Run(Resources(2**27, 3), Access(), Limits(), Decoding())
loader = ImageLoader(Access(), Limits(), Decoding(), lambda image: resize(image), Memory(2**28), pool, stop=run.stop)
session = dataclasses.replace(operator.start(run), prepare=lambda row: loader.load(row.cell("image")))
good, bad = sys.argv[1:3]
def rows(*cells):
    return RowBatch(None, len(cells), {"image": ObjectColumn(cells)})
def source():
    yield rows(open(good, "rb").read())
    yield rows(*[bad.encode()] * 3)
    while len(pool.processes()) < 3:
        time.sleep(0.01)
    print(*pool.processes(), flush=True)
    while True:
        yield rows(bad.encode())
stream = RowStream(session, run, operator.name, operator.appended_schema()).run(source())
next(stream)
print("ready", flush=True)
"""
ENDS = {
    "closed": "stream.close(); [thread.join() for thread in threading.enumerate() if 'prepare' in thread.name]",
    "left open": "raise SystemExit",
    "interrupted": "next(stream)",
}


@pytest.mark.kills
@pytest.mark.parametrize(("how", "bad"), [("closed", "hang"), ("left open", "spin"), ("interrupted", "hang")])
def test_a_stream_that_ends_while_decoders_hang_does_not_wait_for_them(how: str, bad: str, tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(jpeg())
    with run(STUCK + ENDS[how], arguments=[str(tmp_path / "good.jpg"), bad], start_new_session=True) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 3
        assert parent.stdout.readline() == "ready\n"
        if how == "interrupted":
            os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        try:
            parent.wait(60)  # the timeout is ten times as long
        finally:
            parent.kill()
    assert have_ended(workers)


def test_a_stream_that_ends_does_not_stop_the_decoders_of_other_streams(pool: DecoderPool) -> None:
    mine, theirs = Stop(), Stop()
    with ThreadPoolExecutor(2) as threads:
        hanging = [threads.submit(pool.decode, b"hang", lambda amount: None, stop) for stop in (mine, theirs)]
        while len(pool.processes()) < 2:
            time.sleep(0.01)
        mine()
        with pytest.raises(StoppedError):
            hanging[0].result()
        with pytest.raises(RowError, match=r"took longer than Decoding\.timeout=2"):
            hanging[1].result()
    with pytest.raises(StoppedError):
        pool.decode(jpeg(), lambda amount: None, mine)
    assert pool.lost == 1
    assert pool.decode(jpeg(), lambda amount: None).shape == (131, 97, 3)


SCRIPT = """
import os, pyarrow as pa
from emotion_ops import ClassifyEmotions
print("once")
operator = ClassifyEmotions(model="demo", decoding={"isolation": "process"})
table = pa.table({"image": [open("image.jpg", "rb").read()] * 3})
print(operator(table).column("emotion_error").null_count, flush=True)
child = os.fork()
if child == 0:
    print(operator(table).column("emotion_error").null_count, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(operator(table).column("emotion_error").null_count, flush=True)
"""


def test_a_script_needs_no_main_guard_and_may_fork(tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(jpeg())
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["once", "3", "3", "3"], "")


def test_a_worker_that_cannot_start_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(hostile_decoders.decode, 2.0, LIMIT)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OptionError, match="isolation='process' cannot be used: the decoding process did not start"):
        pool.decode(jpeg(), lambda amount: None)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    with pytest.raises(OptionError, match=r"did not start .*ModuleNotFoundError"):
        pool.decode(jpeg(), lambda amount: None)
