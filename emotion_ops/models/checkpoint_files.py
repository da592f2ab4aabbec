"""Checks of a checkpoint's files: they are complete, they are safetensors, and they run no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emotion_ops.errors import UnsafeWeightsError, UnsupportedModelError
from emotion_ops.models import hub

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Where a checkpoint may keep the configuration of its image processor."""

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
_LFS_POINTER = b"version https://git-lfs"


def check_configuration(model: str, folder: Path, commit: str | None) -> None:
    """Check that the configurations of the network and of the image processor are there and name no code to run.

    Args:
        model: The model's name, for messages.
        folder: The checkpoint.
        commit: The hub's commit; None for a local folder.

    Raises:
        UnsafeWeightsError: The checkpoint needs its own code.
        UnsupportedModelError: A file is missing or is not a JSON object.
    """
    or_download = f", or download it again: hf download {model}" if commit else ""
    if not (folder / "config.json").is_file():
        what = f"{folder} has no config.json"
        raise UnsupportedModelError(model, what, f"give a folder written by save_pretrained{or_download}")
    names = [name for name in PROCESSOR_FILES if (folder / name).is_file()]
    if not names:
        raise UnsupportedModelError(
            model,
            f"{folder} has no {PROCESSOR_FILES[0]}, which says how to prepare images",
            f"save the image processor with the weights: processor.save_pretrained(folder){or_download}",
        )
    for name in ("config.json", *names):
        content = _json_object(model, folder / name, f"repair it{or_download}")
        for part in (content, content.get("image_processor")):  # one file may hold all processors
            if isinstance(part, dict) and part.get("auto_map"):
                raise UnsafeWeightsError(
                    model,
                    f"it needs its own code (auto_map {json.dumps(part['auto_map'])} in {name})",
                    "code from a checkpoint is never run; choose a model whose architecture transformers has",
                )


def _json_object(model: str, file: Path, hint: str) -> dict[str, Any]:
    try:
        parsed: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(model, f"its {file.name} is not readable JSON ({error})", hint) from error
    if not isinstance(parsed, dict):
        what = f"its {file.name} is not a JSON object but a {type(parsed).__name__}"
        raise UnsupportedModelError(model, what, hint)
    return parsed


def weight_names(model: str, folder: Path) -> list[str]:
    """The names of the weight files that transformers would load, whether they are here or not.

    The checkpoint's JSON may name them, and transformers unpickles a file that does not end in ``.safetensors``.
    So only plain names of safetensors are allowed.

    Raises:
        UnsafeWeightsError: It names another file.
        UnsupportedModelError: Its index cannot be read.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    is_sharded = (folder / _INDEX).is_file() and not (folder / _WEIGHTS).is_file()
    head = str(config.get("transformers_weights") or (_INDEX if is_sharded else _WEIGHTS))
    names = [head]
    if head.endswith(".index.json") and Path(head).name == head:
        try:
            names = sorted(set(json.loads((folder / head).read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"its {head} does not name the shards ({error})"
            raise UnsupportedModelError(model, what, "download or copy it again") from error
    unsafe = [name for name in names if not str(name).endswith(".safetensors") or Path(name).name != name]
    if unsafe:
        raise UnsafeWeightsError(
            model,
            f"it names {', '.join(map(repr, unsafe))} as its weights",
            "only safetensors in the checkpoint's folder are loaded; if you trust it, save it by save_pretrained",
        )
    return names


def check_weights(model: str, folder: Path, commit: str | None) -> None:
    """Check that all weight files are there and complete, by their headers.

    Args:
        model: The model's name, for messages.
        folder: The checkpoint.
        commit: The hub's commit; None for a local folder.

    Raises:
        UnsafeWeightsError: The weights are pickles only, or are not in the folder.
        UnsupportedModelError: A file is missing, broken or cut short.
    """
    names = weight_names(model, folder)
    missing = [name for name in names if not (folder / name).is_file()]
    if len(missing) == len(names):
        if pickles := _pickles(model, folder, commit):
            raise UnsafeWeightsError(
                model,
                f"its weights are pickles ({', '.join(pickles)}), which can run any code when they are loaded",
                "ask its author for safetensors, or if you trust them convert them once: "
                "AutoModelForImageClassification.from_pretrained(…).save_pretrained(folder)",
            )
        raise UnsupportedModelError(
            model, f"it has no weights (no {_WEIGHTS})", "give a model saved by save_pretrained"
        )
    if missing:
        what = f"it lacks {len(missing)} of its {len(names)} weight files ({missing[0]}{', …' if missing[1:] else ''})"
        raise UnsupportedModelError(model, what, "download or copy them again")
    for name in names:
        _check_header(model, folder / name)


def _check_header(model: str, file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):  # reads the header and compares it with the file's size
            pass
    except (SafetensorError, OSError) as error:
        with file.open("rb") as stream:
            is_pointer = stream.read(len(_LFS_POINTER)) == _LFS_POINTER
        raise UnsupportedModelError(
            model,
            f"{file.name} of {file.stat().st_size:,} bytes is broken or cut short ({error})",
            "it is only a pointer to the weights: run git lfs pull" if is_pointer else "download or copy it again",
        ) from error


def _pickles(model: str, folder: Path, commit: str | None) -> list[str]:
    """Names of pickled weights; for the hub from its list of files, without downloading one."""
    names = [file.name for file in folder.iterdir()] if commit is None else hub.file_names(model, commit) or []
    return sorted(name for name in names if name.endswith(_PICKLES) and "/" not in name and name != "training_args.bin")
