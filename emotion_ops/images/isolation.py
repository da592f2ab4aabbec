"""Decoding in watched processes: a decoder that crashes, hangs or fills memory costs its image alone.

A worker is a fresh interpreter that runs ``emotion_ops.images.worker`` and decodes one image at a time for one of
the loading threads, so that nothing is queued on a worker that dies. ``multiprocessing`` is of no use here: it
would run the user's main script again in each worker, or fork threads and a GPU context along.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  # its hook at the end must be there before ours, to run after it
import contextlib
import functools
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import OptionError, RowError, RowErrorCode
from emotion_ops.images.wire import ClosedError, Kind, receive, send

if TYPE_CHECKING:
    from emotion_ops.images.decoder import Decoder
    from emotion_ops.io.bounded import Reserve

_STARTING = 120.0  # seconds: a cold disk, a busy machine
_ENDING = 5.0


class StoppedError(Exception):
    """What was asked for is not wanted any more."""


class Stop:
    """Calls off what is under way in other threads, and whatever they begin afterwards."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._called = False
        self._under_way: list[Callable[[], None]] = []

    def __call__(self) -> None:
        """Stop, for good."""
        with self._lock:
            self._called = True
            for interrupt in self._under_way:
                interrupt()

    def check(self) -> None:
        """Raise ``StoppedError`` if it was called."""
        if self._called:
            raise StoppedError

    @contextlib.contextmanager
    def calls(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Have the block interrupted; raises ``StoppedError`` if that happens or has happened, whatever came of it."""
        with self._lock:
            self.check()
            self._under_way.append(interrupt)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.remove(interrupt)
                self.check()


class DecoderPool:
    """Workers that decode, started as they are needed and replaced when they die.

    May be used from many threads: there are as many workers as threads that decode at the same time.

    Args:
        decoder: What a worker does with an image: a function of a module, or a picklable value.
        timeout: Seconds that one image may take.
        memory: Bytes that a worker may fill above what it has when it starts; held by Linux alone.

    Attributes:
        lost: Workers that an image has ended.

    Raises:
        OptionError: This system is not POSIX.
    """

    def __init__(self, decoder: Decoder, timeout: float, memory: int) -> None:
        if os.name != "posix":
            raise _cannot_start(f"it needs a POSIX system, and this is {sys.platform}")
        self._setup = pickle.dumps((decoder, timeout, memory))
        self._timeout, self._memory = timeout, memory
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._ended = Stop()
        self.lost = 0
        self.close = weakref.finalize(self, _close, self._all)  # at the interpreter's end, too
        _living.add(self)

    def decode(self, encoded: bytes | memoryview, reserve: Reserve, stop: Stop | None = None) -> NDArray[np.uint8]:
        """Decode one image in a worker.

        Args:
            encoded: A whole image file.
            reserve: Told of the bytes that the decoded picture takes, before it does; may wait.
            stop: Ends the worker, and with it the wait for the image, when it is called.

        Returns:
            uint8 (height, width, 3), RGB, as the decoder gives it.

        Raises:
            RowError: The decoder's own, or ``undecodable``: it crashed, took too long or too much memory.
            OptionError: No worker can be started here.
            StoppedError: It was stopped.
        """
        stop = stop or Stop()
        stop.check()
        self._ended.check()
        worker = self._take()
        try:
            with stop.calls(worker.interrupt), self._ended.calls(worker.interrupt):
                pixels = worker.decode(encoded, reserve, self._timeout, self._memory)
        except RowError:
            self._idle.append(worker)
            raise
        except _LostError as lost:
            self._end(worker)
            self.lost += 1
            raise RowError(RowErrorCode.UNDECODABLE, str(lost)) from None
        except BaseException:
            self._end(worker)
            raise
        self._idle.append(worker)
        return pixels

    def end(self) -> None:
        """End what is being decoded, for good: the interpreter is about to wait for the threads that wait for it."""
        self._ended()

    def processes(self) -> list[int]:
        """The process numbers of the workers."""
        return [worker.number for worker in list(self._all)]

    def _take(self) -> _Worker:
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:
                worker = _Worker(self._setup)
                self._all.add(worker)
                return worker
            if worker.alive():
                return worker
            self._end(worker)  # it died in its sleep, of no image's doing

    def _end(self, worker: _Worker) -> None:
        worker.kill()
        self._all.discard(worker)

    def abandon(self) -> None:
        """Let go of the workers without ending them: what a forked child does with its parent's."""
        for worker in self._all:
            worker.forsake()
        self._all.clear()
        self._idle.clear()
        self._ended = Stop()


@functools.lru_cache(maxsize=16)
def shared_pool(decoder: Decoder, timeout: float, memory: int) -> DecoderPool:
    """The pool of these options, one a process; see ``DecoderPool``."""
    return DecoderPool(decoder, timeout, memory)


class _LostError(Exception):
    """The worker is gone, or must go."""


class _Worker:
    """One process, and this side of its socket."""

    def __init__(self, setup: bytes) -> None:
        self._socket, theirs = socket.socketpair()
        lifeline, kept = os.pipe()
        self._lifeline = os.fdopen(kept, "wb", buffering=0)  # nothing is written: the worker ends when it closes
        command = [sys.executable, "-P", "-m", "emotion_ops.images.worker", str(theirs.fileno()), str(lifeline)]
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **one_thread, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), lifeline),
            )
        except OSError as error:
            self.hang_up()
            raise _cannot_start(str(error)) from None
        finally:
            theirs.close()
            os.close(lifeline)
        try:
            send(self._socket, Kind.SETUP, setup, _STARTING)
            receive(self._socket, 0, _STARTING)
        except (ClosedError, TimeoutError) as error:
            self._process.kill()
            said = self._process.communicate()[1].decode(errors="replace").strip().splitlines()
            self.hang_up()
            raise _cannot_start(said[-1] if said else repr(error)) from None
        assert self._process.stderr is not None
        self._process.stderr.close()

    def decode(self, encoded: bytes | memoryview, reserve: Reserve, timeout: float, most: int) -> NDArray[np.uint8]:
        try:
            send(self._socket, Kind.IMAGE, encoded, timeout)
            kind, payload = receive(self._socket, most, timeout)
            while kind is Kind.NEED:
                reserve(int.from_bytes(payload, "little"))
                send(self._socket, Kind.GO, timeout=timeout)
                kind, payload = receive(self._socket, most, timeout)
            if kind is Kind.FAILED:
                code, _, detail = payload.decode().partition("\0")
                raise RowError(RowErrorCode(code), detail)
            return _pixels(kind, payload)
        except TimeoutError:
            raise _LostError(f"the decoder took longer than decode_timeout={timeout:g} seconds") from None
        except ValueError as error:
            raise _LostError(f"the decoder's process answered nonsense ({error})") from None
        except ClosedError as error:
            raise _LostError(self._how_it_ended(error)) from None

    @property
    def number(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        """End the process; the thread that waits for its answer finds out. May be called from any other."""
        self._process.kill()

    def kill(self) -> None:
        self.hang_up()
        self._process.kill()
        self._process.wait()

    def hang_up(self) -> None:
        """Close this side, at which the worker ends."""
        self._socket.close()
        self._lifeline.close()

    def forsake(self) -> None:
        """Hang up on a worker that is another process's child."""
        self.hang_up()
        self._process.returncode = 0  # nothing to wait for

    def wait(self) -> None:
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self.kill()

    def _how_it_ended(self, error: Exception) -> str:
        try:
            code = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return f"the decoder's process answered nonsense ({error})"
        if code == -signal.SIGKILL:
            return "the decoder's process was killed (signal 9): the machine may be out of memory"
        if code < 0:
            return f"the decoder crashed (signal {-code}, {signal.strsignal(-code)})"
        return f"the decoder's process ended with code {code}"


def _pixels(kind: Kind, payload: bytearray) -> NDArray[np.uint8]:
    if kind is not Kind.PIXELS or len(payload) < 16:
        raise ValueError(f"{kind.name} of {len(payload):,} bytes")
    height, width = (int.from_bytes(payload[start : start + 8], "little") for start in (0, 8))
    if len(payload) != 16 + height * width * 3:
        raise ValueError(f"{len(payload):,} bytes for {height:,} × {width:,} pixels")
    return np.frombuffer(payload, np.uint8, offset=16).reshape(height, width, 3)


def _cannot_start(why: str) -> OptionError:
    return OptionError("isolation", "process", f"the decoding process did not start ({why}); give 'thread'")


def _close(workers: set[_Worker]) -> None:
    ending = list(workers)
    workers.clear()
    for worker in ending:
        worker.hang_up()
    for worker in ending:
        worker.wait()


_living: weakref.WeakSet[DecoderPool] = weakref.WeakSet()


def _end_all() -> None:
    for pool in list(_living):
        pool.end()


# Python's own hook comes after the threads are joined, each of which may wait for a decoder that hangs.
getattr(threading, "_register_atexit", atexit.register)(_end_all)


def _forget() -> None:
    """In a forked child: the workers are the parent's, and must end with it alone."""
    for pool in _living:
        pool.abandon()
    shared_pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
