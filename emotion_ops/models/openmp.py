"""How torch's processor threads wait for each other."""

import os


def wait_passively() -> None:
    """Have OpenMP's threads sleep while they wait for work, not spin; called before torch is first imported.

    Threads that spin take the processors from the threads that decode. A policy that is set already stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
