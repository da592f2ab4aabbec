"""The detector's weights: a local file, or the hub's file, whose hash is known."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from emotion_ops.errors import ModelError, ModelNotFoundError, UnsafeWeightsError, first_line

REPOSITORY = "opencv/face_detection_yunet"
FILE = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
"""Of that file: another content is refused, even if the repository serves it."""

_HINT = f"give the path of {FILE}, or leave detector out"


@dataclass(frozen=True)
class PinnedFile(os.PathLike[str]):
    """A file with known content: another content at its path is refused.

    Attributes:
        path: Where it is.
        sha256: The SHA-256 of its content.
    """

    path: str
    sha256: str

    def __fspath__(self) -> str:
        return self.path


def resolve_weights(detector: str | PinnedFile | None) -> Path:
    """The file of a detector.

    Args:
        detector: A local path; None is the hub's file, downloaded once into the hub's cache.

    Raises:
        ModelNotFoundError: It does not exist, or cannot be downloaded.
        UnsafeWeightsError: The hub's file has another content than expected.
    """
    if detector is None:
        return _download()
    path = Path(detector)
    if not path.is_file():
        raise ModelNotFoundError(os.fspath(detector), "there is no such file", _HINT, kind="detector")
    return path


def read_weights(path: Path) -> tuple[bytes, str]:
    """The content of a detector's file, and its SHA-256.

    Raises:
        ModelNotFoundError: It was removed, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelNotFoundError(str(path), f"it cannot be read ({error})", _HINT, kind="detector") from error
    return content, hashlib.sha256(content).hexdigest()


def check_weights(detector: str | PinnedFile | None, path: Path, sha256: str) -> None:
    """Refuse a file whose content is known if it has another content.

    Raises:
        UnsafeWeightsError: It is the hub's.
        ModelError: It is a ``PinnedFile``.
    """
    if detector is None and sha256 != SHA256:
        raise UnsafeWeightsError(
            REPOSITORY,
            f"{FILE} has the sha256 {sha256}, not {SHA256}",
            f"remove it from the hub's cache ({path}) and run again, or give a file that you trust as detector",
            kind="detector",
        )
    if isinstance(detector, PinnedFile) and sha256 != detector.sha256:
        raise ModelError(
            detector.path,
            f"its sha256 is {sha256} here, and was {detector.sha256} when the job was planned",
            "put the same file at this path on all machines and do not change it during the job; or run again",
            kind="detector",
            retryable=True,
        )


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file; a process reads an unchanged file once for it."""
    status = path.stat()
    return _sha256(path, (status.st_size, status.st_mtime_ns, status.st_ino))


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, stamp: object) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _download() -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        try:
            path = Path(hf_hub_download(REPOSITORY, FILE, local_files_only=True))
        except LocalEntryNotFoundError:
            path = Path(hf_hub_download(REPOSITORY, FILE))
    except Exception as error:  # the client raises many types
        cause = error.__cause__ or error
        what = f"{FILE} is not in the cache and cannot be downloaded ({type(cause).__name__}: {first_line(cause, 160)})"
        hint = f"check the network, proxy and HF_ENDPOINT, or copy {FILE} to this machine and give its path as detector"
        raise ModelNotFoundError(REPOSITORY, what, hint, kind="detector") from error
    check_weights(None, path, file_sha256(path))
    return path
