"""A model in a local folder: safe weights that are whole, or one clear error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import save_vit
from pictures import photo

from emotion_ops import EmotionClassifier, ModelNotFoundError, OptionError, UnsafeWeightsError, UnsupportedModelError
from emotion_ops.models.weights import locate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_vit(tmp_path / "model")


def test_the_hash_of_the_weights_is_the_files_own_and_names_the_revision(folder: Path) -> None:
    checkpoint = locate(str(folder))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint.weights_sha256() == digest
    assert checkpoint.revision() == f"sha256:{digest}"
    assert checkpoint.commit is None


def test_a_sharded_checkpoint_loads_and_each_of_its_files_counts_in_the_hash(folder: Path) -> None:
    from transformers import ViTForImageClassification

    network = ViTForImageClassification.from_pretrained(folder)
    whole = EmotionClassifier(model=str(folder)).predict([photo()])
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    lines = "".join(f"{shard.name} {hashlib.sha256(shard.read_bytes()).hexdigest()}\n" for shard in shards)
    assert locate(str(folder)).weights_sha256() == hashlib.sha256(lines.encode()).hexdigest()
    np.testing.assert_allclose(EmotionClassifier(model=str(folder)).predict([photo()]), whole, atol=1e-6)


def test_new_weights_in_the_same_folder_are_seen_by_the_same_process(folder: Path) -> None:
    before = EmotionClassifier(model=str(folder)).predict([photo()])
    first = locate(str(folder)).revision()
    save_vit(folder, seed=9)
    assert locate(str(folder)).revision() != first
    assert np.abs(EmotionClassifier(model=str(folder)).predict([photo()]) - before).max() > 1e-4


def test_equal_options_share_one_network(folder: Path) -> None:
    from emotion_ops.models.engine import load

    engine = load(str(folder), None, "cpu", "auto", "auto")
    assert load(str(folder), None, "cpu", "torch", "fp32") is engine
    assert load(str(folder), None, "cpu", "torch", "bf16") is not engine


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5", "flax_model.msgpack"])
def test_weights_that_are_pickles_are_refused_with_the_way_to_convert_them(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(UnsafeWeightsError, match=f"pickles .{name}.*save_pretrained"):
        locate(str(folder))


def test_code_in_a_checkpoint_is_never_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageClassification": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UnsafeWeightsError, match=r"evil\.Model"):
        EmotionClassifier(model=str(folder))


@pytest.mark.parametrize("keep", [0, 5, 2000, -1])
def test_weights_cut_short_are_refused_by_name_and_size(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(UnsupportedModelError, match=r"model\.safetensors of [\d,]+ bytes is broken or cut short"):
        locate(str(folder))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("config.json", "no config.json"),
        ("preprocessor_config.json", "image processor"),
        ("model.safetensors", "no weights"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused_with_what_is_missing(folder: Path, name: str, words: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UnsupportedModelError, match=words):
        locate(str(folder))


def test_a_configuration_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(UnsupportedModelError, match="no JSON"):
        locate(str(folder))


def test_an_architecture_that_classifies_no_images_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(UnsupportedModelError, match="transformers cannot load it as an image classifier"):
        EmotionClassifier(model=str(folder)).predict([photo()])


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c"])
def test_a_folder_that_is_not_there_is_named_in_full(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="no folder /"):
        locate(name)


def test_a_revision_of_a_local_folder_is_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match="leave revision out"):
        locate(str(folder), "main")
    with pytest.raises(OptionError, match="leave revision out"):
        locate("demo", "main")
