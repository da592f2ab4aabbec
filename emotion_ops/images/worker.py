"""The process that decodes images for another: ``python -m emotion_ops.images.worker SOCKET LIFELINE``.

It loads Pillow, numpy, and of this package what turns images into pixels, and nothing else. Its memory is limited by
the kernel, which also ends it when its parent is gone or when it is stuck, whatever a decoder is doing at the time.
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
from emotion_ops.images.memory import free_at_once
from emotion_ops.images.wire import ClosedError, Kind, receive, send
from emotion_ops.io.redact import reason

_SIZE = struct.Struct("<QQ")
_LONGEST = 2**40
_GRACE = 10.0  # seconds after the parent should have ended a stuck worker, in which case the parent is gone


def main() -> None:
    """Take the setup, then image after image, until the parent closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # images are decoded side by side, not one by many threads
    parent = socket.socket(fileno=int(sys.argv[1]))
    _end_with_parent(int(sys.argv[2]))
    try:
        _, setup = receive(parent, _LONGEST)
        decoder, timeout, memory = pickle.loads(setup)
        _limit_memory(memory)
        free_at_once()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # what native libraries print of somebody's image
        send(parent, Kind.READY)
        while True:
            _, encoded = receive(parent, _LONGEST)
            send(parent, *_answer(parent, decoder, encoded, timeout + _GRACE, memory))
            del encoded
    except ClosedError:
        return


def _answer(
    parent: socket.socket, decoder: Decoder, encoded: bytearray, seconds: float, memory: int
) -> tuple[Kind, bytes]:
    def reserve(amount: int) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(parent, Kind.NEED, amount.to_bytes(8, "little"))
        receive(parent, 0)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process, from wherever it is
    try:
        pixels = decoder(memoryview(encoded), reserve)
        return Kind.PIXELS, _SIZE.pack(*pixels.shape[:2]) + pixels.tobytes()
    except RowError as error:
        return _failed(error)
    except MemoryError:
        what = f"the decoder needed more than the {memory:,} bytes of decode_memory"
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
    """Have the kernel end this process when the parent's end of a pipe closes: SIGIO's default."""
    with contextlib.suppress(OSError):  # where pipes send no signals, the end of the socket and the timer are left
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


def _limit_memory(memory: int) -> None:
    """Let the decoders fill so many bytes above what is in use now; and leave no core dump of a crash."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = Path("/proc/self/status")
    if status.exists():  # elsewhere than on Linux the limit has no effect
        found = re.search(r"^VmData:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        limit = memory + (int(found[1]) * 1024 if found else 0)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
