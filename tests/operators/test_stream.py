"""One slow image holds up no other, equal images are computed once, and answers stay those of a plain loop."""

from __future__ import annotations

import contextlib
import gc
import http.server
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st
from pictures import encode, jpeg, photo

from emotion_ops import ClassifyEmotions, RowError, RowErrorCode, RowFailedError
from emotion_ops.images.memory import ByteBudget
from emotion_ops.images.meter import Meter
from emotion_ops.operators.classify.session import build_transform, engine_of, flow_of, loader_of
from emotion_ops.operators.result_cache import AnswerMemory, Recall
from emotion_ops.operators.rows import Flow, Rows
from emotion_ops.operators.stream import answer

GOOD = [jpeg(seed, 40, 30) for seed in range(4)]
BAD: list[Any] = [None, b"", b"text", GOOD[0][:300]]


class Watched:
    """An engine that keeps the batches that it was given."""

    def __init__(self, engine: Any) -> None:
        self._engine, self.batches = engine, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(batch)
        return self._engine.predict(batch)


class Gate:
    """A local HTTP server that answers requests for /slow only when it is told to."""

    def __enter__(self) -> Gate:
        self.open, gate = threading.Event(), self
        self.requests: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gate.requests.append(self.path)
                if self.path.startswith("/slow"):
                    gate.open.wait(60)
                self.send_response(200)
                self.send_header("Content-Length", str(len(GOOD[0])))
                self.end_headers()
                self.wfile.write(GOOD[0])

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{path}"


def stream(operator: ClassifyEmotions, engine: Any, source: Any, recall: Recall | None = None, meter: Meter | None = None,
           on_failure: Callable[[int, RowError], None] = lambda row, error: None, *,
           read_ahead: bool = False) -> Iterator[Any]:  # fmt: skip
    loader = loader_of(operator, build_transform(engine.pixels), meter)
    return answer(source, engine, loader, flow_of(operator, engine), on_failure, recall, read_ahead=read_ahead)


def recall(rows: int = 64) -> Recall:
    return Recall(AnswerMemory(rows, 7))


def plain(operator: ClassifyEmotions, cells: list[Any]) -> tuple[np.ndarray, list[Any]]:
    """Each cell loaded and computed by itself, one after the other."""
    engine = engine_of(operator)
    loader, numbers, errors = loader_of(operator, build_transform(engine.pixels)), np.full((len(cells), 7), np.nan), []
    for row, cell in enumerate(cells):
        try:
            numbers[row] = engine.predict(loader.load(cell)[None])[0]
            errors.append(None)
        except RowError as error:
            errors.append(str(error))
    return numbers, errors


def test_a_slow_fetch_holds_up_no_other_row_and_comes_out_in_its_place(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, allow="http", allow_hosts="127.0.0.1", batch_size=4, threads=2)
    engine = Watched(engine_of(operator))
    with Gate() as gate:
        cells: list[Any] = [gate.url("slow"), *(jpeg(seed, 40, 30) for seed in range(60))]
        expected = plain(operator, cells[1:])[0]

        def rows() -> Iterator[Rows[int]]:
            for number, cell in enumerate(cells):
                if number == len(cells) - 1:  # the network has had rows behind the slow one, or this waits for ever
                    assert sum(map(len, engine.batches)) >= 40
                    gate.open.set()
                yield Rows(number, 1, lambda _, cell=cell: cell)

        answered = list(stream(operator, engine, rows()))
    assert [number for number, _ in answered] == list(range(61))
    np.testing.assert_allclose([answers.probabilities[0] for _, answers in answered[1:]], expected, atol=1e-6)
    np.testing.assert_allclose(answered[0][1].probabilities[0], expected[0], atol=1e-6)


def test_a_slow_row_near_the_end_lets_whole_batches_pass_it(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, allow="http", allow_hosts="127.0.0.1", batch_size=4, threads=2)
    with Gate() as gate:

        class Opening(Watched):
            def predict(self, batch: np.ndarray) -> np.ndarray:
                if self.batches:
                    gate.open.set()  # two batches have passed; were they to wait, the gate would stay shut
                return super().predict(batch)

        engine = Opening(engine_of(operator))
        cells: list[Any] = [gate.url("slow"), *(jpeg(seed, 40, 30) for seed in range(9))]
        ((_, answers),) = stream(operator, engine, [Rows(None, 10, lambda row: cells[row])])
    assert [len(batch) for batch in engine.batches] == [4, 4, 2]
    assert answers.errors == [None] * 10


