"""What a checkpoint's files say about its labels and its images is followed exactly, or refused at load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pictures import encode, jpeg, photo
from PIL import Image

from emotion_ops import (
    ClassifyEmotions,
    ModelError,
    RowError,
    UnsafeWeightsError,
    UnsupportedModelError,
)
from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.models.engines.engine import load_engine
from emotion_ops.models.pixel_spec import read_pixel_spec
from emotion_ops.testing import save_tiny_model

CONFIG, PROCESSOR, PROCESSORS = "config.json", "preprocessor_config.json", "processor_config.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


def change(folder: Path, name: str, *without: str, **settings: Any) -> None:
    """Set and remove some keys of a JSON file."""
    content = {**json.loads((folder / name).read_text()), **settings}
    (folder / name).write_text(json.dumps({key: value for key, value in content.items() if key not in without}))


def nest(folder: Path) -> None:
    """Move the image processor's settings to where processors of text and images have theirs."""
    settings = json.loads((folder / PROCESSOR).read_text())
    (folder / PROCESSOR).unlink()
    (folder / PROCESSORS).write_text(json.dumps({"processor_class": "SomeProcessor", "image_processor": settings}))


@pytest.mark.parametrize("key", ["AutoImageProcessor", "AutoFeatureExtractor"])
@pytest.mark.parametrize("nested", [False, True])
def test_an_image_processor_with_its_own_code_is_refused_and_not_replaced_by_another(
    folder: Path, key: str, nested: bool
) -> None:
    change(folder, PROCESSOR, auto_map={key: "evil.Processor"})
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    if nested:
        nest(folder)
    with pytest.raises(UnsafeWeightsError, match=r"evil\.Processor.*processor_config\.json"):
        resolve_checkpoint(str(folder), config_only=True)


@pytest.mark.parametrize("nested", [False, True])
def test_an_image_processor_whose_class_transformers_lacks_is_refused_and_not_replaced_by_another(
    folder: Path, nested: bool
) -> None:
    change(folder, PROCESSOR, image_processor_type="GammaImageProcessor")
    if nested:
        nest(folder)
    with pytest.raises(UnsupportedModelError, match="its image processor does not load"):
        ClassifyEmotions(on_error="raise", model=str(folder)).predict([photo()])


