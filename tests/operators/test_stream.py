"""A slow row delays no other, equal images are computed once, and results equal those of a plain loop."""

from __future__ import annotations

import contextlib
import dataclasses
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

from emotion_ops import (
    Access,
    ClassifyEmotions,
    Decoding,
    Limits,
    OperatorError,
    Resources,
    RowError,
    RowErrorCode,
    RowFailedError,
)
from emotion_ops.images.memory import ByteBudget
from emotion_ops.images.meter import Meter
from emotion_ops.operators.flow import Flow
from emotion_ops.operators.result_cache import ResultCache
from emotion_ops.operators.rows import ArrowColumn, ObjectColumn, Parts, Row, RowBatch
from emotion_ops.operators.session import Session
from emotion_ops.operators.stream import RowStream

GOOD = [jpeg(seed, 40, 30) for seed in range(4)]
BAD: list[Any] = [None, b"", b"text", GOOD[0][:300]]


class Watched:
    """The compute step of an operator, which remembers the batches that it got."""

    def __init__(self, operator: ClassifyEmotions) -> None:
        self._compute, self.batches = session_of(operator).compute, []

    def __call__(self, items: Any) -> Any:
        self.batches.append(items)
        return self._compute(items)


class Gate:
    """A local HTTP server that answers requests for /slow only after ``open`` is set."""

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


def session_of(operator: ClassifyEmotions) -> Session:
    return operator.start(operator.new_run())


def rows(item: Any, cells: list[Any]) -> RowBatch[Any]:
    return RowBatch(item, len(cells), {"image": ObjectColumn(cells)})


def stream(operator: ClassifyEmotions, compute: Any, source: Any, cache: ResultCache | None = None,
           meter: Meter | None = None, on_failure: Callable[[int, RowError], None] | None = None, *,
           read_ahead: bool = False) -> Iterator[Any]:  # fmt: skip
    run = operator.new_run(meter)
    session = operator.start(run)
    session = dataclasses.replace(session, compute=compute or session.compute)
    one = RowStream[Any](session, run, operator.name, operator.appended_schema(), cache, on_failure)
    return one.run(source, read_ahead=read_ahead)


def probabilities(operator: ClassifyEmotions, columns: pa.RecordBatch | pa.Table) -> np.ndarray:
    names = operator.output_columns().probabilities
    return np.stack([columns.column(name).to_numpy(zero_copy_only=False) for name in names], axis=1)


def errors_in(columns: pa.RecordBatch | pa.Table) -> list[str | None]:
    return columns.column(columns.num_columns - 1).to_pylist()


def plain(operator: ClassifyEmotions, cells: list[Any]) -> tuple[np.ndarray, list[Any]]:
    """Each cell prepared and computed by itself, one after the other."""
    session, run, numbers, errors = session_of(operator), operator.new_run(), np.full((len(cells), 7), np.nan), []
    for row, cell in enumerate(cells):
        try:
            item = session.prepare(Row.from_values({"image": cell}, run))
            numbers[row] = session.compute([item])[0]
            errors.append(None)
        except RowError as error:
            errors.append(str(error))
    return numbers, errors


def test_a_slow_fetch_delays_no_other_row_and_comes_out_in_its_place(tiny_model: str) -> None:
    operator = ClassifyEmotions(
        model=tiny_model,
        access=Access(allow="http", allow_hosts="127.0.0.1"),
        batch_size=4,
        resources=Resources(threads=2),
    )
    compute = Watched(operator)
    with Gate() as gate:
        cells: list[Any] = [gate.url("slow"), *(jpeg(seed, 40, 30) for seed in range(60))]
        expected = plain(operator, cells[1:])[0]

        def source() -> Iterator[RowBatch[int]]:
            for number, cell in enumerate(cells):
                if number == len(cells) - 1:  # the network has had rows behind the slow one, or this waits for ever
                    assert sum(map(len, compute.batches)) >= 40
                    gate.open.set()
                yield rows(number, [cell])

        answered = list(stream(operator, compute, source()))
    assert [number for number, _ in answered] == list(range(61))
    np.testing.assert_allclose(
        [probabilities(operator, columns)[0] for _, columns in answered[1:]], expected, atol=1e-6
    )
    np.testing.assert_allclose(probabilities(operator, answered[0][1])[0], expected[0], atol=1e-6)


