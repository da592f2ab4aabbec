"""Messages between this process and a worker: a kind, a length and the bytes, over a socket.

A worker's messages are never unpickled. It has read hostile bytes, so everything it sends is treated as data.
"""

from __future__ import annotations

import enum
import socket
import struct
import time

_HEADER = struct.Struct("<BQ")


class Kind(enum.IntEnum):
    """What a message is."""

    SETUP = 1  # to the worker: the pickled decoder and its limits
    READY = 2  # from the worker: the libraries are loaded, images may come
    IMAGE = 3  # to the worker: an encoded image
    NEED = 4  # from the worker: it is going to use so many bytes, and waits
    GO = 5  # to the worker: it may
    PIXELS = 6  # from the worker: height, width, and RGB bytes
    FAILED = 7  # from the worker: code and detail of the row's error


class ClosedError(Exception):
    """The other side is gone, or its message is invalid."""


def send(to: socket.socket, kind: Kind, payload: bytes | memoryview = b"", timeout: float | None = None) -> None:
    """Send one message.

    Raises:
        ClosedError: The other side is gone.
        TimeoutError: It did not take the message within ``timeout`` seconds.
    """
    try:
        to.settimeout(timeout)
        to.sendall(_HEADER.pack(kind, len(payload)))
        to.sendall(payload)
    except TimeoutError:
        raise
    except OSError as error:
        raise ClosedError(str(error)) from None


def receive(source: socket.socket, max_bytes: int, timeout: float | None = None) -> tuple[Kind, bytearray]:
    """Wait for one message.

    Args:
        source: Where it comes from.
        max_bytes: Maximum size of the message.
        timeout: Seconds until the whole message must be here; None waits for ever.

    Raises:
        ClosedError: The other side is gone, or the message is invalid.
        TimeoutError: It did not come in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    kind, length = _HEADER.unpack(_receive_exactly(source, _HEADER.size, deadline))
    if length > max_bytes or kind not in Kind.__members__.values():
        raise ClosedError(f"a message of kind {kind} and {length:,} bytes")
    return Kind(kind), _receive_exactly(source, length, deadline)


def _receive_exactly(source: socket.socket, count: int, deadline: float | None) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        try:
            source.settimeout(left)
            received = source.recv_into(view)
        except TimeoutError:
            raise
        except OSError as error:
            raise ClosedError(str(error)) from None
        if not received:
            raise ClosedError("the end")
        view = view[received:]
    return data
