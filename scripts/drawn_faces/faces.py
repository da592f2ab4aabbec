"""A drawn face that shows one of the seven emotions, from a seed.

The faces move by the action units of Ekman and Friesen's Facial Action Coding System (1978;
Ekman, Friesen and Hager, "FACS Investigator's Guide", 2002), combined as in table 1 of Du, Tao
and Martinez, "Compound facial expressions of emotion", PNAS 111(15), E1454 (2014):

    happy     12+25 (+6)               surprise  1+2+25+26 (+5)
    sad       4+15 (+1, 6, 11, 17)     angry     4+7+24 (+10, 17, 23)
    fear      1+4+20+25 (+2, 5, 26)    disgust   9+10+17 (+4, 24)

`drawn_faces.action_units` has that table and the effect of each unit; this module draws.
"""

import io

import numpy as np
from PIL import Image, ImageFilter

from drawn_faces.action_units import Expression, express, sample_units
from drawn_faces.drawing import Canvas, alpha, ellipse, mirrored, mix, spline
from drawn_faces.features import draw_brows, draw_eyes, draw_lines, draw_nose
from drawn_faces.hair import (
    covers_ears,
    draw_back_hair,
    draw_beard,
    draw_front_hair,
    draw_glasses,
)
from drawn_faces.mouth import draw_mouth
from drawn_faces.people import Person, Scene, sample_person, sample_scene
from drawn_faces.shading import Shading, model_face
from emotion_ops import EMOTIONS

_FORMATS = ("JPEG", "PNG", "WEBP")
_MIN_SIZE = 32


def draw_face(emotion: str, seed: int, *, size: int = 224) -> Image.Image:
    """Draw the face of one person showing one emotion.

    The seed alone decides the person and the scene, so one seed shows one person with all
    seven emotions. The seed and the emotion together decide the facial action units and their
    strength. The same arguments give the same pixels with the same versions of NumPy and
    Pillow.

    Args:
        emotion: One of `emotion_ops.EMOTIONS`.
        seed: Any integer from 0 up.
        size: Width and height of the image in pixels, 32 or more.

    Returns:
        A new RGB image of `size` by `size` pixels.

    Raises:
        ValueError: If the emotion is unknown, the seed is negative or the size is too small.
    """
    identity, expression_rng = _generators(emotion, seed)
    if size < _MIN_SIZE:
        raise ValueError(f"size must be at least {_MIN_SIZE} pixels, not {size}")
    person, scene = sample_person(identity), sample_scene(identity)
    face = express(sample_units(emotion, expression_rng))
    canvas = Canvas(_backdrop(scene, size, identity), scene.pose)
    _draw_body(canvas, person, face, Shading(scene, size))
    _draw_head(canvas, person, face, Shading(scene, size), scene)
    return _photograph(canvas.finish(), scene, expression_rng)


def encode_face(
    emotion: str,
    seed: int,
    *,
    size: int = 224,
    format: str = "JPEG",  # noqa: A002 - Pillow's name for it
    quality: int | None = None,
) -> bytes:
    """Draw one face and encode it as an image file.

    Args:
        emotion: One of `emotion_ops.EMOTIONS`.
        seed: Any integer from 0 up.
        size: Width and height of the image in pixels, 32 or more.
        format: "JPEG", "PNG" or "WEBP".
        quality: Of JPEG and WebP, 1 to 95; by default the seed decides it (60 to 95).

    Returns:
        The bytes of the file.

    Raises:
        ValueError: If an argument is out of range or the format is unknown.
    """
    if format not in _FORMATS:
        raise ValueError(f"unknown format {format!r}: expected one of {', '.join(_FORMATS)}")
    image = draw_face(emotion, seed, size=size)
    if quality is None:
        quality = int(np.random.default_rng((seed, len(EMOTIONS) + 1)).integers(60, 96))
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality)
    return buffer.getvalue()


def _generators(emotion: str, seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Return the random generators of the person and of the expression."""
    if emotion not in EMOTIONS:
        raise ValueError(f"unknown emotion {emotion!r}: expected one of {', '.join(EMOTIONS)}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    # (seed, 0) gives the same stream as `seed`, so the emotions are numbered from 1.
    expression_rng = np.random.default_rng((seed, 1 + EMOTIONS.index(emotion)))
    return np.random.default_rng(seed), expression_rng


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
    """Draw what is behind the head: hair, shoulders and neck."""
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
    """Return the right half of the head, from the crown to the chin, which drops with the jaw."""
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


def _photograph(image: Image.Image, scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Add lens blur and sensor noise."""
    radius = scene.blur * image.width
    if radius > 0.2:
        image = image.filter(ImageFilter.GaussianBlur(radius))
    grain = rng.standard_normal((image.height, image.width, 1), np.float32)
    noisy = np.asarray(image, np.float32) + np.float32(scene.noise) * grain
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
