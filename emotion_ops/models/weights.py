"""A model's name → a local folder that holds its checkpoint, and the proof of which weights they are."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion_ops.errors import ModelNotFoundError, OptionError, UnsafeWeightsError, UnsupportedModelError
from emotion_ops.models import hub

DEFAULT_MODEL = "dima806/facial_emotions_image_detection"
DEMO_MODEL = "demo"

_DEMO_FOLDER = Path(__file__).parents[1] / "demo" / "model"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_OF_NO_ACCOUNT = ("transformers_version", "_name_or_path")  # who wrote the file, and where
_LFS_POINTER = b"version https://git-lfs"


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
        """The safetensors files that the network is loaded from, by name; none where only the configuration is here."""
        return [file for name in _weight_names(self) if (file := self.folder / name).is_file()]

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

    def settings_sha256(self) -> str:
        """SHA-256 of what else decides the numbers: the network's and the image processor's configuration."""
        settings = {}
        for name in ("config.json", *_PROCESSORS):
            if (self.folder / name).is_file():
                said = json.loads((self.folder / name).read_text(encoding="utf-8"))
                settings[name] = {key: value for key, value in said.items() if key not in _OF_NO_ACCOUNT}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def revision(self) -> str:
        """What pins these weights: the hub's commit, else ``sha256:`` and the hash of the weights."""
        return self.commit or f"sha256:{self.weights_sha256()}"


def locate(model: str, revision: str | None = None, *, config_only: bool = False) -> Checkpoint:
    """Find a checkpoint, and download it where it is on the hub and not in the cache.

    A name is a local folder where one exists or where it looks like a path; else it is a hub id. The hub's
    cache, offline mode and token are those of huggingface_hub (``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``
    or ``hf auth login``). What a branch or tag stands for is looked up once a process, so that all its results
    have one commit; a revision that is no commit is warned about, once a process and model.

    Args:
        model: ``"demo"``, a local folder, or a hub id (``owner/name``).
        revision: A commit, tag or branch of a hub repository; None is the default branch.
        config_only: Leave the weights where they are.

    Raises:
        ModelNotFoundError: No such folder, repository or revision, or no way to reach it.
        UnsafeWeightsError: The weights are pickles only, or the checkpoint wants its own code run.
        UnsupportedModelError: The checkpoint lacks a file, or a file is broken.
        OptionError: The name is empty, or a revision was given with a local folder or the demo model.
    """
    local = _local_folder(model)
    if local is None:
        commit = hub.resolve(model, revision)
        checkpoint = Checkpoint(model, hub.download(model, commit, weights=not config_only), commit)
    elif revision is not None:
        raise OptionError("revision", revision, f"{model!r} is a local folder, which has one; leave revision out")
    else:
        checkpoint = Checkpoint(model, local, None)
    _check_configuration(checkpoint)
    if not config_only or checkpoint.commit is None:
        _check_weights(checkpoint)
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
    except (OSError, RuntimeError, ValueError):  # too long for a name, not ours to look at, or of an unknown user
        path, is_folder, exists = Path(model), False, False
    if is_folder:
        return path.absolute()
    if exists:
        raise ModelNotFoundError(model, f"{path.absolute()} is a file", "give the folder that holds it")
    if model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1:
        raise ModelNotFoundError(
            model, f"no folder {path.absolute()}", "check the path, or give a hub id such as 'owner/name'"
        )
    return None


def _check_configuration(checkpoint: Checkpoint) -> None:
    again = f", or download it once more: hf download {checkpoint.model}" if checkpoint.commit else ""
    if not (checkpoint.folder / "config.json").is_file():
        raise UnsupportedModelError(
            checkpoint.model,
            f"{checkpoint.folder} holds no config.json",
            f"give a folder written by save_pretrained{again}",
        )
    if not any((checkpoint.folder / name).is_file() for name in _PROCESSORS):
        raise UnsupportedModelError(
            checkpoint.model,
            f"{checkpoint.folder} holds no {_PROCESSORS[0]}, so that nobody knows how it wants its images",
            f"save the image processor beside the weights: processor.save_pretrained(folder){again}",
        )
    for name in ("config.json", *_PROCESSORS):
        if (checkpoint.folder / name).is_file():
            said = _json_object(checkpoint, name, f"mend it{again}")
            for part in (said, said.get("image_processor")):  # one file may hold all processors
                if isinstance(part, dict) and part.get("auto_map"):
                    raise UnsafeWeightsError(
                        checkpoint.model,
                        f"wants code of its own run (auto_map {json.dumps(part['auto_map'])} in {name})",
                        "code from a checkpoint is never run; choose one of an architecture that transformers has",
                    )


