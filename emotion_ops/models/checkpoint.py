"""A model's name → the local folder of its checkpoint, and the hashes that identify it."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_ops.errors import ModelNotFoundError, OptionError
from emotion_ops.models import hub
from emotion_ops.models.checkpoint_files import PROCESSOR_FILES, check_configuration, check_weights, weight_names

DEFAULT_MODEL = "dima806/facial_emotions_image_detection"
DEMO_MODEL = "demo"

_DEMO_FOLDER = Path(__file__).parents[1] / "demo" / "model"
_IRRELEVANT_SETTINGS = ("transformers_version", "_name_or_path")  # who wrote the file, and where


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the local disk.

    Attributes:
        model: Its name, as the user gave it.
        folder: Holds config.json and the image processor's file, and the weights unless only the configuration
            was asked for.
        commit: The hub's commit (40 hexadecimal digits); None for a local folder and the demo model.
    """

    model: str
    folder: Path
    commit: str | None

    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        parsed: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return parsed

    def weight_files(self) -> list[Path]:
        """The safetensors files that the network is loaded from, by name; none if only the configuration is here."""
        names = weight_names(self.model, self.folder)
        return [file for name in names if (file := self.folder / name).is_file()]

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size and modification time of every file: changes when the checkpoint may have changed."""
        files = sorted([*self.folder.glob("*.json"), *self.weight_files()])
        stats = ((file.name, file.stat()) for file in files)
        return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)

    def weights_sha256(self) -> str:
        """SHA-256 of the weights, in hexadecimal digits. A process reads unchanged weights once for it.

        Of a single file it is the SHA-256 of the file. Of a sharded checkpoint it is that of the lines
        ``name digest`` of the files, ordered by name.
        """
        return _weights_sha256(self.folder, self.stamp())

    def settings_sha256(self) -> str:
        """SHA-256 of all else that changes the numbers: the configurations of the network and the image processor."""
        settings = {}
        for name in ("config.json", *PROCESSOR_FILES):
            if (self.folder / name).is_file():
                content = json.loads((self.folder / name).read_text(encoding="utf-8"))
                settings[name] = {key: value for key, value in content.items() if key not in _IRRELEVANT_SETTINGS}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def revision(self) -> str:
        """What pins these weights: the hub's commit, else ``sha256:`` and the hash of the weights."""
        return self.commit or f"sha256:{self.weights_sha256()}"


def resolve_checkpoint(model: str, revision: str | None = None, *, config_only: bool = False) -> Checkpoint:
    """Find a checkpoint and check its files. A checkpoint on the hub is downloaded if it is not in the cache.

    A name is a local folder if one exists or if it looks like a path; else it is a hub id. The hub's cache, offline
    mode and token are those of huggingface_hub (``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_TOKEN`` or ``hf auth login``).
    A branch or tag is looked up once for each process, so that all its results have one commit. A revision that is
    not a commit is logged as a warning, once for each process and model.

    Args:
        model: ``"demo"``, a local folder, or a hub id (``owner/name``).
        revision: A commit, tag or branch of a hub repository; None is the default branch.
        config_only: Do not download the weights.

    Raises:
        ModelNotFoundError: The folder, repository or revision does not exist or cannot be reached.
        UnsafeWeightsError: The weights are pickles only, or the checkpoint needs its own code.
        UnsupportedModelError: The checkpoint lacks a file, or a file is broken.
        OptionError: The name is empty, or a revision was given with a local folder or the demo model.
    """
    local = _local_folder(model)
    if local is None:
        commit = hub.resolve_commit(model, revision)
        checkpoint = Checkpoint(model, hub.download(model, commit, weights=not config_only), commit)
    elif revision is not None:
        raise OptionError("revision", revision, f"{model!r} is a local folder and has no revisions; remove revision")
    else:
        checkpoint = Checkpoint(model, local, None)
    check_configuration(model, checkpoint.folder, checkpoint.commit)
    if not config_only or checkpoint.commit is None:
        check_weights(model, checkpoint.folder, checkpoint.commit)
    return checkpoint


def _local_folder(model: str) -> Path | None:
    """The folder that a name means; None for a hub id."""
    if not model.strip():
        raise OptionError("model", model, "give 'demo', a local folder, or a hub id such as 'owner/name'")
    if model == DEMO_MODEL:
        return _DEMO_FOLDER
    try:
        path = Path(model).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError, ValueError):  # too long for a name, no permission, or of an unknown user
        path, is_folder, exists = Path(model), False, False
    if is_folder:
        return path.absolute()
    if exists:
        raise ModelNotFoundError(model, f"{path.absolute()} is a file", "give the folder that contains it")
    if model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1:
        what = f"there is no folder {path.absolute()}"
        raise ModelNotFoundError(model, what, "check the path, or give a hub id such as 'owner/name'")
    return None


@functools.lru_cache(maxsize=64)
def _weights_sha256(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    digests = []
    for name in (name for name, _, _ in stamp if name.endswith(".safetensors")):
        with (folder / name).open("rb") as file:
            digests.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    if len(digests) == 1:
        return digests[0][1]
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in digests).encode()).hexdigest()
