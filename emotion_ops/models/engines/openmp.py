"""How torch's CPU threads wait for each other."""

import os


def use_passive_waiting() -> None:
    """Let OpenMP's threads sleep while they wait for work; call it before torch is first imported.

    Spinning threads take CPU time from the threads that decode. A policy that is already set is not changed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
