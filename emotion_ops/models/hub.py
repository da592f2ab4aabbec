"""A hub id → the folder in huggingface_hub's cache that holds one commit of it, or one clear error."""

from __future__ import annotations

import functools
import logging
import re
from pathlib import Path

from emotion_ops.errors import ModelNotFoundError, first_line

_COMMIT = re.compile(r"[0-9a-f]{40}")
_log = logging.getLogger("emotion_ops")
_warned: set[str] = set()


@functools.lru_cache(maxsize=64)
def resolve_commit(model: str, revision: str | None) -> str:
    """The commit of a revision; looked up once for each process, so that all its results have one commit.

    Only a commit (40 hexadecimal digits) is pinned. A branch moves and a tag can be moved. So a branch, a tag, or no
    revision at all is logged as a warning, once for each process and model.

    Args:
        model: A hub id.
        revision: A commit, tag or branch; None is the default branch.

    Raises:
        ModelNotFoundError: The repository or revision does not exist or cannot be reached.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    commit = download(model, revision, weights=False).name
    if model not in _warned:
        _warned.add(model)
        _log.warning(
            "model %r at %s is commit %s today; the weights behind a name can be replaced, so pin it: revision=%r",
            model,
            "its default branch" if revision is None else f"revision {revision!r}",
            commit,
            commit,
        )
    return commit


@functools.lru_cache(maxsize=64)
def download(model: str, revision: str | None, *, weights: bool) -> Path:
    """The snapshot folder, named after the commit, with its small files and, on request, its weights.

    If the hub cannot be reached or does not give the files, those of the cache are used if they are complete.
    For a commit whose files are in the cache, the hub is not asked.

    Args:
        model: A hub id.
        revision: A commit, tag or branch; None is the default branch.
        weights: Download the safetensors too. Pickles are never downloaded.

    Raises:
        ModelNotFoundError: The repository or revision does not exist or cannot be reached.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT
    from huggingface_hub.errors import HFValidationError, RevisionNotFoundError

    fetch = functools.partial(
        snapshot_download,
        model,
        revision=revision,
        allow_patterns=["*.json", "*.safetensors"] if weights else ["*.json"],
        ignore_patterns=["*/*"],  # folders hold training checkpoints and other formats, pickles too
    )
    try:
        if revision is None or file_names(model, revision) is None:
            # snapshot_download waits without end for a hub that accepts a connection and does not answer
            HfApi().model_info(model, revision=revision, timeout=HF_HUB_ETAG_TIMEOUT)
        return Path(fetch())
    except (HFValidationError, RevisionNotFoundError) as error:
        raise _explained(model, revision, error) from error
    except Exception as error:  # a lost connection, a login page, a full disk: the client raises many types
        try:
            return Path(fetch(local_files_only=True))
        except Exception:
            raise _explained(model, revision, error) from error


def file_names(model: str, commit: str) -> list[str] | None:
    """All files of a commit in the repository, from the list that is downloaded with it; None if it is not cached."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    if not _COMMIT.fullmatch(commit):
        return None
    try:
        return [file.path for file in get_cached_repo_tree(model, revision=commit)]
    except CachedRepoTreeNotFoundError:
        return None


def _explained(model: str, revision: str | None, error: Exception) -> ModelNotFoundError:
    """What happened and what to do, for an error of the hub's client."""
    from huggingface_hub import errors

    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    wanted = "the default branch" if revision is None else f"revision {revision!r}"
    elsewhere = f"download it on a machine with network (hf download {model}) and copy its cache; or use model='demo'"
    retryable = False
    match cause:
        case errors.HFValidationError():
            what = "it is neither a local folder nor a hub id"
            hint = "give a folder that exists, 'owner/name', or 'demo'"
        case errors.GatedRepoError():
            what = "the hub requires permission to download it"
            hint = "request access on its page, then run: hf auth login"
        case errors.RepositoryNotFoundError():
            what = "the hub has no such model, or it is private; there is no such local folder either"
            hint = "check the spelling; for a private model run: hf auth login"
        case errors.RevisionNotFoundError():
            what = f"it has no revision {revision!r}"
            hint = "give a commit, tag or branch of its page on the hub"
        case errors.OfflineModeIsEnabled():
            what = f"{wanted} is not complete in the local cache, and HF_HUB_OFFLINE forbids downloads"
            hint = f"unset HF_HUB_OFFLINE, or {elsewhere}"
        case OSError(errno=int()) if not isinstance(cause, ConnectionError):
            what = f"{wanted} cannot be written to the cache ({_reason(cause)})"
            hint = "free disk space or fix the permissions there, or set HF_HOME to another folder"
            retryable = True
        case _:
            what = f"{wanted} is not complete in the local cache and cannot be downloaded ({_reason(cause)})"
            hint = f"check the network, proxy and HF_ENDPOINT, or {elsewhere}"
            retryable = True
    return ModelNotFoundError(model, what, hint, retryable=retryable)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error, 160)}"
