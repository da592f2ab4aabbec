"""What a process that was forked may not do: OpenVINO's threads stay behind in the parent, and its locks with them."""

from __future__ import annotations

import os

after_openvino = False
"""Whether OpenVINO ran in this process's parent before the fork; here it could wait for ever."""

_is_running = False


def openvino_runs() -> None:
    """Remember that OpenVINO runs in this process."""
    global _is_running
    _is_running = True


def _tell_child() -> None:
    global after_openvino, _is_running
    after_openvino, _is_running = after_openvino or _is_running, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_child)