def test_whole_batches_are_computed_before_a_slow_row_near_the_end(tiny_model: str) -> None:
    operator = ClassifyEmotions(
        model=tiny_model,
        access=Access(allow="http", allow_hosts="127.0.0.1"),
        batch_size=4,
        resources=Resources(threads=2),
    )
    with Gate() as gate:

        class Opening(Watched):
            def __call__(self, items: Any) -> Any:
                if self.batches:
                    gate.open.set()  # two batches have passed; if they waited, the gate would stay shut
                return super().__call__(items)

        compute = Opening(operator)
        cells: list[Any] = [gate.url("slow"), *(jpeg(seed, 40, 30) for seed in range(9))]
        ((_, columns),) = stream(operator, compute, [rows(None, cells)])
    assert [len(batch) for batch in compute.batches] == [4, 4, 2]
    assert errors_in(columns) == [None] * 10


def test_the_number_and_bytes_of_rows_that_are_read_behind_a_slow_one_are_bounded(tiny_model: str) -> None:
    operator = ClassifyEmotions(
        model=tiny_model,
        access=Access(allow="http", allow_hosts="127.0.0.1"),
        batch_size=1,
        resources=Resources(threads=2),
    )

    def pulled(memory: int, cell: bytes) -> int:
        count = 0
        limited = dataclasses.replace(operator, resources=Resources(threads=2, memory=memory))
        with Gate() as gate:

            def source() -> Iterator[RowBatch[int]]:
                nonlocal count
                yield rows(0, [gate.url("slow")])
                for number in range(1, 10_000):
                    count = number
                    yield rows(number, [cell])

            threading.Timer(1.5, gate.open.set).start()
            next(stream(limited, None, source()))
        return count

    window = Flow(1, 2, 2**20).window  # once more, as the slow one is computed in the end
    assert pulled(2**21, GOOD[0]) <= 32 * window + window
    assert pulled(2 * 20 * len(GOOD[0]), GOOD[0]) <= 20 + 2 * window


def test_a_slow_source_does_not_delay_batches_that_were_read_before(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, resources=Resources(threads=2), cache=0)
    came_out = [threading.Event() for _ in range(3)]
    pulled_by = set()

    def source() -> Iterator[RowBatch[int]]:
        for item in range(3):
            if item:
                assert came_out[item - 1].wait(30), "the item before was not answered while this one was read"
            pulled_by.add(threading.current_thread().name)
            yield rows(item, [jpeg(row, 40, 30) for row in range(4)])

    for item, columns in stream(operator, None, source(), read_ahead=True):
        assert errors_in(columns) == [None] * 4
        came_out[item].set()
    assert came_out[-1].is_set()
    assert threading.current_thread().name not in pulled_by


def test_what_a_source_raises_is_raised_and_no_thread_is_left(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, resources=Resources(threads=2))

    def source() -> Iterator[RowBatch[int]]:
        yield rows(0, [jpeg(row, 40, 30) for row in range(4)])
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="the store is gone"):
        list(stream(operator, None, source(), read_ahead=True))
    assert not [one for one in threading.enumerate() if one.name.startswith("emotion-ops-read")]


def test_ctrl_c_stops_a_stream_whose_source_hangs_and_all_of_its_work(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, resources=Resources(threads=2))
    hangs, released, waited_out = threading.Event(), threading.Event(), threading.Event()

    def source() -> Iterator[RowBatch[int]]:
        yield rows(0, [jpeg(row, 40, 30) for row in range(4)])
        hangs.set()
        if not released.wait(30):
            waited_out.set()

    def press() -> None:
        hangs.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(stream(operator, None, source(), read_ahead=True))
        assert not waited_out.is_set()
        left = [one.name for one in threading.enumerate() if one.name.startswith("emotion-ops")]
        assert left == ["emotion-ops-read"]
    finally:
        released.set()