def test_rows_run_only_so_far_ahead_of_a_slow_one_in_number_and_in_bytes(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, allow="http", allow_hosts="127.0.0.1", batch_size=1, threads=2)
    engine = engine_of(operator)

    def pulled(flow: Flow, cell: bytes) -> int:
        count = 0
        with Gate() as gate:

            def rows() -> Iterator[Rows[int]]:
                nonlocal count
                yield Rows(0, 1, lambda _: gate.url("slow"))
                for number in range(1, 10_000):
                    count = number
                    yield Rows(number, 1, lambda _: cell)

            threading.Timer(1.5, gate.open.set).start()
            next(answer(rows(), engine, loader_of(operator, build_transform(engine.pixels)), flow))
        return count

    window = Flow(1, 2, 2**20).ahead_rows  # once more, as the slow one goes through the network in the end
    assert pulled(Flow(1, 2, 2**20), GOOD[0]) <= 32 * window + window
    assert pulled(Flow(1, 2, 20 * len(GOOD[0])), GOOD[0]) <= 20 + window


def test_a_source_that_reads_slowly_holds_up_nothing_that_came_before(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, threads=2, answer_cache=0)
    came_out = [threading.Event() for _ in range(3)]
    pulled_by = set()

    def source() -> Iterator[Rows[int]]:
        for item in range(3):
            if item:
                assert came_out[item - 1].wait(30), "the item before was not answered while this one was read"
            pulled_by.add(threading.current_thread().name)
            yield Rows(item, 4, lambda row: jpeg(row, 40, 30))

    for item, answers in stream(operator, engine_of(operator), source(), read_ahead=True):
        assert answers.errors == [None] * 4
        came_out[item].set()
    assert came_out[-1].is_set()
    assert threading.current_thread().name not in pulled_by


def test_what_a_source_raises_comes_out_and_leaves_no_thread_behind(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, threads=2)

    def source() -> Iterator[Rows[int]]:
        yield Rows(0, 4, lambda row: jpeg(row, 40, 30))
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="the store is gone"):
        list(stream(operator, engine_of(operator), source(), read_ahead=True))
    assert not [one for one in threading.enumerate() if one.name.startswith("emotion-ops-read")]


def test_ctrl_c_ends_a_stream_whose_source_hangs_and_all_that_it_had_under_way(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, threads=2)
    hangs, released, waited_out = threading.Event(), threading.Event(), threading.Event()

    def source() -> Iterator[Rows[int]]:
        yield Rows(0, 4, lambda row: jpeg(row, 40, 30))
        hangs.set()
        if not released.wait(30):
            waited_out.set()

    def press() -> None:
        hangs.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(stream(operator, engine_of(operator), source(), read_ahead=True))
        assert not waited_out.is_set()
        left = [one.name for one in threading.enumerate() if one.name.startswith("emotion-ops")]
        assert left == ["emotion-ops-read"]
    finally:
        released.set()


def test_what_a_source_raised_holds_nothing_once_it_is_handled(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, threads=2)

    class Store:
        pass

    store = Store()
    held = weakref.ref(store)

    def source(store: Store) -> Iterator[Rows[int]]:
        yield Rows(0, 4, lambda row: jpeg(row, 40, 30))
        raise OSError("the store is gone")

    answers = stream(operator, engine_of(operator), source(store), read_ahead=True)
    del store
    gc.disable()
    try:
        with contextlib.suppress(OSError):
            list(answers)
        del answers
        assert held() is None
    finally:
        gc.enable()


def test_an_abandoned_stream_reads_no_further(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, threads=2)
    pulled: list[int] = []

    def source() -> Iterator[Rows[int]]:
        for item in range(100):
            pulled.append(item)
            yield Rows(item, 40, lambda row: jpeg(row, 40, 30))

    answers = stream(operator, engine_of(operator), source(), read_ahead=True)
    next(answers)
    answers.close()
    assert len(pulled) < 10
    assert not [one for one in threading.enumerate() if one.name.startswith("emotion-ops-read")]


