"""A process that decodes images: ``python -m emotion_ops.images.isolation.worker SOCKET LIFELINE``.

It loads only Pillow, numpy, and the modules of this package that turn images into pixels. The kernel limits its memory,
and ends it when its parent is gone or when it hangs, whatever a decoder is doing at the time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import re
import resource
import signal
import socket
import struct
import sys
from pathlib import Path

from PIL import AvifImagePlugin

from emotion_ops.errors import RowError, RowErrorCode
from emotion_ops.images.decoder import Decoder
from emotion_ops.images.isolation.wire import ClosedError, Kind, receive, send
from emotion_ops.images.memory import return_freed_memory
from emotion_ops.io.redact import reason

_SIZE = struct.Struct("<QQ")
_MAX_MESSAGE = 2**40
_GRACE = 10.0  # seconds after which the parent should have ended a worker that hangs; otherwise the parent is gone


def main() -> None:
    """Receive the setup, then one image after the other, until the parent closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # several images are decoded at the same time, each by one thread
    parent = socket.socket(fileno=int(sys.argv[1]))
    _end_with_parent(int(sys.argv[2]))
    try:
        _, setup = receive(parent, _MAX_MESSAGE)
        decoder, timeout, memory = pickle.loads(setup)
        _limit_memory(memory)
        return_freed_memory()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native libraries print messages about images
        send(parent, Kind.READY)
        while True:
            _, encoded = receive(parent, _MAX_MESSAGE)
            send(parent, *_decode(parent, decoder, encoded, timeout + _GRACE, memory))
            del encoded
    except ClosedError:
        return


def _decode(
    parent: socket.socket, decoder: Decoder, encoded: bytearray, seconds: float, memory: int
) -> tuple[Kind, bytes]:
    def reserve(amount: int) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(parent, Kind.NEED, amount.to_bytes(8, "little"))
        receive(parent, 0)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process, also inside native code
    try:
        pixels = decoder(memoryview(encoded), reserve)
        return Kind.PIXELS, _SIZE.pack(*pixels.shape[:2]) + pixels.tobytes()
    except RowError as error:
        return _failed(error)
    except MemoryError:
        what = f"the decoder needed more than the {memory:,} bytes of Decoding.memory"
        return _failed(RowError(RowErrorCode.UNDECODABLE, what))
    except ClosedError:
        raise
    except Exception as error:
        return _failed(RowError(RowErrorCode.UNDECODABLE, f"the decoder failed ({reason(error)})"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _failed(error: RowError) -> tuple[Kind, bytes]:
    return Kind.FAILED, f"{error.code}\0{error.detail}".encode()


def _end_with_parent(lifeline: int) -> None:
    """Make the kernel end this process when the parent's end of a pipe closes: the default action of SIGIO."""
    with contextlib.suppress(OSError):  # if pipes send no signals, the socket and the timer still end it
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


def _limit_memory(memory: int) -> None:
    """Limit decoders to so many bytes above what is in use now, and write no core dump of a crash."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = Path("/proc/self/status")
    if status.exists():  # on other systems than Linux the limit has no effect
        found = re.search(r"^VmData:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        limit = memory + (int(found[1]) * 1024 if found else 0)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