def test_an_error_of_a_source_refers_to_nothing_after_it_was_handled(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, resources=Resources(threads=2))

    class Store:
        pass

    store = Store()
    held = weakref.ref(store)

    def source(store: Store) -> Iterator[RowBatch[int]]:
        yield rows(0, [jpeg(row, 40, 30) for row in range(4)])
        raise OSError("the store is gone")

    answers = stream(operator, None, source(store), read_ahead=True)
    del store
    gc.disable()
    try:
        with contextlib.suppress(OSError):
            list(answers)
        del answers
        assert held() is None
    finally:
        gc.enable()


def test_a_closed_stream_reads_no_further(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=2, resources=Resources(threads=2))
    pulled: list[int] = []

    def source() -> Iterator[RowBatch[int]]:
        for item in range(100):
            pulled.append(item)
            yield rows(item, [jpeg(row, 40, 30) for row in range(40)])

    answers = stream(operator, None, source(), read_ahead=True)
    next(answers)
    answers.close()
    assert len(pulled) < 10
    assert not [one for one in threading.enumerate() if one.name.startswith("emotion-ops-read")]


def test_a_large_reservation_is_served_in_its_turn_among_small_ones() -> None:
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


def test_equal_runs_form_equal_batches_and_give_equal_bits(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=3, resources=Resources(threads=4), cache=0)
    cells = [encode(photo(0, 500, 400)) if seed % 5 == 0 else jpeg(seed, 40, 30) for seed in range(40)]
    first, again = (operator.append_columns({"image": cells}) for _ in range(2))
    assert first.equals(again)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_with_a_cache_of_any_size_results_order_and_errors_are_those_of_a_plain_loop(
    tiny_model: str, data: Any
) -> None:
    cells = data.draw(st.lists(st.sampled_from([*GOOD, *BAD]), max_size=40))
    size = data.draw(st.integers(1, 9))
    operator = ClassifyEmotions(
        model=tiny_model,
        batch_size=data.draw(st.integers(1, 9)),
        resources=Resources(threads=data.draw(st.integers(1, 4))),
    )
    numbers, errors = plain(operator, cells)
    compute, failed, meter = Watched(operator), [], Meter()
    cache = ResultCache(data.draw(st.sampled_from([1, 3, 64])))
    source = [rows(start, cells[start : start + size]) for start in range(0, len(cells), size)]
    ahead = data.draw(st.booleans())
    out = list(stream(operator, compute, source, cache, meter, lambda row, error: failed.append(row), read_ahead=ahead))
    assert [item for item, _ in out] == [batch.item for batch in source]
    assert [error for _, columns in out for error in errors_in(columns)] == errors
    assert failed == [row for row, error in enumerate(errors) if error is not None]
    for start, columns in out:
        for row, found in enumerate(probabilities(operator, columns)):
            if errors[start + row] is None:
                np.testing.assert_allclose(found, numbers[start + row], atol=1e-6)
    computed = sum(map(len, compute.batches))
    assert computed + meter.take().cached + len(failed) == len(cells)