def test_a_large_picture_among_small_ones_is_served_in_its_turn() -> None:
    budget, order = ByteBudget(100), []
    budget.take(60)

    def take(amount: int) -> None:
        budget.take(amount)
        order.append(amount)
        budget.release(amount)

    threads = []
    for amount in (90, 10, 20, 30):  # the small ones would fit now
        threads.append(threading.Thread(target=take, args=(amount,)))
        threads[-1].start()
        while len(budget._waiting) < len(threads):
            pass
    assert order == []
    budget.release(60)
    for thread in threads:
        thread.join()
    assert order[0] == 90
    assert len(order) == 4


def test_equal_runs_form_equal_batches_and_so_give_equal_bits(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=3, threads=4, answer_cache=0)
    cells = [encode(photo(0, 500, 400)) if seed % 5 == 0 else jpeg(seed, 40, 30) for seed in range(40)]
    first, again = (operator.columns_for(cells) for _ in range(2))
    assert first.equals(again)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_with_a_memory_of_any_size_answers_order_and_errors_are_those_of_a_plain_loop(
    tiny_model: str, data: Any
) -> None:
    cells = data.draw(st.lists(st.sampled_from([*GOOD, *BAD]), max_size=40))
    size = data.draw(st.integers(1, 9))
    operator = ClassifyEmotions(
        model=tiny_model, batch_size=data.draw(st.integers(1, 9)), threads=data.draw(st.integers(1, 4))
    )
    numbers, errors = plain(operator, cells)
    engine, failed, meter = Watched(engine_of(operator)), [], Meter(duplicates=True)
    memory = Recall(AnswerMemory(data.draw(st.sampled_from([0, 1, 3, 64])), 7))
    source = [Rows(start, len(cells[start : start + size]), lambda row, start=start: cells[start + row])
              for start in range(0, len(cells), size)]  # fmt: skip
    ahead = data.draw(st.booleans())
    out = list(stream(operator, engine, source, memory, meter, lambda row, error: failed.append(row), read_ahead=ahead))
    assert [item for item, _ in out] == [rows.item for rows in source]
    assert [error and str(error) for _, answers in out for error in answers.errors] == errors
    assert failed == [row for row, error in enumerate(errors) if error is not None]
    for start, answers in out:
        for row, found in enumerate(answers.probabilities):
            if errors[start + row] is None:
                np.testing.assert_allclose(found, numbers[start + row], atol=1e-6)
    measured, computed = meter.take(), sum(map(len, engine.batches))
    assert computed + measured.recalled + len(failed) == len(cells)
    encoded = [cell for cell in cells if cell]
    assert measured.duplicates == len(encoded) - len(set(encoded)) + max(0, cells.count(b"") - 1)


