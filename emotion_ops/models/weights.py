"""A model's name → a local folder that holds its checkpoint, and the proof of which weights they are."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_ops.errors import ModelNotFoundError, OptionError, UnsafeWeightsError, UnsupportedModelError

DEFAULT_MODEL = "dima806/facial_emotions_image_detection"
DEMO_MODEL = "demo"

_DEMO_FOLDER = Path(__file__).parents[1] / "demo" / "model"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_log = logging.getLogger("emotion_ops")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the local disk.

    Attributes:
        model: Its name, as the user gave it.
        folder: Holds config.json and the image processor's file, and the weights unless only the
            configuration was asked for.
        commit: The hub's commit (40 hexadecimal digits); None for a local folder and the demo model.
    """

    model: str
    folder: Path
    commit: str | None

    def config(self) -> dict[str, Any]:
        """What config.json says."""
        parsed: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return parsed

    def weight_files(self) -> list[Path]:
        """The safetensors files, by name."""
        return sorted(self.folder.glob("*.safetensors"))

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size and modification time of every file: changes whenever the checkpoint may have changed."""
        files = sorted([*self.folder.glob("*.json"), *self.weight_files()])
        return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)

    def weights_sha256(self) -> str:
        """SHA-256 of the weights, in hexadecimal digits.

        Of a single file it is the file's own; of a sharded checkpoint that of the lines ``name digest`` of
        the files, by name.
        """
        return _sha256(self.folder, self.stamp())

    def revision(self) -> str:
        """What pins these weights: the hub's commit, else ``sha256:`` and the hash of the weights."""
        return self.commit or f"sha256:{self.weights_sha256()}"


def locate(model: str, revision: str | None = None, *, config_only: bool = False) -> Checkpoint:
    """Find a checkpoint, and download it where it is on the hub and not in the cache.

    The hub's cache, offline mode and token are those of huggingface_hub (``HF_HOME``, ``HF_HUB_OFFLINE``,
    ``HF_TOKEN`` or ``hf auth login``). What a branch or tag stands for is looked up once a process, so that
    all its results have one commit; a revision that is no commit is warned about once.

    Args:
        model: ``"demo"``, a local folder, or a hub id (``owner/name``).
        revision: A commit, tag or branch of a hub repository; None is the default branch.
        config_only: Leave the weights where they are.

    Raises:
        ModelNotFoundError: No such folder, repository or revision, or no way to reach it.
        UnsafeWeightsError: The weights are pickles only, or the checkpoint wants its own code run.
        UnsupportedModelError: The checkpoint lacks a file, or a file is broken.
        OptionError: A revision was given with a local folder or the demo model.
    """
    local = _DEMO_FOLDER if model == DEMO_MODEL else Path(model).expanduser()
    if model == DEMO_MODEL or local.is_dir() or _looks_local(model):
        if revision is not None:
            raise OptionError("revision", revision, f"{model!r} is a local folder, which has one; leave revision out")
        if not local.is_dir():
            raise ModelNotFoundError(
                model, f"no folder {local.absolute()}", "check the path, or give a hub id such as 'owner/name'"
            )
        checkpoint = Checkpoint(model, local.absolute(), None)
    else:
        commit = _resolve(model, revision)
        folder = _download(model, commit, weights=not config_only)
        checkpoint = Checkpoint(model, folder, commit)
    _check_configuration(checkpoint)
    if not config_only or checkpoint.commit is None:
        _check_weights(checkpoint)
    return checkpoint


def _looks_local(model: str) -> bool:
    return model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1


@functools.lru_cache(maxsize=64)
def _resolve(model: str, revision: str | None) -> str:
    """The commit that a revision stands for, for this process; downloads the small files on the way."""
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    commit = _download(model, revision, weights=False).name
    _log.warning(
        "model %r at %s is commit %s today; weights were replaced under one name before, so pin it: revision=%r",
        model,
        "its default branch" if revision is None else f"revision {revision!r}",
        commit,
        commit,
    )
    return commit


