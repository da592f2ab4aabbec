"""Drawn faces that show the seven emotions, made from a seed.

The faces move by the action units of Ekman and Friesen's Facial Action Coding System (1978;
Ekman, Friesen and Hager, "FACS Investigator's Guide", 2002), combined as in table 1 of Du, Tao
and Martinez, "Compound facial expressions of emotion", PNAS 111(15), E1454 (2014):

    happy     12+25 (+6)               surprise  1+2+25+26 (+5)
    sad       4+15 (+1, 6, 11, 17)     angry     4+7+24 (+10, 17, 23)
    fear      1+4+20+25 (+2, 5, 26)    disgust   9+10+17 (+4, 24)

`emotion_ops.demo.action_units` holds that table and what each unit does; this module draws.
"""

import io

import numpy as np
from PIL import Image, ImageFilter

from emotion_ops.demo.action_units import EMOTIONS, Expression, express, sample_units
from emotion_ops.demo.drawing import Canvas, alpha, ellipse, mirrored, mix, spline
from emotion_ops.demo.features import draw_brows, draw_eyes, draw_lines, draw_nose
from emotion_ops.demo.hair import (
    covers_ears,
    draw_back_hair,
    draw_beard,
    draw_front_hair,
    draw_glasses,
)
from emotion_ops.demo.mouth import draw_mouth
from emotion_ops.demo.people import Person, Scene, sample_person, sample_scene
from emotion_ops.demo.shading import Shading, model_face

__all__ = ["EMOTIONS", "draw_face", "encode_face"]


_FORMATS = ("JPEG", "PNG", "WEBP")
_SMALLEST = 32


def draw_face(emotion: str, seed: int, *, size: int = 224) -> Image.Image:
    """Draw the face of one person showing one emotion.

    The seed alone decides who is drawn and how they are photographed, so that one seed shows
    one person in all seven moods; the seed and the emotion together decide how strongly, and
    by which facial action units, the emotion shows. The same arguments always give the same
    pixels under the same versions of NumPy and Pillow.

    Args:
        emotion: One of `EMOTIONS`.
        seed: Any integer from 0 up.
        size: Width and height of the picture in pixels, 32 or more.

    Returns:
        A new RGB picture of `size` by `size` pixels.

    Raises:
        ValueError: If the emotion is unknown, the seed is negative or the size is too small.
    """
    identity, mood = _generators(emotion, seed)
    if size < _SMALLEST:
        raise ValueError(f"size must be at least {_SMALLEST} pixels, not {size}")
    person, scene = sample_person(identity), sample_scene(identity)
    face = express(sample_units(emotion, mood))
    canvas = Canvas(_backdrop(scene, size, identity), scene.pose)
    _draw_body(canvas, person, face, Shading(scene, size))
    _draw_head(canvas, person, face, Shading(scene, size), scene)
    return _photograph(canvas.finish(), scene, mood)


def encode_face(
    emotion: str,
    seed: int,
    *,
    size: int = 224,
    format: str = "JPEG",  # noqa: A002 - Pillow's name for it
) -> bytes:
    """Draw one face and encode it as an image file.

    Args:
        emotion: One of `EMOTIONS`.
        seed: Any integer from 0 up; also decides the quality (60 to 95) of JPEG and WebP.
        size: Width and height of the picture in pixels, 32 or more.
        format: "JPEG", "PNG" or "WEBP".

    Returns:
        The bytes of the file.

    Raises:
        ValueError: If `draw_face` refuses the arguments or the format is unknown.
    """
    if format not in _FORMATS:
        raise ValueError(f"unknown format {format!r}: expected one of {', '.join(_FORMATS)}")
    picture = draw_face(emotion, seed, size=size)
    quality = int(np.random.default_rng((seed, len(EMOTIONS) + 1)).integers(60, 96))
    buffer = io.BytesIO()
    picture.save(buffer, format, quality=quality)
    return buffer.getvalue()


