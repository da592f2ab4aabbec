"""A model's name becomes a folder of safe and complete weights, or one clear error.

The hub's own client runs in this process, against a server of the hub's protocol that fails as networks do.
``test_hub.py`` tests the same in a new process.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_server import HubServer
from pictures import photo

from emotion_ops import ClassifyEmotions, ModelNotFoundError, OptionError, UnsafeWeightsError, UnsupportedModelError
from emotion_ops.models import hub
from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.testing import save_tiny_model

NAME, COMMIT = "someone/emotions", "1" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


def test_the_hash_of_the_weights_is_that_of_the_file_and_names_the_revision(folder: Path) -> None:
    checkpoint = resolve_checkpoint(str(folder))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint.weights_sha256() == digest
    assert checkpoint.revision() == f"sha256:{digest}"
    assert checkpoint.commit is None


def test_a_process_reads_unchanged_weights_once_for_their_hash(folder: Path) -> None:
    program = (
        "import sys; from emotion_ops.models.checkpoint import resolve_checkpoint\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "for _ in range(3): resolve_checkpoint(sys.argv[1]).weights_sha256()\n"
        "print(sum(name.endswith('.safetensors') for name in opened))"
    )
    code = [sys.executable, "-c", program, str(folder)]
    assert subprocess.run(code, capture_output=True, text=True, check=True).stdout == "1\n"


def test_a_sharded_checkpoint_loads_and_its_hash_covers_every_file(folder: Path) -> None:
    from transformers import ViTForImageClassification

    network = ViTForImageClassification.from_pretrained(folder)
    whole = ClassifyEmotions(on_error="raise", model=str(folder)).predict([photo()])
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    lines = "".join(f"{shard.name} {hashlib.sha256(shard.read_bytes()).hexdigest()}\n" for shard in shards)
    assert resolve_checkpoint(str(folder)).weights_sha256() == hashlib.sha256(lines.encode()).hexdigest()
    np.testing.assert_allclose(
        ClassifyEmotions(on_error="raise", model=str(folder)).predict([photo()]), whole, atol=1e-6
    )


def test_a_process_notices_new_weights_in_the_same_folder(folder: Path) -> None:
    before = ClassifyEmotions(on_error="raise", model=str(folder)).predict([photo()])
    first = resolve_checkpoint(str(folder)).revision()
    save_tiny_model(folder, seed=9)
    assert resolve_checkpoint(str(folder)).revision() != first
    assert np.abs(ClassifyEmotions(on_error="raise", model=str(folder)).predict([photo()]) - before).max() > 1e-4


def test_equal_options_share_one_network(folder: Path) -> None:
    from emotion_ops.models.engines.engine import load_engine

    engine = load_engine(str(folder), None, "cpu", "auto", "auto")
    assert load_engine(str(folder), None, "cpu", "openvino", "fp32") is engine
    assert load_engine(str(folder), None, "cpu", "torch", "bf16") is not engine


def test_two_names_of_one_device_share_one_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emotion_ops.models.engines.engine import load_engine

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    engine = load_engine(str(folder), None, "cpu", "auto", "auto")
    assert engine.device == "cpu"
    assert load_engine(str(folder), None, "auto", "auto", "auto") is engine
    assert load_engine(str(folder), None, "cpu:0", "auto", "auto") is engine


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta"])
def test_a_device_that_torch_cannot_use_is_refused_when_the_network_loads(folder: Path, device: str) -> None:
    with pytest.raises(OptionError, match=f"device='{device}' .*give 'cpu' or 'auto'"):
        ClassifyEmotions(on_error="raise", model=str(folder), device=device).predict([photo()])


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5", "flax_model.msgpack"])
def test_pickled_weights_are_refused_with_a_way_to_convert_them(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(UnsafeWeightsError, match=f"pickles .{name}.*save_pretrained"):
        resolve_checkpoint(str(folder))


def test_code_in_a_checkpoint_is_never_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageClassification": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsafeWeightsError, match=r"evil\.Model"):
        ClassifyEmotions(on_error="raise", model=str(folder)).predict([photo()])


@pytest.mark.parametrize("keep", [0, 5, 2000, -1])
def test_truncated_weights_are_refused_with_their_name_and_size(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(UnsupportedModelError, match=r"model\.safetensors of [\d,]+ bytes is broken or cut short"):
        resolve_checkpoint(str(folder))


def test_a_git_lfs_pointer_is_distinguished_from_broken_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(UnsupportedModelError, match="git lfs pull"):
        resolve_checkpoint(str(folder))


def test_the_hash_covers_only_the_weights_that_are_loaded(folder: Path) -> None:
    before = resolve_checkpoint(str(folder)).weights_sha256()
    (folder / "model.fp16.safetensors").write_bytes(b"another variant")
    checkpoint = resolve_checkpoint(str(folder))
    assert [file.name for file in checkpoint.weight_files()] == ["model.safetensors"]
    assert checkpoint.weights_sha256() == before


def shard(folder: Path, *names: str) -> None:
    """Replace the weights by an index of shards with these names, of which only the first exists."""
    (folder / "model.safetensors").rename(folder / names[0])
    index = {"weight_map": {str(number): name for number, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_shard_that_is_missing_is_named(folder: Path) -> None:
    shard(folder, "model-1.safetensors", "model-2.safetensors")
    with pytest.raises(UnsupportedModelError, match=r"lacks 1 of its 2 weight files .model-2\.safetensors"):
        resolve_checkpoint(str(folder))


def test_an_index_without_shards_is_refused(folder: Path) -> None:
    shard(folder, "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with pytest.raises(UnsupportedModelError, match="does not name the shards"):
        resolve_checkpoint(str(folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../elsewhere.safetensors", "/tmp/elsewhere.safetensors"])
def test_neither_an_index_nor_a_configuration_can_name_pickles_or_files_in_other_folders(
    folder: Path, name: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": name}))
    with pytest.raises(UnsafeWeightsError, match="only safetensors in the checkpoint's folder"):
        resolve_checkpoint(str(folder))
    (folder / "config.json").write_text(json.dumps(config))
    shard(folder, "model-1.safetensors", name)
    with pytest.raises(UnsafeWeightsError, match="only safetensors in the checkpoint's folder"):
        resolve_checkpoint(str(folder))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", "has no config.json"),
        ("preprocessor_config.json", "image processor"),
        ("model.safetensors", "has no weights"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused_with_the_name_of_the_file(folder: Path, name: str, words: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UnsupportedModelError, match=words):
        resolve_checkpoint(str(folder))


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_configuration_that_is_not_a_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UnsupportedModelError, match=r"is not (a|readable) JSON"):
        resolve_checkpoint(str(folder))


def test_an_architecture_that_does_not_classify_images_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(UnsupportedModelError, match="transformers cannot load it as an image classifier"):
        ClassifyEmotions(on_error="raise", model=str(folder)).predict([photo()])


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "~nobody-here/x", "a\\b"])
def test_the_error_for_a_missing_folder_has_its_absolute_path(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="no folder /"):
        resolve_checkpoint(name)


def test_a_revision_of_a_local_folder_is_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match="remove revision"):
        resolve_checkpoint(str(folder), "main")
    with pytest.raises(OptionError, match="remove revision"):
        resolve_checkpoint("demo", "main")


def test_a_file_an_empty_name_and_a_name_that_is_too_long_have_their_own_errors(folder: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="is a file; give the folder"):
        resolve_checkpoint(str(folder / "model.safetensors"))
    with pytest.raises(OptionError, match="hub id"):
        resolve_checkpoint("")
    with pytest.raises(ModelNotFoundError, match="neither a local folder nor a hub id"):
        resolve_checkpoint("a" * 300)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub with one model, for the client of this process, with an empty cache."""
    from huggingface_hub import constants

    with HubServer() as running:
        running.add_commit(NAME, save_tiny_model(tmp_path / "original"), COMMIT)
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.5)
        monkeypatch.setattr(hub, "_warned", set())
        forget()
        yield running
        forget()


