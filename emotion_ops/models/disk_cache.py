"""What was found out about a checkpoint, kept on disk, so that the next process need not find it out again."""

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

_LEFT_OVER = 86_400.0  # seconds after which nobody is still writing
_log = logging.getLogger("emotion_ops")


def cache_folder() -> Path:
    """``EMOTION_OPS_CACHE``, else ``emotion_ops`` in the user's cache folder. All in it can be made anew.

    Raises:
        RuntimeError: The user has no home folder.
    """
    home = os.environ.get("EMOTION_OPS_CACHE")
    if home is None:
        home = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emotion_ops")
    return Path(home).expanduser()


def digest_of(*made_of: object) -> str:
    """A name for what is made of these: 32 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]


@contextlib.contextmanager
def unfinished(home: Path) -> Iterator[Path]:
    """A folder beside what it will become, which others may read as the umask says; removed with what is left in it.

    What processes that were killed have left there is removed after a day.
    """
    for folder in home.glob("unfinished-*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _LEFT_OVER:
                shutil.rmtree(folder)
    folder = home / f"unfinished-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)  # unlike tempfile's, not for its owner alone: an image of a container has another user
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kept(kind: str, made_of: tuple[object, ...], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Facts as they were kept, or made now.

    A file that is not as it was written counts for nothing, and a folder that cannot be written costs the next
    process its time.

    Args:
        kind: What they are about; a folder's name.
        made_of: All that decides them.
        make: Finds them out: what JSON holds.
    """
    name = f"{digest_of(*made_of)}.json"
    try:
        file = cache_folder() / kind / name
        said = json.loads(file.read_text(encoding="utf-8"))
        facts: dict[str, Any] = said["facts"]
        if said["sha256"] == _sha256(facts):
            return facts
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        pass
    facts = make()
    try:
        file = cache_folder() / kind / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(file.parent) as folder:
            (folder / name).write_text(json.dumps({"sha256": _sha256(facts), "facts": facts}), encoding="utf-8")
            (folder / name).replace(file)
    except (OSError, RuntimeError) as error:
        _log.debug("what is known of %s cannot be kept: %s", kind, error)
    return facts


def _sha256(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
