"""Which process wrote a file, and whether it may still be running."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        machine: Identifies the machine, its boot, and the namespace in which its process numbers count.
        number: Its number there.
        start: When it started, in clock ticks since the machine booted; None if the system does not say.
    """

    machine: str
    number: int
    start: str | None

    @classmethod
    def current(cls) -> Process:
        """This process."""
        return cls.of_this_machine(os.getpid())

    @classmethod
    def of_this_machine(cls, number: int) -> Process:
        """A process of this machine, by its number."""
        return cls(this_machine(), number, _start_of(number))

    def may_run(self) -> bool:
        """Whether it may still be running. A process of another machine may always; a reused number does not count."""
        if self.machine != this_machine():
            return True
        return _exists(self.number) and self.start in (None, _start_of(self.number))


@functools.cache
def this_machine() -> str:
    """Identifies this machine, its boot, and the namespace in which process numbers count."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()}/{boot.read_text().strip()}/{namespace.readlink()}"
    return f"{socket.gethostname()}/{uuid.getnode():x}"


def _exists(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _start_of(number: int) -> str | None:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    return None