def _generators(emotion: str, seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Return the source of chance of the person and that of the mood."""
    if emotion not in EMOTIONS:
        raise ValueError(f"unknown emotion {emotion!r}: expected one of {', '.join(EMOTIONS)}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    # Seeding by (seed, 0) would repeat the stream of `seed`, so the emotions count from 1.
    mood = np.random.default_rng((seed, 1 + EMOTIONS.index(emotion)))
    return np.random.default_rng(seed), mood


def _backdrop(scene: Scene, size: int, rng: np.random.Generator) -> Image.Image:
    """Paint the wall behind the person."""
    first, second = (np.array(colour, float) for colour in scene.colours)
    if scene.backdrop == "plain":
        return Image.new("RGB", (size, size), scene.colours[0])
    if scene.backdrop == "gradient":
        share = np.add.outer(np.linspace(0, 0.6, 8), np.linspace(0, 0.4, 8) * rng.choice((-1, 1)))
    else:
        share = rng.uniform(0, 1, (5, 5))
    coarse = first + (second - first) * share.clip(0, 1)[..., None]
    return Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)


def _draw_body(canvas: Canvas, person: Person, face: Expression, light: Shading) -> None:
    """Draw what lies behind the head: hair, shoulders and neck."""
    draw_back_hair(canvas, person, light.texture(person.hair, skin=False))
    clothes = light.texture(person.clothes, skin=False)
    light.dab(0, 0.98 + face.jaw, 0.55, 0.22, -0.42)  # the head shades the neck
    neck = [(0.30, 0.5), (0.31, 1.0), (0.40, 1.16), (0.72, 1.5), (0.3, 1.9)]
    canvas.texture([spline(mirrored(neck), closed=True)], light.texture(person.skin))
    shoulders = spline(mirrored([(0.34, 1.10), (0.75, 1.22), (1.15, 1.45), (1.3, 2.2), (0, 2.2)]))
    collar = spline([(-0.34, 1.10), (0, 1.27), (0.34, 1.10)])
    canvas.texture([np.concatenate([shoulders, collar])], clothes)
    canvas.stroke(collar, 0.05, alpha((0, 0, 0), 0.18), taper=(1, 1))


def _draw_head(canvas: Canvas, person: Person, face: Expression, light: Shading, scene: Scene) -> None:
    """Draw the head, from the ears to the glasses."""
    shadow = mix(person.skin, (70, 16, 12), 0.58)
    hair = light.texture(person.hair, skin=False)
    model_face(light, person, scene, face)
    skin = light.texture(person.skin)
    if not covers_ears(person):
        for side in (-1, 1):
            ear = ellipse(side * (person.face_width + 0.03) - 0.4 * scene.pose.yaw, 0.06, 0.1, 0.18)
            canvas.texture([ear], skin)
            hollow = np.array([(0.0, -0.08), (0.05, -0.06), (0.05, 0.04), (0.0, 0.09)])
            canvas.stroke(hollow * (side, 1) + ear.mean(axis=0), 0.025, alpha(shadow, 0.55))
    head = spline(mirrored(_head_outline(person, face)), closed=True)
    canvas.texture([head], skin)
    draw_beard(canvas, person, face, head, hair)
    draw_lines(canvas, person, face, shadow)
    draw_nose(canvas, person, face, shadow)
    draw_mouth(canvas, person, face)
    draw_eyes(canvas, person, face, shadow)
    draw_front_hair(canvas, person, hair)
    draw_brows(canvas, person, face)
    if person.glasses:
        draw_glasses(canvas, person)


def _head_outline(person: Person, face: Expression) -> list[tuple[float, float]]:
    """Return the right half of the head, from the crown to a chin that drops with the jaw."""
    return [
        (0, -1.02),
        (0.40, -0.94),
        (person.face_width - 0.08, -0.64),
        (person.face_width, -0.24),
        (person.face_width - 0.01, 0.12),
        (person.jaw_width, 0.54 + 0.4 * face.jaw),
        (person.chin_width + 0.14, 0.82 + 0.9 * face.jaw),
        (person.chin_width - 0.06, 0.97 + face.jaw),
        (0, 1.0 + face.jaw),
    ]


def _photograph(picture: Image.Image, scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Add lens blur and sensor noise."""
    radius = scene.blur * picture.width
    if radius > 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(radius))
    grain = rng.standard_normal((picture.height, picture.width, 1), np.float32)
    noisy = np.asarray(picture, np.float32) + np.float32(scene.noise) * grain
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