def _json_object(checkpoint: Checkpoint, name: str, hint: str) -> dict[str, Any]:
    try:
        parsed: object = json.loads((checkpoint.folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(
            checkpoint.model, f"its {name} is no JSON that can be read ({error})", hint
        ) from error
    if not isinstance(parsed, dict):
        raise UnsupportedModelError(
            checkpoint.model, f"its {name} is no JSON object but a {type(parsed).__name__}", hint
        )
    return parsed


def _weight_names(checkpoint: Checkpoint) -> list[str]:
    """The names of the files that transformers would load, whether they are here or not.

    A name comes from the checkpoint's own JSON where it says so, and transformers unpickles what does not
    end in ``.safetensors``: hence only plain names of safetensors pass.
    """
    folder = checkpoint.folder
    sharded = (folder / _INDEX).is_file() and not (folder / _WEIGHTS).is_file()
    head = str(checkpoint.config().get("transformers_weights") or (_INDEX if sharded else _WEIGHTS))
    names = [head]
    if head.endswith(".index.json") and Path(head).name == head:
        try:
            names = sorted(set(json.loads((folder / head).read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnsupportedModelError(
                checkpoint.model, f"its {head} names no shards ({error})", "download or copy it again"
            ) from error
    unsafe = [name for name in names if not str(name).endswith(".safetensors") or Path(name).name != name]
    if unsafe:
        raise UnsafeWeightsError(
            checkpoint.model,
            f"says that its weights are in {', '.join(map(repr, unsafe))}",
            "only safetensors in its own folder are loaded; save it anew by save_pretrained where you trust it",
        )
    return names


def _check_weights(checkpoint: Checkpoint) -> None:
    names, files = _weight_names(checkpoint), checkpoint.weight_files()
    if not files:
        pickles = _pickles(checkpoint)
        if pickles:
            raise UnsafeWeightsError(
                checkpoint.model,
                f"its weights are pickles ({', '.join(pickles)}), which can run any code when they are loaded",
                "ask its author for safetensors, or convert them once where you trust them: "
                "AutoModelForImageClassification.from_pretrained(…).save_pretrained(folder)",
            )
        raise UnsupportedModelError(
            checkpoint.model, f"has no weights (no {_WEIGHTS})", "give a model saved by save_pretrained"
        )
    if len(files) < len(names):
        missing = sorted(set(names) - {file.name for file in files})
        raise UnsupportedModelError(
            checkpoint.model,
            f"lacks {len(missing)} of its {len(names)} weight files ({missing[0]}{', …' if missing[1:] else ''})",
            "download or copy them again",
        )
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(file, framework="numpy"):  # reads the header and holds it against the file's size
                pass
        except (SafetensorError, OSError) as error:
            with file.open("rb") as opened:
                pointer = opened.read(len(_LFS_POINTER)) == _LFS_POINTER
            raise UnsupportedModelError(
                checkpoint.model,
                f"{file.name} of {file.stat().st_size:,} bytes is broken or cut short ({error})",
                "it only points at the weights: run git lfs pull" if pointer else "download or copy it again",
            ) from error


def _pickles(checkpoint: Checkpoint) -> list[str]:
    """Names of pickled weights: on the hub by its list of files, without downloading one."""
    if checkpoint.commit is None:
        names = [file.name for file in checkpoint.folder.iterdir()]
    else:
        names = hub.listing(checkpoint.model, checkpoint.commit) or []
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
