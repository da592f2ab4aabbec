"""The numbers are those of ``transformers.pipeline`` on the same weights and images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from comparison.images import VIT_B16
from pictures import encode, every_mode, jpeg, photo
from PIL import Image
from transformers import AutoModelForImageClassification

from emotion_ops import EMOTIONS, Cache, ClassifyEmotions, Decoding, UnsupportedModelError
from emotion_ops.models.checkpoint import resolve_checkpoint
from emotion_ops.models.engines.choice import ENGINES, OPENVINO_ARCHITECTURES
from emotion_ops.models.engines.class_token import ClassTokenLayer, use_class_token_only
from emotion_ops.models.engines.torch_network import load_network
from emotion_ops.testing import save_tiny_model

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5


def pipeline_probabilities(model: str, encoded: list[bytes]) -> np.ndarray:
    """The probabilities that the pipeline gives to its user, in the order of id2label."""
    from transformers import pipeline

    classify = pipeline("image-classification", model=model, image_processor=model, top_k=None)
    labels = classify.model.config.id2label
    # a number for top_k: with None some versions of the pipeline return five of the seven
    rows = [classify(Image.open(io.BytesIO(data)), top_k=len(labels)) for data in encoded]
    by_label = [{result["label"]: result["score"] for result in row} for row in rows]
    return np.array([[row[labels[i]] for i in range(len(labels))] for row in by_label])


def our_probabilities(model: str, encoded: list[bytes], **options: Any) -> np.ndarray:
    table = pa.table({"image": pa.array(encoded, pa.binary())})
    operator = ClassifyEmotions(model=model, precision="fp32", cache=Cache(0), **options)  # computes at every call
    out = operator(table)
    assert out.column("emotion_error").null_count == len(encoded), out.column("emotion_error").to_pylist()
    return np.stack([out.column(name).to_numpy() for name in operator.output_columns().probabilities], axis=1)


@pytest.fixture(scope="module")
def modes() -> dict[str, bytes]:
    return every_mode()


@pytest.fixture(scope="module")
def vit_b16(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The default model's architecture and labels, with random weights and logits of a trained network's size, ±5.

    Larger logits would amplify rounding: with ±43 the pipeline's own probabilities differ by 1.0e-5 between batch
    sizes on processors with AMX, which is the whole tolerance.
    """
    from safetensors.torch import load_file, save_file

    folder = save_tiny_model(tmp_path_factory.mktemp("models") / "vit-b16", **VIT_B16)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"] /= 8
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


@pytest.fixture(scope="module")
def expected(vit_b16: str, modes: dict[str, bytes]) -> np.ndarray:
    return pipeline_probabilities(vit_b16, list(modes.values()))


@pytest.mark.parametrize(("engine", "batch_size"), [("torch", 1), ("torch", 7), ("torch", 32), ("openvino", 7)])
def test_vit_b16_gives_the_pipelines_numbers_for_every_mode_and_format_at_any_batch_size(
    vit_b16: str, modes: dict[str, bytes], expected: np.ndarray, engine: str, batch_size: int
) -> None:
    ours = our_probabilities(vit_b16, list(modes.values()), batch_size=batch_size, engine=engine)
    differences = dict(zip(modes, np.abs(ours - expected).max(axis=1), strict=True))
    assert {name: value for name, value in differences.items() if value > TOLERANCE} == {}


def test_the_weights_of_this_test_are_sensitive_to_the_image_and_to_its_resampling(
    vit_b16: str, modes: dict[str, bytes], expected: np.ndarray
) -> None:
    """Otherwise the parity above would hold for any preprocessing."""
    assert np.ptp(expected, axis=0).max() > 0.5
    bicubic = encode(photo(1).resize((224, 224), Image.Resampling.BICUBIC))
    difference = np.abs(our_probabilities(vit_b16, [bicubic])[0] - expected[list(modes).index("RGB PNG")]).max()
    assert difference > 1000 * TOLERANCE


def test_probabilities_do_not_depend_on_other_images_of_the_batch(tiny_model: str) -> None:
    images = [jpeg(seed, 40 + seed, 60) for seed in range(12)]
    alone = np.concatenate([our_probabilities(tiny_model, [image]) for image in images])
    together = our_probabilities(tiny_model, images[::-1], batch_size=5)[::-1]
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_the_label_is_the_pipelines_first_and_columns_are_bound_to_labels_by_name(tmp_path: Path) -> None:
    shuffled = ("happiness", "Anger", "sadness", "neutral", "surprised", "fear", "disgust")
    model = str(save_tiny_model(tmp_path / "model", labels=shuffled))
    images = [jpeg(seed) for seed in range(6)]
    out = ClassifyEmotions(model=model)(pa.table({"image": images}))
    assert out.column_names[1:] == [
        "emotion", "emotion_happy", "emotion_angry", "emotion_sad", "emotion_neutral", "emotion_surprise",
        "emotion_fear", "emotion_disgust", "emotion_error",
    ]  # fmt: skip
    expected = pipeline_probabilities(model, images)
    bound = ("happy", "angry", "sad", "neutral", "surprise", "fear", "disgust")
    assert out.column("emotion").to_pylist() == [bound[i] for i in expected.argmax(axis=1)]
    np.testing.assert_allclose(out.column("emotion_angry").to_numpy(), expected[:, 1], atol=TOLERANCE)


def test_pil_images_and_rgb_arrays_give_the_same_numbers_as_their_encoded_form(tiny_model: str) -> None:
    image = photo(5)
    classifier = ClassifyEmotions(on_error="raise", model=tiny_model)
    encoded, pil, array = classifier.predict([encode(image), image, np.asarray(image)])
    np.testing.assert_allclose(pil, encoded, atol=1e-7)
    np.testing.assert_allclose(array, encoded, atol=1e-7)


