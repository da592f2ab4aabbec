"""One worker process, and this side of its socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_ops.errors import OptionError, RowError, RowErrorCode
from emotion_ops.images.isolation.wire import ClosedError, Kind, receive, send
from emotion_ops.io.bounded import Reserve

_START_TIMEOUT = 120.0  # seconds: the disk may be cold, and the machine busy
_END_TIMEOUT = 5.0


class LostError(Exception):
    """The worker is gone, or must be ended."""


class WorkerProcess:
    """A new interpreter that decodes one image at a time.

    Args:
        setup: The pickled decoder and its limits.

    Raises:
        OptionError: It cannot be started.
    """

    def __init__(self, setup: bytes) -> None:
        self._socket, child_socket = socket.socketpair()
        lifeline, own_end = os.pipe()
        self._lifeline = os.fdopen(own_end, "wb", buffering=0)  # nothing is written; the worker ends when it closes
        module = "emotion_ops.images.isolation.worker"
        command = [sys.executable, "-P", "-m", module, str(child_socket.fileno()), str(lifeline)]
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **one_thread, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(child_socket.fileno(), lifeline),
            )
        except OSError as error:
            self.disconnect()
            raise cannot_start(str(error)) from None
        finally:
            child_socket.close()
            os.close(lifeline)
        try:
            send(self._socket, Kind.SETUP, setup, _START_TIMEOUT)
            receive(self._socket, 0, _START_TIMEOUT)
        except (ClosedError, TimeoutError) as error:
            self._process.kill()
            output = self._process.communicate()[1].decode(errors="replace").strip().splitlines()
            self.disconnect()
            raise cannot_start(output[-1] if output else repr(error)) from None
        assert self._process.stderr is not None
        self._process.stderr.close()

    def decode(
        self, encoded: bytes | memoryview, reserve: Reserve, timeout: float, max_bytes: int
    ) -> NDArray[np.uint8]:
        """Decode one image.

        Args:
            encoded: A whole image file.
            reserve: Called with the memory that the image takes, before it is decoded.
            timeout: Seconds for each wait.
            max_bytes: Maximum size of the decoded image.

        Raises:
            RowError: The decoder's own.
            LostError: The worker crashed, hangs, or sent an invalid message.
        """
        try:
            send(self._socket, Kind.IMAGE, encoded, timeout)
            kind, payload = receive(self._socket, max_bytes, timeout)
            while kind is Kind.NEED:
                reserve(int.from_bytes(payload, "little"))
                send(self._socket, Kind.GO, timeout=timeout)
                kind, payload = receive(self._socket, max_bytes, timeout)
            if kind is Kind.FAILED:
                code, _, detail = payload.decode().partition("\0")
                raise RowError(RowErrorCode(code), detail)
            return _read_pixels(kind, payload)
        except TimeoutError:
            raise LostError(f"the decoder took longer than Decoding.timeout={timeout:g} seconds") from None
        except ValueError as error:
            raise LostError(f"the decoder's process sent an invalid message ({error})") from None
        except ClosedError as error:
            raise LostError(self._describe_end(error)) from None

    @property
    def number(self) -> int:
        """The process number."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def interrupt(self) -> None:
        """End the process; the thread that waits for its message then gets an error. Any thread may call this."""
        self._process.kill()

    def kill(self) -> None:
        """End the process and wait for its end."""
        self.disconnect()
        self._process.kill()
        self._process.wait()

    def disconnect(self) -> None:
        """Close this side of the connection, which ends the worker."""
        self._socket.close()
        self._lifeline.close()

    def abandon(self) -> None:
        """Disconnect from a worker that is the child of another process."""
        self.disconnect()
        self._process.returncode = 0  # so that nothing waits for it

    def wait(self) -> None:
        """Wait for the end of a worker that was disconnected; kill it if it does not end."""
        try:
            self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def _describe_end(self, error: Exception) -> str:
        try:
            code = self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            return f"the decoder's process sent an invalid message ({error})"
        if code == -signal.SIGKILL:
            return "the decoder's process was killed (signal 9): the machine may be out of memory"
        if code < 0:
            return f"the decoder crashed (signal {-code}, {signal.strsignal(-code)})"
        return f"the decoder's process ended with code {code}"


def cannot_start(why: str) -> OptionError:
    """The error for a machine on which no worker starts."""
    return OptionError("Decoding.isolation", "process", f"the decoding process did not start ({why}); give 'thread'")


def _read_pixels(kind: Kind, payload: bytearray) -> NDArray[np.uint8]:
    if kind is not Kind.PIXELS or len(payload) < 16:
        raise ValueError(f"{kind.name} of {len(payload):,} bytes")
    height, width = (int.from_bytes(payload[start : start + 8], "little") for start in (0, 8))
    if len(payload) != 16 + height * width * 3:
        raise ValueError(f"{len(payload):,} bytes for {height:,} × {width:,} pixels")
    return np.frombuffer(payload, np.uint8, offset=16).reshape(height, width, 3)
