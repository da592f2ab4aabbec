"""The demo model is small, safe to load, and classifies drawn faces."""

import io
import json

import pytest
from drawn_faces import encode_face
from PIL import Image

from emotion_ops import EMOTIONS
from emotion_ops.demo import MODEL_DIR

HELD_OUT_SEED = 30_000_000
"""A seed that neither the training set nor the held-out set of the training script uses."""


def test_the_model_folder_takes_at_most_two_megabytes() -> None:
    assert sum(file.stat().st_size for file in MODEL_DIR.rglob("*") if file.is_file()) <= 2_000_000


def test_the_only_weights_are_safetensors() -> None:
    assert sorted(file.name for file in MODEL_DIR.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]


def test_the_labels_are_the_emotions_in_order() -> None:
    config = json.loads((MODEL_DIR / "config.json").read_text())
    assert config["id2label"] == {str(index): name for index, name in enumerate(EMOTIONS)}
    assert config["label2id"] == {name: index for index, name in enumerate(EMOTIONS)}


def test_the_processor_has_its_standard_name() -> None:
    processor = json.loads((MODEL_DIR / "preprocessor_config.json").read_text())
    assert processor["image_processor_type"] == "ViTImageProcessor"
    assert processor["size"] == {"height": 64, "width": 64}


@pytest.mark.slow
def test_at_least_95_percent_of_held_out_faces_get_the_right_label() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    processor = transformers.AutoImageProcessor.from_pretrained(MODEL_DIR)
    model = transformers.ViTForImageClassification.from_pretrained(MODEL_DIR)
    drawn = [EMOTIONS[index % 7] for index in range(350)]
    faces = [Image.open(io.BytesIO(encode_face(emotion, HELD_OUT_SEED + index))) for index, emotion in enumerate(drawn)]
    with torch.inference_mode():
        logits = model(**processor(faces, return_tensors="pt")).logits
    guessed = [EMOTIONS[index] for index in logits.argmax(1).tolist()]
    right = sum(guess == truth for guess, truth in zip(guessed, drawn, strict=True))
    assert right / len(drawn) >= 0.95


def test_the_image_classification_pipeline_loads_the_folder() -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    classify = transformers.pipeline("image-classification", model=str(MODEL_DIR))
    face = Image.open(io.BytesIO(encode_face("happy", HELD_OUT_SEED)))
    assert classify(face, top_k=1)[0]["label"] == "happy"