@functools.lru_cache(maxsize=64)
def _download(model: str, revision: str | None, *, weights: bool) -> Path:
    """The hub's snapshot folder, whose name is the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=["*.json", "*.safetensors"] if weights else ["*.json"],
                ignore_patterns=["*/*"],  # folders hold training checkpoints and other formats, pickles too
            )
        )
    except HFValidationError as error:
        raise ModelNotFoundError(
            model, "is neither a local folder nor a hub id", "give a folder that exists, 'owner/name', or 'demo'"
        ) from error
    except GatedRepoError as error:
        raise ModelNotFoundError(
            model, "the hub gives it only to those it knows", "ask for access on its page, then run: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            model,
            "the hub has no such model, or shows it only to those it knows, and there is no such local folder",
            "check the spelling; for a private one run: hf auth login",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(
            model, f"has no revision {revision!r}", "give a commit, tag or branch of its page on the hub"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        wanted = "the default branch" if revision is None else f"revision {revision!r}"
        raise ModelNotFoundError(
            model,
            f"{wanted} is not in the local cache and cannot be downloaded ({_reason(error)})",
            "check the network and HF_HUB_OFFLINE, or download it where there is a network: hf download "
            f"{model}; model='demo' needs none, for trying the pipeline",
        ) from error


def _check_configuration(checkpoint: Checkpoint) -> None:
    if not (checkpoint.folder / "config.json").is_file():
        raise UnsupportedModelError(
            checkpoint.model, f"{checkpoint.folder} holds no config.json", "give a folder written by save_pretrained"
        )
    if not any((checkpoint.folder / name).is_file() for name in _PROCESSORS):
        raise UnsupportedModelError(
            checkpoint.model,
            f"{checkpoint.folder} holds no {_PROCESSORS[0]}, so that nobody knows how it wants its images",
            "save the image processor beside the weights: processor.save_pretrained(folder)",
        )
    try:
        config = checkpoint.config()
    except ValueError as error:
        raise UnsupportedModelError(
            checkpoint.model, f"its config.json is no JSON ({error})", "mend it, or download the model again"
        ) from error
    if "auto_map" in config:
        raise UnsafeWeightsError(
            checkpoint.model,
            f"wants code of its own run ({', '.join(map(str, config['auto_map'].values()))})",
            "code from a checkpoint is never run; choose one of an architecture that transformers has",
        )


def _check_weights(checkpoint: Checkpoint) -> None:
    files = checkpoint.weight_files()
    if not files:
        pickles = _pickles(checkpoint)
        if pickles:
            raise UnsafeWeightsError(
                checkpoint.model,
                f"its weights are pickles ({', '.join(pickles)}), which can run any code when they are loaded",
                "convert them once where you trust them: "
                "AutoModelForImageClassification.from_pretrained(…).save_pretrained(folder)",
            )
        raise UnsupportedModelError(
            checkpoint.model, "has no weights (no *.safetensors)", "give a model saved by save_pretrained"
        )
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(file, framework="numpy"):  # reads the header and holds it against the file's size
                pass
        except (SafetensorError, OSError) as error:
            raise UnsupportedModelError(
                checkpoint.model,
                f"{file.name} of {file.stat().st_size:,} bytes is broken or cut short ({_reason(error)})",
                "download or copy it again",
            ) from error


def _pickles(checkpoint: Checkpoint) -> list[str]:
    """Names of pickled weights: on the hub by its list of files, without downloading one."""
    if checkpoint.commit is None:
        names = [file.name for file in checkpoint.folder.iterdir()]
    else:
        from huggingface_hub import HfApi

        try:
            names = HfApi().list_repo_files(checkpoint.model, revision=checkpoint.commit)
        except OSError:  # offline: nobody can tell what else there would be
            names = []
    return sorted(name for name in names if name.endswith(_PICKLES) and "/" not in name and name != "training_args.bin")


@functools.lru_cache(maxsize=64)
def _sha256(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    digests = []
    for name in (name for name, _, _ in stamp if name.endswith(".safetensors")):
        with (folder / name).open("rb") as file:
            digests.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    if len(digests) == 1:
        return digests[0][1]
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in digests).encode()).hexdigest()


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {(str(cause).strip().splitlines() or [''])[0][:160]}"
