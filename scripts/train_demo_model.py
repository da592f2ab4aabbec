"""Train the demo model, a tiny Vision Transformer of 64 × 64 pixels, on drawn faces.

    python scripts/train_demo_model.py              # trains, measures and saves the model
    python scripts/train_demo_model.py --measure    # measures the saved model

The defaults give the model in emotion_ops/demo/model; its README has the accuracy. Each face is used whole and cropped,
so that the model also classifies the crops that `faces="largest"` makes.
"""

import argparse
import functools
import io
import math
import multiprocessing
import pathlib
import time
from collections.abc import Sequence

import numpy as np
import torch
from drawn_faces import encode_face, find_pose
from numpy.typing import NDArray
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from emotion_ops import EMOTIONS
from emotion_ops.demo import MODEL_DIR

SIDE = 64
TRAINING_SEED = 10_000_000
HELD_OUT_SEED = 20_000_000
DRAWN_SIZES = (96, 128, 160, 224, 224, 224, 320)

YUNET_CENTRE, YUNET_SIDE = 0.10, 1.76
"""Mean box of YuNet on 210 drawn faces: how far its centre is below that of the head, and its longer side, in face
units (`drawn_faces.drawing.Pose`)."""

CROP_SIDES = (1.55, 2.7)
"""Range of the sides of crops for training, in face units: from YuNet's box without a margin to the whole image."""


def resize(image: Image.Image, box: tuple[float, float, float, float] | None = None) -> NDArray[np.uint8]:
    """Resize an image, or a box in it, as the saved image processor does."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box))


def decode(encoded: bytes) -> Image.Image:
    with Image.open(io.BytesIO(encoded)) as image:
        return image.convert("RGB")


def crop_box(seed: int, size: int, side: float, shift: tuple[float, float]) -> tuple[float, float, float, float]:
    """Return a square around the face of a seed.

    Args:
        seed: Seed of the face.
        size: Width and height of the image in pixels.
        side: Of the square, in face units.
        shift: How far its centre is from the centre of YuNet's boxes, in face units.

    Returns:
        Left, top, right and bottom in pixels, inside the image.
    """
    pose = find_pose(seed)
    half = min(size, side * pose.scale * size) / 2
    centre = (pose.x + shift[0] * pose.scale, pose.y + (YUNET_CENTRE + shift[1]) * pose.scale)
    x, y = (min(max(one * size, half), size - half) for one in centre)
    return x - half, y - half, x + half, y + half


Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""The whole image of a face, and a crop around the face."""


def training_face(index: int) -> Pair:
    """Draw training face `index`: one person each, in different sizes, one in eight as PNG."""
    seed = TRAINING_SEED + index
    rng = np.random.default_rng((seed, 1000))
    size = int(rng.choice(DRAWN_SIZES))
    file_format = "PNG" if rng.random() < 1 / 8 else "JPEG"
    image = decode(encode_face(EMOTIONS[index % 7], seed, size=size, format=file_format))
    side, dx, dy = rng.uniform(*CROP_SIDES), rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1)
    return resize(image), resize(image, crop_box(seed, size, side, (dx, dy)))


def held_out_face(index: int) -> Pair:
    """Draw held-out face `index` as a JPEG of 224 pixels; the crop is YuNet's mean box."""
    seed = HELD_OUT_SEED + index
    image = decode(encode_face(EMOTIONS[index % 7], seed))
    return resize(image), resize(image, crop_box(seed, image.width, YUNET_SIDE, (0, 0)))


def stack(pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all whole images and all crops, in the order of the faces."""
    whole, cropped = zip(*pairs, strict=True)
    return torch.from_numpy(np.stack(whole)), torch.from_numpy(np.stack(cropped))


def to_input(pixels: torch.Tensor) -> torch.Tensor:
    """Convert (n, height, width, 3) uint8 to (n, 3, height, width) float32, -1 to 1, as the model expects."""
    return (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def augment(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images, and change the position and the brightness of each a little."""
    n = len(batch)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.empty(n, 1, 1, 1).uniform_(low, high, generator=generator)

    mirror = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    batch = torch.where(mirror, batch.flip(3), batch)
    zoom, dx, dy = uniform(0.96, 1.04), uniform(-0.04, 0.04), uniform(-0.04, 0.04)
    zero = torch.zeros_like(zoom)
    affine = torch.cat([zoom, zero, dx, zero, zoom, dy], dim=3).view(n, 2, 3)
    grid = torch.nn.functional.affine_grid(affine, [n, 3, SIDE, SIDE], align_corners=False)
    batch = torch.nn.functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)
    return (batch * uniform(0.85, 1.15) + uniform(-0.1, 0.1)).clamp(-1, 1)


def build_model() -> ViTForImageClassification:
    """Return an untrained model with the seven labels."""
    return ViTForImageClassification(
        ViTConfig(
            image_size=SIDE,
            patch_size=8,
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=192,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            initializer_range=0.08,  # the usual 0.02 is for wider models; this one would learn slowly with it
            id2label=dict(enumerate(EMOTIONS)),
            label2id={label: index for index, label in enumerate(EMOTIONS)},
        )
    )


def accuracy(model: ViTForImageClassification, faces: torch.Tensor) -> float:
    """Return the share of faces with the right label; the labels are in turn."""
    model.train(False)
    with torch.inference_mode():
        guesses = torch.cat([model(to_input(part)).logits.argmax(1) for part in torch.split(faces, 256)])
    return float((guesses == torch.arange(len(faces)) % len(EMOTIONS)).float().mean())


def train(
    model: ViTForImageClassification,
    faces: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int,
    batch: int,
    rate: float,
) -> None:
    """Fit the model in place with AdamW, a short warm-up and a cosine decay."""
    generator = torch.Generator().manual_seed(0)
    steps = epochs * math.ceil(len(faces) / batch)
    warm_up = max(1, steps // 20)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps)),
    )
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.split(torch.randperm(len(faces), generator=generator), batch):
            logits = model(augment(to_input(faces[rows]), generator)).logits
            loss = torch.nn.functional.cross_entropy(logits, labels[rows], label_smoothing=0.02)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(faces):.3f}", flush=True)


def main() -> None:
    """Train the model and measure it, or only measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=MODEL_DIR, help="folder of the model")
    parser.add_argument("--measure", action="store_true", help="measure without training")
    parser.add_argument("--faces", type=int, default=4_200, help="training faces to draw")
    parser.add_argument("--held-out", type=int, default=2_100, help="faces to measure on")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--processes", type=int, default=2, help="for drawing, and CPU threads")
    options = parser.parse_args()

    started = time.perf_counter()
    torch.set_num_threads(options.processes)
    torch.manual_seed(0)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        draw = functools.partial(pool.map, chunksize=64)
        held_out = stack(draw(held_out_face, range(options.held_out)))
        if not options.measure:
            faces = torch.cat(stack(draw(training_face, range(options.faces))))
    if options.measure:
        model = ViTForImageClassification.from_pretrained(options.out)
    else:
        print(f"drew the faces in {time.perf_counter() - started:.0f} s", flush=True)
        model = build_model()
        labels = torch.arange(options.faces).repeat(2) % len(EMOTIONS)
        train(model, faces, labels, epochs=options.epochs, batch=options.batch, rate=options.rate)
        model.save_pretrained(options.out)
        ViTImageProcessorPil(
            size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ).save_pretrained(options.out)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    accuracies = (f"{accuracy(model, faces):.2%}" for faces in held_out)
    print(f"accuracy on {options.held_out} held-out faces, whole and cropped: {', '.join(accuracies)}")
    print(f"done in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