@given(st.lists(st.sampled_from([*GOOD, *BAD]), min_size=1, max_size=30), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_raise_names_the_first_failed_row_and_drop_removes_only_failed_rows(
    tiny_model: str, cells: list[Any], size: int
) -> None:
    table = pa.table({"image": pa.array(cells, pa.binary())})
    options = {"model": tiny_model, "batch_size": size}
    errors = ClassifyEmotions(**options, cache=0)(table)["emotion_error"].to_pylist()
    first = next((row for row, error in enumerate(errors) if error is not None), None)
    dropped = ClassifyEmotions(**options, on_error="drop")(table)
    assert dropped["image"].to_pylist() == [cell for cell, error in zip(cells, errors, strict=True) if error is None]
    if first is None:
        ClassifyEmotions(**options, on_error="raise")(table)
    else:
        with pytest.raises(RowFailedError) as caught:
            ClassifyEmotions(**options, on_error="raise")(table)
        assert caught.value.row == first


def test_equal_images_are_computed_once_and_have_equal_bits(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model, batch_size=5)
    compute = Watched(operator)
    cells = [GOOD[row % 3] for row in range(50)]
    ((_, columns),) = stream(operator, compute, [rows(None, cells)], ResultCache(64))
    assert sum(map(len, compute.batches)) == 3
    found = probabilities(operator, columns)
    for row in range(50):
        assert found[row].tobytes() == found[row % 3].tobytes()


def test_equal_images_are_sent_to_a_decoding_process_once(tiny_model: str) -> None:
    operator, meter = (
        ClassifyEmotions(
            model=tiny_model,
            decoding=Decoding(isolation="process"),
            resources=Resources(threads=1),
            limits=Limits(max_frames=77),
        ),
        Meter(),
    )
    cells = pa.array([GOOD[0], GOOD[1], GOOD[0], GOOD[1], GOOD[0]], pa.binary())
    ((_, found),) = operator.run([(None, pa.record_batch({"image": cells}))], meter)
    assert meter.take().cached == 3
    assert found.to_pylist() == [found.to_pylist()[row] for row in (0, 1, 0, 1, 0)]


def test_rows_of_an_endless_stream_of_one_image_come_out_while_it_is_read(tiny_model: str) -> None:
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


def test_a_result_is_not_reused_by_other_options(tiny_model: str) -> None:
    cells = [jpeg(77, 400, 300)]
    exact = ClassifyEmotions(model=tiny_model).append_columns({"image": cells})
    assert ClassifyEmotions(model=tiny_model).append_columns({"image": cells}).equals(exact)
    assert (
        not ClassifyEmotions(model=tiny_model, decoding=Decoding(mode="fast"))
        .append_columns({"image": cells})
        .equals(exact)
    )
    refused = ClassifyEmotions(model=tiny_model, limits=Limits(max_pixels=1000)).append_columns({"image": cells})
    assert refused["emotion_error"][0].as_py().startswith("too_large")
    assert ClassifyEmotions(model="demo").append_columns({"image": cells})["emotion_happy"] != exact["emotion_happy"]


def test_a_row_is_prepared_itself_if_the_equal_one_failed(tiny_model: str) -> None:
    """What failed may have been the machine: a decoder that was killed, for example."""
    operator, run = ClassifyEmotions(model=tiny_model, batch_size=4, resources=Resources(threads=4)), None
    tries, looked_up, lock = 0, threading.Semaphore(0), threading.Lock()

    class Counting(ResultCache):
        def get(self, digest: bytes) -> Any:
            looked_up.release()
            return super().get(digest)

    run = operator.new_run()
    session, failed = operator.start(run), []

    def unlucky(row: Row) -> Any:
        nonlocal tries
        item = session.prepare(row)
        with lock:
            tries += 1
            is_first = tries == 1
        if is_first:
            for _ in range(5):  # until the others wait for this one
                looked_up.acquire()
            raise RowError(RowErrorCode.UNDECODABLE, "the decoder was killed")
        return item

    one = RowStream[Any](dataclasses.replace(session, prepare=unlucky), run, "test", operator.appended_schema(),
                         Counting(64), lambda row, error: failed.append(row))  # fmt: skip
    ((_, columns),) = one.run([rows(None, [GOOD[0]] * 5)])
    assert len(failed) == 1
    assert [error is not None for error in errors_in(columns)].count(True) == 1
    assert tries == 5


def test_results_of_paths_are_reused_by_the_content_of_the_files(tiny_model: str, tmp_path: Any) -> None:
    operator = ClassifyEmotions(model=tiny_model)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(jpeg(5, 40, 40))
    first = operator.append_columns({"image": [str(tmp_path / "a"), str(tmp_path / "b")]})
    assert first["emotion_happy"][0] == first["emotion_happy"][1]
    (tmp_path / "a").write_bytes(jpeg(6, 40, 40))
    assert operator.append_columns({"image": [str(tmp_path / "a")]})["emotion_happy"][0] != first["emotion_happy"][0]
    (tmp_path / "a").unlink()
    assert operator.append_columns({"image": [str(tmp_path / "a")]})["emotion_error"][0].as_py().startswith("not_found")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1000)), max_size=200), st.integers(1, 40))
