"""Where the detector's weights lie: a local file, or the hub's file whose hash is known."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from emotion_ops.errors import ModelNotFoundError, UnsafeWeightsError

REPOSITORY = "opencv/face_detection_yunet"
FILE = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
"""Of that file: other bytes under its name are refused, whatever the repository says."""


def locate(detector: str | None) -> Path:
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
        raise ModelNotFoundError(detector, "there is no such file", f"give the path of {FILE}, or nothing")
    return path


def sha256_of(path: Path) -> str:
    """The hash of a file; read again where the file was touched."""
    status = path.stat()
    return _sha256(path, (status.st_size, status.st_mtime_ns, status.st_ino))


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, stamp: object) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pinned() -> Path:
    from huggingface_hub import hf_hub_download

    try:
        try:
            path = Path(hf_hub_download(REPOSITORY, FILE, local_files_only=True))
        except Exception:  # it is not in the cache
            path = Path(hf_hub_download(REPOSITORY, FILE))
    except Exception as error:  # the client lets many types through
        cause = error.__cause__ or error
        said = f"{type(cause).__name__}: {(str(cause).strip().splitlines() or [''])[0][:160]}"
        cure = f"check the network, proxy and HF_ENDPOINT, or bring {FILE} and give its path as detector"
        raise ModelNotFoundError(
            REPOSITORY, f"{FILE} is not in the cache and cannot be fetched ({said})", cure
        ) from error
    found = sha256_of(path)
    if found != SHA256:
        raise UnsafeWeightsError(
            REPOSITORY,
            f"{FILE} has the sha256 {found} and not {SHA256}",
            f"remove it from the hub's cache ({path}) and run again, or give a file that you trust as detector",
        )
    return path
