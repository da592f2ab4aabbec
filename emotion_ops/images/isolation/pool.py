"""Watched worker processes that decode: one image at a time for each of the loading threads.

Nothing is queued for a worker, so only one image is lost if it dies. ``multiprocessing`` does not fit: it would run the
user's main script again in each worker, or fork threads and a GPU context.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  # its hook at the end must be registered before ours, to run after it
import functools
import os
import pickle
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.isolation.process import LostError, WorkerProcess, cannot_start
from emotion_ops.images.isolation.stop import Stop
from emotion_ops.io.bounded import Reserve

if TYPE_CHECKING:
    from emotion_ops.images.decoder import Decoder


class DecoderPool:
    """Workers that decode. They are started when they are needed, and replaced when they die.

    Threads may share it: there are as many workers as threads that decode at the same time.

    Args:
        decoder: What a worker does with an image: a function of a module, or a picklable value.
        timeout: Seconds for one image.
        memory: Bytes that a worker may use above those that it has when it starts; only Linux enforces it.

    Attributes:
        lost: How many workers an image has ended.
        close: Call it to end the workers.

    Raises:
        OptionError: This system is not POSIX.
    """

    def __init__(self, decoder: Decoder, timeout: float, memory: int) -> None:
        if os.name != "posix":
            raise cannot_start(f"it needs a POSIX system, and this is {sys.platform}")
        self._setup = pickle.dumps((decoder, timeout, memory))
        self._timeout, self._memory = timeout, memory
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._ended = Stop()
        self.lost = 0
        self.close = weakref.finalize(self, _close, self._all)  # also runs when the interpreter ends
        _pools.add(self)

    def decode(self, encoded: bytes | memoryview, reserve: Reserve, stop: Stop | None = None) -> NDArray[np.uint8]:
        """Decode one image in a worker.

        Args:
            encoded: A whole image file.
            reserve: Called with the memory that the image takes, before it is decoded.
            stop: Call it to end the worker, and the wait for the image.

        Returns:
            uint8 (height, width, 3), RGB, from the decoder.

        Raises:
            RowError: The decoder's own, or ``undecodable``: it crashed, or took too much time or memory.
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
        except LostError as lost:
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

    def abandon(self) -> None:
        """Forget the workers without ending them: in a forked child, they are workers of the parent."""
        for worker in self._all:
            worker.abandon()
        self._all.clear()
        self._idle.clear()
        self._ended = Stop()

    def _take(self) -> WorkerProcess:
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:
                worker = WorkerProcess(self._setup)
                self._all.add(worker)
                return worker
            if worker.is_alive():
                return worker
            self._end(worker)  # it died while it was idle; no image is to blame

    def _end(self, worker: WorkerProcess) -> None:
        worker.kill()
        self._all.discard(worker)


@functools.lru_cache(maxsize=16)
def shared_pool(decoder: Decoder, timeout: float, memory: int) -> DecoderPool:
    """The pool of these options, one for the whole process; see ``DecoderPool``."""
    return DecoderPool(decoder, timeout, memory)


def _close(workers: set[WorkerProcess]) -> None:
    ending = list(workers)
    workers.clear()
    for worker in ending:
        worker.disconnect()
    for worker in ending:
        worker.wait()


_pools: weakref.WeakSet[DecoderPool] = weakref.WeakSet()


def _end_all() -> None:
    for pool in list(_pools):
        pool.end()


# atexit would be too late: it runs after all threads are joined, and each may wait for a decoder that hangs.
getattr(threading, "_register_atexit", atexit.register)(_end_all)


def _abandon_all() -> None:
    """In a forked child: only the parent ends its workers."""
    for pool in _pools:
        pool.abandon()
    shared_pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