@given(st.lists(st.sampled_from([*GOOD, *BAD]), min_size=1, max_size=30), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_raise_names_the_first_row_that_fails_and_drop_leaves_out_those_alone(
    tiny_model: str, cells: list[Any], size: int
) -> None:
    table = pa.table({"image": pa.array(cells, pa.binary())})
    options = {"model": tiny_model, "batch_size": size}
    errors = ClassifyEmotions(**options, answer_cache=0)(table)["emotion_error"].to_pylist()
    first = next((row for row, error in enumerate(errors) if error is not None), None)
    dropped = ClassifyEmotions(**options, on_error="drop")(table)
    assert dropped["image"].to_pylist() == [cell for cell, error in zip(cells, errors, strict=True) if error is None]
    if first is None:
        ClassifyEmotions(**options, on_error="raise")(table)
    else:
        with pytest.raises(RowFailedError) as caught:
            ClassifyEmotions(**options, on_error="raise")(table)
        assert caught.value.row == first


def test_equal_images_are_computed_once_and_have_the_very_same_numbers(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=5)
    engine = Watched(engine_of(operator))
    cells = [GOOD[row % 3] for row in range(50)]
    ((_, answers),) = stream(operator, engine, [Rows(None, 50, lambda row: cells[row])], recall())
    assert sum(map(len, engine.batches)) == 3
    for row in range(50):
        assert answers.probabilities[row].tobytes() == answers.probabilities[row % 3].tobytes()


def test_equal_images_are_sent_to_a_decoding_process_once(tiny_model: str) -> None:
    operator, meter = ClassifyEmotions(model=tiny_model, isolation="process", threads=1, max_frames=77), Meter()
    cells = pa.array([GOOD[0], GOOD[1], GOOD[0], GOOD[1], GOOD[0]], pa.binary())
    ((_, found),) = operator.answer_each([(None, cells)], meter)
    assert meter.take().recalled == 3
    assert found.to_pylist() == [found.to_pylist()[row] for row in (0, 1, 0, 1, 0)]


def test_an_endless_stream_of_one_image_is_answered_as_it_comes(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=8)
    pulled = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pa.record_batch({"image": pa.array([GOOD[0]] * 10, pa.binary())})

    out = operator.stream(batches())
    for _ in range(300):
        assert next(out).column("emotion").null_count == 0
    assert pulled < 300 + 32 * (2 * 8 + 2 * 4)
    out.close()


def test_an_answer_is_for_equal_options_alone(tiny_model: str) -> None:
    cells = [jpeg(77, 400, 300)]
    exact = ClassifyEmotions(model=tiny_model).columns_for(cells)
    assert ClassifyEmotions(model=tiny_model).columns_for(cells).equals(exact)
    assert not ClassifyEmotions(model=tiny_model, decode="fast").columns_for(cells).equals(exact)
    refused = ClassifyEmotions(model=tiny_model, max_pixels=1000).columns_for(cells)
    assert refused["emotion_error"][0].as_py().startswith("too_large")
    assert ClassifyEmotions(model="demo").columns_for(cells)["emotion_happy"] != exact["emotion_happy"]


def test_a_row_whose_equal_failed_is_tried_itself(tiny_model: str) -> None:
    """What failed may have been the machine: a decoder that was killed, say."""
    operator = ClassifyEmotions(model=tiny_model, batch_size=4, threads=4)
    engine, tries, claims = engine_of(operator), 0, threading.Semaphore(0)
    transform, lock = build_transform(engine.pixels), threading.Lock()

    class Counting(Recall):
        def claim(self, digest: bytes) -> Any:
            claimed = super().claim(digest)
            claims.release()
            return claimed

    def unlucky(picture: Any) -> np.ndarray:
        nonlocal tries
        with lock:
            tries += 1
            is_first = tries == 1
        if is_first:
            for _ in range(5):  # until the others wait for this one
                claims.acquire()
            raise RowError(RowErrorCode.UNDECODABLE, "the decoder was killed")
        return transform(picture)

    loader, failed = loader_of(operator, unlucky), []
    memory = Counting(AnswerMemory(64, 7))
    ((_, answers),) = answer([Rows(None, 5, lambda row: GOOD[0])], engine, loader, flow_of(operator, engine),
                             lambda row, error: failed.append(row), memory)  # fmt: skip
    assert len(failed) == 1
    assert [error is not None for error in answers.errors].count(True) == 1
    assert tries == 5


def test_paths_are_known_by_what_lies_there_and_not_by_their_names(tiny_model: str, tmp_path: Any) -> None:
    operator = ClassifyEmotions(model=tiny_model)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(jpeg(5, 40, 40))
    first = operator.columns_for([str(tmp_path / "a"), str(tmp_path / "b")])
    assert first["emotion_happy"][0] == first["emotion_happy"][1]
    (tmp_path / "a").write_bytes(jpeg(6, 40, 40))
    assert operator.columns_for([str(tmp_path / "a")])["emotion_happy"][0] != first["emotion_happy"][0]
    (tmp_path / "a").unlink()
    assert operator.columns_for([str(tmp_path / "a")])["emotion_error"][0].as_py().startswith("not_found")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1000)), max_size=200), st.integers(0, 40))
def test_the_memory_gives_what_was_put_or_nothing_and_holds_no_more_than_its_rows(
    puts: list[tuple[int, int]], rows: int
) -> None:
    memory, put = AnswerMemory(rows, 2), {}
    for name, value in puts:
        digest = (name * 0x9E3779B97F4A7C15 % 2**128).to_bytes(16, "little")
        if memory.get(digest) is None:
            memory.put(digest, np.array([name, value], np.float32))
            put[digest] = (name, value)
    held = {digest: memory.get(digest) for digest in put}
    assert all(found is None or tuple(found) == put[digest] for digest, found in held.items())
    assert sum(found is not None for found in held.values()) <= rows
    assert len(put) <= 1 or rows == 0 or any(found is not None for found in held.values())
