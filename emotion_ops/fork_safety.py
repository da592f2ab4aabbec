"""Whether OpenVINO ran before this process was forked: its threads and locks do not survive a fork."""

from __future__ import annotations

import os

forked_after_openvino = False
"""Whether OpenVINO ran in a parent of this process before the fork; to use it here could block without end."""

_is_used = False


def mark_openvino_used() -> None:
    """Remember that OpenVINO runs in this process."""
    global _is_used
    _is_used = True


def _inherit() -> None:
    global forked_after_openvino, _is_used
    forked_after_openvino, _is_used = forked_after_openvino or _is_used, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_inherit)
