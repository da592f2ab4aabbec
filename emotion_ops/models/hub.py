"""A hub id → the folder in huggingface_hub's cache that holds one commit of it, or one error that says why not."""

from __future__ import annotations

import functools
import logging
import re
from pathlib import Path

from emotion_ops.errors import ModelNotFoundError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_log = logging.getLogger("emotion_ops")
_warned: set[str] = set()


@functools.lru_cache(maxsize=64)
def resolve(model: str, revision: str | None) -> str:
    """The commit that a revision stands for; looked up once a process, so that all its results have one commit.

    Only a commit (40 hexadecimal digits) is pinned: a branch moves and a tag can be moved, so that either is
    warned about, as is no revision at all; once a process and model.

    Args:
        model: A hub id.
        revision: A commit, tag or branch; None is the default branch.

    Raises:
        ModelNotFoundError: No such repository or revision, or no way to reach it.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    commit = download(model, revision, weights=False).name
    if model not in _warned:
        _warned.add(model)
        _log.warning(
            "model %r at %s is commit %s for now; weights were replaced under one name before, so pin it: revision=%r",
            model,
            "its default branch" if revision is None else f"revision {revision!r}",
            commit,
            commit,
        )
    return commit


@functools.lru_cache(maxsize=64)
def download(model: str, revision: str | None, *, weights: bool) -> Path:
    """The snapshot folder, whose name is the commit, with its small files and perhaps its weights.

    Where the hub cannot be reached or does not give the files, those of the cache serve if they are all there.
    A commit whose files are in the cache is not asked for again.

    Args:
        model: A hub id.
        revision: A commit, tag or branch; None is the default branch.
        weights: Fetch the safetensors too; pickles never are.

    Raises:
        ModelNotFoundError: No such repository or revision, or no way to reach it.
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
        if revision is None or listing(model, revision) is None:
            # snapshot_download waits for ever for a hub that accepts and says nothing; this question does not
            HfApi().model_info(model, revision=revision, timeout=HF_HUB_ETAG_TIMEOUT)
        return Path(fetch())
    except (HFValidationError, RevisionNotFoundError) as error:
        raise _explained(model, revision, error) from error
    except Exception as error:  # a line that breaks, a portal's page, a full disk: the client lets many types through
        try:
            return Path(fetch(local_files_only=True))
        except Exception:
            raise _explained(model, revision, error) from error


def listing(model: str, commit: str) -> list[str] | None:
    """Every file of a commit in the repository, by the list that came with the download; None if there is none."""
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
    elsewhere = (
        f"download it where there is a network (hf download {model}) and bring the cache; model='demo' needs none"
    )
    match cause:
        case errors.HFValidationError():
            what = "is neither a local folder nor a hub id"
            hint = "give a folder that exists, 'owner/name', or 'demo'"
        case errors.GatedRepoError():
            what = "the hub gives it only to those it knows"
            hint = "ask for access on its page, then run: hf auth login"
        case errors.RepositoryNotFoundError():
            what = "the hub has no such model, or shows it only to those it knows, and there is no such local folder"
            hint = "check the spelling; for a private one run: hf auth login"
        case errors.RevisionNotFoundError():
            what = f"has no revision {revision!r}"
            hint = "give a commit, tag or branch of its page on the hub"
        case errors.OfflineModeIsEnabled():
            what = f"{wanted} is not whole in the local cache, and HF_HUB_OFFLINE forbids to download it"
            hint = f"unset HF_HUB_OFFLINE, or {elsewhere}"
        case OSError(errno=int()) if not isinstance(cause, ConnectionError):
            what = f"{wanted} cannot be written to the cache ({_reason(cause)})"
            hint = "make room or give leave to write there, or set HF_HOME to a folder elsewhere"
            return ModelNotFoundError(model, what, hint, retryable=True)
        case _:
            what = f"{wanted} is not whole in the local cache and cannot be downloaded ({_reason(cause)})"
            hint = f"check the network, proxy and HF_ENDPOINT, or {elsewhere}"
            return ModelNotFoundError(model, what, hint, retryable=True)
    return ModelNotFoundError(model, what, hint)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:160]}"
