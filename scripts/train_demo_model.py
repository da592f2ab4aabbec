"""Train the demo model, a tiny Vision Transformer of 64 × 64 pixels, on drawn faces.

    python scripts/train_demo_model.py              # trains, measures and saves the model
    python scripts/train_demo_model.py --measure    # measures the saved model

The defaults give the model in emotion_ops/demo/model, whose README has its accuracy. They take about 20 minutes of
processor time.
"""

import argparse
import functools
import io
import math
import multiprocessing
import pathlib
import time

import numpy as np
import torch
from drawn_faces import encode_face
from numpy.typing import NDArray
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from emotion_ops import EMOTIONS
from emotion_ops.demo import MODEL_DIR

SIDE = 64
TRAINING_SEED = 10_000_000
HELD_OUT_SEED = 20_000_000
DRAWN_SIZES = (96, 128, 160, 224, 224, 224, 320)


def decode(encoded: bytes) -> NDArray[np.uint8]:
    """Decode and resize an image file as the saved image processor does."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def training_face(index: int) -> NDArray[np.uint8]:
    """Draw training face `index`: one person each, in different sizes, one in eight as PNG."""
    seed = TRAINING_SEED + index
    rng = np.random.default_rng((seed, 1000))
    size = int(rng.choice(DRAWN_SIZES))
    file_format = "PNG" if rng.random() < 1 / 8 else "JPEG"
    return decode(encode_face(EMOTIONS[index % 7], seed, size=size, format=file_format))


def held_out_face(index: int) -> NDArray[np.uint8]:
    """Draw held-out face `index` as a JPEG of 224 pixels."""
    return decode(encode_face(EMOTIONS[index % 7], HELD_OUT_SEED + index))


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


def train(model: ViTForImageClassification, faces: torch.Tensor, *, epochs: int, batch: int, rate: float) -> None:
    """Fit the model in place with AdamW, a short warm-up and a cosine decay."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(len(faces)) % len(EMOTIONS)
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
    parser.add_argument("--faces", type=int, default=8_400, help="training faces to draw")
    parser.add_argument("--held-out", type=int, default=2_100, help="faces to measure on")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--processes", type=int, default=2, help="for drawing, and CPU threads")
    options = parser.parse_args()

    started = time.perf_counter()
    torch.set_num_threads(options.processes)
    torch.manual_seed(0)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        draw = functools.partial(pool.map, chunksize=64)
        held_out = torch.from_numpy(np.stack(draw(held_out_face, range(options.held_out))))
        if not options.measure:
            faces = torch.from_numpy(np.stack(draw(training_face, range(options.faces))))
    if options.measure:
        model = ViTForImageClassification.from_pretrained(options.out)
    else:
        print(f"drew the faces in {time.perf_counter() - started:.0f} s", flush=True)
        model = build_model()
        train(model, faces, epochs=options.epochs, batch=options.batch, rate=options.rate)
        model.save_pretrained(options.out)
        ViTImageProcessorPil(
            size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ).save_pretrained(options.out)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    print(f"accuracy on {len(held_out)} held-out faces: {accuracy(model, held_out):.2%}")
    print(f"done in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