def forget() -> None:
    """Forget what this process has looked up."""
    hub.resolve_commit.cache_clear()
    hub.download.cache_clear()


FAULTS = ("broken", "portal", "down", "silent")


@pytest.mark.parametrize("fault", FAULTS)
def test_the_cache_is_used_however_the_network_fails(server: HubServer, fault: str) -> None:
    online = resolve_checkpoint(NAME)
    forget()
    server.fault = fault  # type: ignore[assignment]
    assert resolve_checkpoint(NAME) == online
    assert resolve_checkpoint(NAME, COMMIT).folder == online.folder


@pytest.mark.parametrize("revision", [None, COMMIT])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_is_not_cached_is_one_clear_error_however_the_network_fails(
    server: HubServer, fault: str, revision: str | None
) -> None:
    server.fault = fault  # type: ignore[assignment]
    with pytest.raises(ModelNotFoundError, match=r"cannot be downloaded .*check the network.*model='demo'"):
        resolve_checkpoint(NAME, revision)


def test_for_a_pinned_model_in_the_cache_the_hub_is_not_asked(server: HubServer) -> None:
    resolve_checkpoint(NAME, COMMIT)
    server.requests.clear()
    forget()
    assert resolve_checkpoint(NAME, COMMIT).commit == COMMIT
    assert server.requests == []


def test_offline_a_cache_without_the_weights_is_not_enough(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_checkpoint(NAME, config_only=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match=f"{COMMIT}' is not complete in the local cache, and HF_HUB_OFFLINE"):
        resolve_checkpoint(NAME)
    assert resolve_checkpoint(NAME, config_only=True).weight_files() == []


def test_a_cache_that_cannot_be_written_is_distinguished_from_a_network_failure(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelNotFoundError, match=r"cannot be written to the cache .*HF_HOME"):
        resolve_checkpoint(NAME)


def test_pickles_are_named_even_when_the_hub_is_down(server: HubServer, tmp_path: Path) -> None:
    (tmp_path / "original" / "model.safetensors").rename(tmp_path / "original" / "pytorch_model.bin")
    resolve_checkpoint(NAME, config_only=True)
    server.fault = "down"
    with pytest.raises(UnsafeWeightsError, match=r"pytorch_model\.bin"):
        resolve_checkpoint(NAME)


def test_code_of_a_model_on_the_hub_is_refused_from_its_configuration_alone(server: HubServer, tmp_path: Path) -> None:
    config = tmp_path / "original" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(UnsafeWeightsError, match=r"evil\.Model"):
        resolve_checkpoint(NAME, config_only=True)
    assert not any(request.endswith((".safetensors", ".py")) for request in server.requests)


def test_an_unpinned_model_is_warned_about_once_for_all_its_revisions(
    server: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "emotion_ops"):
        for revision in (None, "main", None, COMMIT):
            assert resolve_checkpoint(NAME, revision, config_only=True).commit == COMMIT
    assert caplog.text.count(f"pin it: revision='{COMMIT}'") == 1