def test_bgr_arrays_need_an_option(tiny_model: str) -> None:
    rgb = np.asarray(photo(5))
    bgr = rgb[:, :, ::-1]
    expected = ClassifyEmotions(on_error="raise", model=tiny_model).predict([rgb])
    np.testing.assert_allclose(
        ClassifyEmotions(on_error="raise", model=tiny_model, decoding=Decoding(channels="bgr")).predict([bgr]),
        expected,
        atol=1e-7,
    )
    assert np.abs(ClassifyEmotions(on_error="raise", model=tiny_model).predict([bgr]) - expected).max() > 10 * TOLERANCE


ARCHITECTURES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "swin": ("Swin", {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
             "ViTImageProcessorPil", {"size": {"height": 32, "width": 32}}),
    "beit": ("Beit", {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
             "BeitImageProcessorPil", {"size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}),
    "convnext": ("ConvNext", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 64},
                 "ConvNextImageProcessorPil", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
    "resnet": ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
               "BitImageProcessorPil", {"size": {"shortest_edge": 40}, "crop_size": {"height": 33, "width": 47}}),
    "levit": ("Levit", {"image_size": 224, "hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1], "key_dim": [8, 8, 8]},
              "LevitImageProcessorPil", {}),
    "efficientnet": ("EfficientNet", {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
                     "EfficientNetImageProcessorPil", {"size": {"height": 64, "width": 64}, "rescale_offset": True, "rescale_factor": 1 / 127.5, "do_center_crop": False}),
    "mobilevit": ("MobileViT", {"image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 16, 24, 32], "num_attention_heads": 2},
               "MobileViTImageProcessorPil", {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}),
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_architecture_of_the_auto_classes_gives_the_pipelines_numbers(
    name: str, engine: str, tmp_path: Path
) -> None:
    if engine == "openvino" and name not in OPENVINO_ARCHITECTURES:
        pytest.skip(f"OpenVINO cannot run {name}: auto leaves it to torch")
    import torch
    import transformers

    family, config, processor, settings = ARCHITECTURES[name]
    labels = ("cat", "dog", "horse")
    torch.manual_seed(1)
    network = getattr(transformers, f"{family}ForImageClassification")(
        getattr(transformers, f"{family}Config")(
            **config, id2label=dict(enumerate(labels)), label2id={x: i for i, x in enumerate(labels)}
        )
    )
    network.save_pretrained(tmp_path)
    getattr(transformers, processor)(**settings).save_pretrained(tmp_path)
    images = [jpeg(1, 300, 200), jpeg(2, 200, 301), jpeg(3, 30, 20)]
    ours = our_probabilities(str(tmp_path), images, engine=engine)
    assert ours.shape == (3, 3)
    np.testing.assert_allclose(ours, pipeline_probabilities(str(tmp_path), images), atol=TOLERANCE)


def test_labels_that_are_not_emotions_keep_their_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = str(save_tiny_model(tmp_path, labels=("Contempt", "happiness", "sad")))
    columns = ClassifyEmotions(model=model).output_columns()
    assert columns.names == ("emotion", "emotion_Contempt", "emotion_happy", "emotion_sad", "emotion_error")
    assert "'Contempt'" in caplog.text


def test_a_checkpoint_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_tiny_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if not k.startswith("classifier")},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(UnsupportedModelError, match="would be random"):
        ClassifyEmotions(on_error="raise", model=str(folder)).predict([photo()])


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_a_model_whose_outputs_are_not_a_distribution_is_refused(problem: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path, problem_type=problem)
    with pytest.raises(UnsupportedModelError, match="sum to 1"):
        ClassifyEmotions(model=str(model)).output_columns()


def test_the_default_labels_are_in_the_default_models_order() -> None:
    assert EMOTIONS == ("sad", "disgust", "angry", "neutral", "fear", "surprise", "happy")


def test_a_vit_computes_its_last_layer_for_the_class_token_alone_and_gives_the_same_numbers(tmp_path: Path) -> None:
    checkpoint = resolve_checkpoint(str(save_tiny_model(tmp_path / "model")))
    faster, whole = load_network(checkpoint), AutoModelForImageClassification.from_pretrained(tmp_path / "model")
    widths: list[int] = []
    faster.vit.layernorm.register_forward_hook(lambda module, inputs, output: widths.append(output.shape[1]))
    size = whole.config.image_size
    pixels = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(faster(pixels).logits, whole(pixels).logits, atol=1e-5, rtol=1e-5)
    assert widths == [1]


def test_a_vit_with_another_last_layer_is_not_changed(tmp_path: Path) -> None:
    whole = AutoModelForImageClassification.from_pretrained(save_tiny_model(tmp_path / "model")).eval()
    last = whole.vit.layers[-1]
    last.register_forward_hook(lambda module, inputs, output: output + torch.arange(output.shape[-1]))
    use_class_token_only(whole)
    assert whole.vit.layers[-1] is last


@pytest.mark.parametrize("difference", ["another name", "no layers", "another attention"])
def test_a_vit_that_another_transformers_builds_in_another_way_loads_without_the_speedup(
    tmp_path: Path, difference: str
) -> None:
    whole = AutoModelForImageClassification.from_pretrained(save_tiny_model(tmp_path / "model")).eval()
    last = whole.vit.layers[-1]
    if difference == "another name":
        whole.vit.blocks = whole.vit.layers
        del whole.vit.layers
    elif difference == "no layers":
        whole.vit.layers = torch.nn.ModuleList()
    else:
        last.attention.key = last.attention.k_proj
        del last.attention.k_proj
    use_class_token_only(whole)
    assert not any(isinstance(module, ClassTokenLayer) for module in whole.modules())