def test_the_cache_returns_what_was_put_or_nothing_and_has_at_most_its_rows(
    puts: list[tuple[int, int]], size: int
) -> None:
    cache, last = ResultCache(size), {}
    for name, value in puts:
        digest = name.to_bytes(16, "little")
        cache.put(digest, value)
        last[digest] = value
    found = {digest: cache.get(digest) for digest in last}
    assert all(value is None or value == last[digest] for digest, value in found.items())
    assert sum(value is not None for value in found.values()) == min(size, len(last))


def test_items_of_several_rows_share_batches_and_a_row_may_have_none(
    tiny_model: str,
) -> None:
    operator = ClassifyEmotions(model=tiny_model)
    sizes = [3, 0, 5, 1, 0, 7]
    batches: list[list[int]] = []

    def compute(items: Any) -> Any:
        batches.append(list(items))
        return [item * 10 for item in items]

    session = Session(
        prepare=lambda row: Parts([row["image"] * 100 + part for part in range(sizes[row["image"]])], row["image"]),
        compute=compute,
        finish=lambda results: [pa.array([sum(one.results) for one in results]),
                                pa.array([one.context for one in results])],
        batch_size=4,
        max_parts=7,
    )  # fmt: skip
    schema = pa.schema({"sum": pa.int64(), "row": pa.int64(), "error": pa.string()})
    stream_ = RowStream[Any](session, operator.new_run(), "test", schema)
    ((_, columns),) = stream_.run([rows(None, list(range(6)))])
    expected = [sum(10 * (row * 100 + part) for part in range(size)) for row, size in enumerate(sizes)]
    assert columns.column("sum").to_pylist() == expected
    assert columns.column("row").to_pylist() == list(range(6))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4]


def test_compute_does_not_run_far_ahead_of_results_that_are_being_finished() -> None:
    """A killed process loses what it computed and did not finish."""
    has_run_ahead, ran_ahead, computed = threading.Event(), list[bool](), list[Any]()

    def compute(items: Any) -> Any:
        computed.append(list(items))
        if len(computed) > 3:
            has_run_ahead.set()
        return items

    def finish(results: Any) -> list[pa.Array]:
        if results[0] == 0:
            ran_ahead.append(has_run_ahead.wait(0.5))
        return [pa.array(results)]

    session = Session(lambda row: row["image"], compute, finish, batch_size=4)
    schema = pa.schema({"number": pa.int64(), "error": pa.string()})
    run = ClassifyEmotions(model="demo", resources=Resources(threads=2)).new_run()
    batches = [rows(None, list(range(start, start + 4))) for start in range(0, 400, 4)]
    found = [columns for _, columns in RowStream[Any](session, run, "test", schema).run(batches)]
    assert ran_ahead == [False]
    assert pa.Table.from_batches(found)["number"].to_pylist() == list(range(400))


def test_an_operator_that_gives_too_few_results_is_named(tiny_model: str) -> None:
    operator = ClassifyEmotions(model=tiny_model)
    with pytest.raises(OperatorError, match=r"classify.*compute gave 1 results for 2 items"):
        list(stream(operator, lambda items: [items[0]], [rows(None, GOOD[:2])]))


def test_a_large_batch_is_finished_in_parts_and_comes_out_whole(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"image": pa.array([GOOD[row % 4] if row % 9 else None for row in range(50)], pa.binary())})
    operator = ClassifyEmotions(model=tiny_model)
    whole, (batch,) = operator(table), table.to_batches()
    monkeypatch.setattr(ClassifyEmotions, "max_rows", 7)
    assert operator(batch).equals(whole.combine_chunks().to_batches()[0])
    assert operator(table).equals(whole)
    assert operator.append_columns({"image": table["image"].to_pylist()}).equals(whole.drop(["image"]))
    with pytest.raises(RowFailedError) as caught:
        dataclasses.replace(operator, on_error="raise")(table.slice(1))
    assert caught.value.row == 8


def test_a_slice_of_views_counts_the_bytes_of_its_own_rows() -> None:
    cells = pa.array([bytes(1000)] * 100, pa.binary_view())
    for array in (cells[10:20], pa.StructArray.from_arrays([cells], ["bytes"])[10:20], pa.array([bytes(1000)] * 10)):
        assert 1000 <= ArrowColumn("image", array).nbytes(0) < 1100
    assert ArrowColumn("image", cells[:0]).nbytes(0) == 0