@pytest.mark.parametrize(
    "settings",
    [
        {"image_processor_type": "ViTImageProcessor"},
        {"image_processor_type": "ViTImageProcessorFast"},
        {"image_processor_type": "ViTImageProcessorPil"},
        {"feature_extractor_type": "ViTFeatureExtractor"},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("nested", [False, True])
def test_an_image_processor_of_transformers_is_found_by_each_name_it_has_had(
    folder: Path, settings: dict[str, str], nested: bool
) -> None:
    expected = read_pixel_spec(resolve_checkpoint(str(folder)))
    change(folder, PROCESSOR, "image_processor_type")
    change(folder, PROCESSOR, **settings)
    if nested:
        nest(folder)
    found = read_pixel_spec(resolve_checkpoint(str(folder)))
    assert (found.height, found.width, found.scale, found.offset) == (32, 32, expected.scale, expected.offset)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_an_image_processors_file_that_is_not_a_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / PROCESSOR).write_text(text)
    with pytest.raises(UnsupportedModelError, match=r"preprocessor_config\.json is not (a|readable) JSON"):
        resolve_checkpoint(str(folder))


@pytest.mark.parametrize("settings", [{"auto_map": None}, {"size": "large"}, {"image_processor_type": 7}], ids=str)
def test_invalid_settings_of_an_image_processor_are_one_clear_error(folder: Path, settings: dict[str, Any]) -> None:
    change(folder, PROCESSOR, **settings)
    with pytest.raises(UnsupportedModelError, match=r"image processor does not load|cannot process"):
        ClassifyEmotions(on_error="raise", model=str(folder)).predict([photo()])


@pytest.mark.parametrize("settings", [{"size": {"shortest_edge": 32}}, {"do_resize": False}], ids=str)
def test_an_image_processor_that_gives_different_sizes_is_refused_before_an_image_is_decoded(
    folder: Path, settings: dict[str, Any]
) -> None:
    change(folder, PROCESSOR, **settings)
    with pytest.raises(UnsupportedModelError, match=r"a batch needs one size; set size .*crop_size"):
        load_engine(str(folder), None, "cpu", "auto", "auto")


def test_a_size_that_the_network_does_not_take_is_refused_before_an_image_is_decoded(folder: Path) -> None:
    change(folder, PROCESSOR, size={"height": 48, "width": 40})
    with pytest.raises(UnsupportedModelError, match=r"cannot take the 48 × 40 pixels .*; set size"):
        load_engine(str(folder), None, "cpu", "auto", "auto")


def test_a_network_with_another_number_of_outputs_than_labels_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import ViTForImageClassification

    forward = ViTForImageClassification.forward

    def twice_as_many(self: Any, *args: Any, **options: Any) -> Any:
        output = forward(self, *args, **options)
        output.logits = torch.cat([output.logits, output.logits], dim=-1)
        return output

    monkeypatch.setattr(ViTForImageClassification, "forward", twice_as_many)
    with pytest.raises(UnsupportedModelError, match=r"gives 14 numbers, and its config\.json names 7 labels"):
        load_engine(str(folder), None, "cpu", "torch", "auto")


LABELS = ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy")


@pytest.mark.parametrize(
    "id2label",
    [
        {str(index + 1): label for index, label in enumerate(LABELS)},
        {str(index * 2): label for index, label in enumerate(LABELS)},
        {f"0{index}": label for index, label in enumerate(LABELS)},
        {label: str(index) for index, label in enumerate(LABELS)},
        {**{str(index): label for index, label in enumerate(LABELS)}, "6": None},
        list(LABELS),
        "sad",
    ],
    ids=["from 1", "even", "two digits", "reversed", "null", "list", "string"],
)
def test_labels_that_are_not_numbered_from_0_on_are_refused_rather_than_bound_by_position(
    folder: Path, id2label: object
) -> None:
    change(folder, CONFIG, id2label=id2label)
    with pytest.raises(UnsupportedModelError, match="id2label does not give a name to each number"):
        ClassifyEmotions(model=str(folder)).output_columns()


def test_a_num_labels_that_is_not_a_number_is_refused(folder: Path) -> None:
    change(folder, CONFIG, "id2label", "label2id", num_labels="seven")
    with pytest.raises(UnsupportedModelError, match="num_labels is 'seven'"):
        ClassifyEmotions(model=str(folder)).output_columns()


@pytest.mark.parametrize("prefix", ["emotion", "face"])
def test_a_label_that_would_be_a_second_error_column_is_refused(tmp_path: Path, prefix: str) -> None:
    model = str(save_tiny_model(tmp_path, labels=("error", "happy", "sad")))
    with pytest.raises(UnsupportedModelError, match=f"a second column '{prefix}_error'"):
        ClassifyEmotions(model=model, prefix=prefix).output_columns()


@pytest.fixture
def convnext(tmp_path: Path) -> str:
    """A checkpoint whose resize only its own image processor can do."""
    import torch
    from transformers import ConvNextConfig, ConvNextForImageClassification, ConvNextImageProcessorPil

    torch.manual_seed(0)
    sizes = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 64}
    ConvNextForImageClassification(ConvNextConfig(**sizes)).save_pretrained(tmp_path)
    ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.875).save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_narrow_image_that_would_become_huge_in_the_checkpoints_resize_fails_alone(convnext: str) -> None:
    strips = [encode(Image.new("RGB", size)) for size in ((60_000, 1), (1, 60_000))]
    out = ClassifyEmotions(model=convnext)(pa.table({"image": [jpeg(), *strips, jpeg()]}))
    first, *failed, last = out["emotion_error"].to_pylist()
    assert (first, last) == (None, None)
    assert all("shorter side of 64, would be 245,760,000" in error for error in failed)
    assert all(error.startswith("too_large") for error in failed)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (
            MemoryError(),
            "too_large: the checkpoint's ConvNextImageProcessorPil failed on 97 × 130 pixels (MemoryError)",
        ),
        (
            ZeroDivisionError("by 0"),
            "unsupported: the checkpoint's ConvNextImageProcessorPil failed on 97 × 130 pixels (by 0)",
        ),
    ],
    ids=["memory", "other"],
)
def test_an_image_that_the_checkpoints_resize_fails_on_fails_alone(
    convnext: str, fault: Exception, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import ConvNextImageProcessorPil

    resize = ConvNextImageProcessorPil.resize

    def fails_on_one(self: Any, image: np.ndarray, *args: Any, **options: Any) -> np.ndarray:
        if 130 in image.shape:
            raise fault
        return resize(self, image, *args, **options)

    monkeypatch.setattr(ConvNextImageProcessorPil, "resize", fails_on_one)
    table = pa.table({"image": [jpeg(), jpeg(0, 97, 130), jpeg()]})
    assert ClassifyEmotions(model=convnext)(table)["emotion_error"].to_pylist() == [None, error, None]


def test_an_image_that_the_checkpoints_resize_brings_to_another_size_is_a_row_error(
    convnext: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = read_pixel_spec(resolve_checkpoint(convnext)).transform
    assert transform(photo()).shape == (64, 64, 3)
    monkeypatch.setattr("transformers.ConvNextImageProcessorPil.resize", lambda self, image, *args, **options: image)
    with pytest.raises(RowError, match="97 × 131 pixels become 97 × 131, and the network takes 64 × 64"):
        transform(photo())


def test_broken_weights_in_fp32_are_not_explained_by_the_precision(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"] *= float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for precision, hint in (("fp32", "choose another checkpoint"), ("bf16", 'give precision="fp32"')):
        with pytest.raises(ModelError, match=f"not a number, in {precision} on cpu; .*{hint}"):
            ClassifyEmotions(on_error="raise", model=str(folder), precision=precision).predict([photo()])
