"""Where the detector's weights lie: a local file, or the hub's file whose hash is known."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from emotion_ops.errors import ModelError, ModelNotFoundError, UnsafeWeightsError

REPOSITORY = "opencv/face_detection_yunet"
FILE = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
"""Of that file: other bytes under its name are refused, whatever the repository says."""


@dataclass(frozen=True)
class DetectorFile(os.PathLike[str]):
    """A file whose content is settled: other bytes at its path are refused.

    Attributes:
        path: Where it lies.
        sha256: The hash of what it holds.
    """

    path: str
    sha256: str

    def __fspath__(self) -> str:
        return self.path


def locate(detector: str | DetectorFile | None) -> Path:
    """The file of a detector.

    Args:
        detector: A local path; None is the hub's file, fetched once into the hub's cache.

    Raises:
        ModelNotFoundError: It is not there, or cannot be fetched.
        UnsafeWeightsError: The hub gives other bytes than are known.
    """
    if detector is None:
        return _pinned()
    path = Path(detector)
    if not path.is_file():
        hint = f"give the path of {FILE}, or nothing"
        raise ModelNotFoundError(os.fspath(detector), "there is no such file", hint, kind="detector")
    return path


def read(path: Path) -> tuple[bytes, str]:
    """What a detector's file holds, and the hash of just that.

    Raises:
        ModelNotFoundError: It is gone, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = f"give the path of {FILE}, or nothing"
        raise ModelNotFoundError(str(path), f"cannot be read ({error})", hint, kind="detector") from error
    return content, hashlib.sha256(content).hexdigest()


def check(detector: str | DetectorFile | None, path: Path, sha256: str) -> None:
    """Refuse a file whose content is settled, where it holds something else.

    Raises:
        UnsafeWeightsError: It is the hub's.
        ModelError: It is a ``DetectorFile``.
    """
    if detector is None and sha256 != SHA256:
        raise UnsafeWeightsError(
            REPOSITORY,
            f"{FILE} has the sha256 {sha256} and not {SHA256}",
            f"remove it from the hub's cache ({path}) and run again, or give a file that you trust as detector",
            kind="detector",
        )
    if isinstance(detector, DetectorFile) and sha256 != detector.sha256:
        raise ModelError(
            detector.path,
            f"its sha256 is {sha256} here and now, and was {detector.sha256} when the work was planned",
            "put the same file at this path for all who work, and leave it there until they are done; or run again",
            kind="detector",
            retryable=True,
        )


def sha256_of(path: Path) -> str:
    """The hash of a file; read again where the file was touched."""
    status = path.stat()
    return _sha256(path, (status.st_size, status.st_mtime_ns, status.st_ino))


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, stamp: object) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pinned() -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        try:
            path = Path(hf_hub_download(REPOSITORY, FILE, local_files_only=True))
        except LocalEntryNotFoundError:
            path = Path(hf_hub_download(REPOSITORY, FILE))
    except Exception as error:  # the client lets many types through
        cause = error.__cause__ or error
        said = f"{type(cause).__name__}: {(str(cause).strip().splitlines() or [''])[0][:160]}"
        what = f"{FILE} is not in the cache and cannot be fetched ({said})"
        hint = f"check the network, proxy and HF_ENDPOINT, or bring {FILE} and give its path as detector"
        raise ModelNotFoundError(REPOSITORY, what, hint, kind="detector") from error
    check(None, path, sha256_of(path))
    return path
