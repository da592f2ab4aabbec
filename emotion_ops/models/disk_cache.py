"""A cache folder on disk for what is slow to find out about a checkpoint, so that the next process starts faster."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_MAX_AGE = 86_400.0  # seconds after which an unfinished folder has no writer any more
_log = logging.getLogger("emotion_ops")


def cache_folder() -> Path:
    """``EMOTION_OPS_CACHE``, else ``emotion_ops`` in the user's cache folder. Everything in it may be deleted.

    Raises:
        RuntimeError: The user has no home folder.
    """
    folder = os.environ.get("EMOTION_OPS_CACHE")
    if folder is None:
        folder = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emotion_ops")
    return Path(folder).expanduser()


def cache_key(*inputs: object) -> str:
    """A file name for what is computed from these values: 32 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(repr(inputs).encode()).hexdigest()[:32]


@contextlib.contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """A new folder to write into and rename; removed at the end if it is still there.

    Unfinished folders of killed processes are removed after a day.
    """
    for folder in parent.glob("unfinished-*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _MAX_AGE:
                shutil.rmtree(folder)
    folder = parent / f"unfinished-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)  # not tempfile's, which only its owner can read: a container may run as another user
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load_or_compute(kind: str, inputs: tuple[object, ...], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Values from the cache, or computed now and stored.

    A damaged file is ignored. If the folder cannot be written, the next process computes the values again.

    Args:
        kind: What the values are about: the name of a folder.
        inputs: Everything that the values depend on.
        compute: Computes the values: what JSON can hold.
    """
    name = f"{cache_key(*inputs)}.json"
    try:
        file = cache_folder() / kind / name
        stored = json.loads(file.read_text(encoding="utf-8"))
        values: dict[str, Any] = stored["values"]
        if stored["sha256"] == _sha256(values):
            return values
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        pass
    values = compute()
    try:
        file = cache_folder() / kind / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(file.parent) as folder:
            (folder / name).write_text(json.dumps({"sha256": _sha256(values), "values": values}), encoding="utf-8")
            (folder / name).replace(file)
    except (OSError, RuntimeError) as error:
        _log.debug("the cache of %s cannot be written: %s", kind, error)
    return values


def _sha256(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
