"""The person and the scene: everything about a face except its expression."""

from dataclasses import dataclass

import numpy as np

from drawn_faces.drawing import Colour, Pose, mix

_SKIN = (
    (255, 224, 196),
    (247, 208, 176),
    (236, 188, 150),
    (220, 166, 124),
    (198, 140, 98),
    (166, 110, 74),
    (132, 84, 56),
    (110, 70, 50),
)
_HAIR = (
    (38, 30, 30),
    (58, 40, 32),
    (92, 60, 40),
    (128, 84, 50),
    (164, 92, 48),
    (206, 164, 96),
    (150, 146, 146),
    (120, 48, 40),
)
_HAIR_CHANCE = (0.24, 0.22, 0.18, 0.12, 0.07, 0.08, 0.06, 0.03)
_IRIS = ((74, 48, 30), (98, 66, 36), (104, 112, 60), (70, 116, 140), (84, 126, 96), (92, 104, 120))
_CLOTHES = (
    (52, 78, 120),
    (168, 62, 60),
    (70, 122, 98),
    (226, 176, 84),
    (92, 84, 130),
    (60, 64, 72),
    (228, 226, 220),
    (206, 120, 96),
    (96, 150, 176),
)
_BACKDROPS = (
    (186, 206, 222),
    (224, 206, 186),
    (192, 214, 196),
    (216, 196, 214),
    (232, 226, 210),
    (150, 168, 186),
    (128, 140, 136),
    (236, 200, 180),
    (96, 108, 128),
)
_LONG_STYLES = ("long", "wavy", "bob", "bun", "curly", "ponytail")
_SHORT_STYLES = ("short", "parted", "quiff", "curly", "buzz", "bald")


@dataclass(frozen=True)
class Person:
    """The appearance that does not change with the expression; lengths in face units.

    `part` is the position of the hair parting, from the middle of the forehead. The widths of
    the face, the jaw and the chin are half widths.
    """

    skin: Colour
    hair: Colour
    brow: Colour
    iris: Colour
    lips: Colour
    clothes: Colour
    glasses_colour: Colour
    hair_style: str
    beard: str
    glasses: bool
    lashes: bool
    part: float
    face_width: float
    jaw_width: float
    chin_width: float
    eye_spread: float
    eye_size: float
    eye_tilt: float
    brow_width: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lip_fullness: float


@dataclass(frozen=True)
class Scene:
    """How a person is photographed.

    Attributes:
        pose: Position and rotation of the head.
        light: Unit vector towards the light: right, down and towards the viewer.
        contrast: Share of the light that comes from that direction (0 to 1).
        tint: Colour of the light, as one factor near 1 for each of red, green and blue.
        backdrop: "plain", "gradient" or "blobs".
        colours: The two colours of the backdrop.
        blur: Radius of the lens blur, as a share of the image.
        noise: Standard deviation of the sensor noise, in levels of 255.
    """

    pose: Pose
    light: tuple[float, float, float]
    contrast: float
    tint: tuple[float, float, float]
    backdrop: str
    colours: tuple[Colour, Colour]
    blur: float
    noise: float


def sample_person(rng: np.random.Generator) -> Person:
    """Return a random person."""
    tone = float(rng.uniform(0, len(_SKIN) - 1))
    skin = mix(_SKIN[int(tone)], _SKIN[int(tone) + 1], tone % 1)
    hair_chance = np.array(_HAIR_CHANCE)
    if tone > 3:  # Fair hair on darker skin would blur the outline of the face.
        hair_chance[2:6] = (0.05, 0, 0, 0)
    hair = _HAIR[rng.choice(len(_HAIR), p=hair_chance / hair_chance.sum())]
    long_haired = rng.random() < 0.5
    beard_chance = (1, 0, 0, 0) if long_haired else (0.56, 0.18, 0.14, 0.12)
    natural_lips = mix(skin, (176, 64, 66), 0.42)
    lipstick = rng.random() < 0.35 and long_haired
    return Person(
        skin=skin,
        hair=hair,
        brow=mix(hair, (32, 22, 20), 0.6),
        iris=_IRIS[rng.integers(2 if tone > 4 else len(_IRIS))],
        lips=mix(natural_lips, (178, 40, 60), 0.5) if lipstick else natural_lips,
        clothes=_CLOTHES[rng.integers(len(_CLOTHES))],
        glasses_colour=((34, 32, 38), (190, 152, 84), (150, 52, 52))[rng.integers(3)],
        hair_style=str(rng.choice(_LONG_STYLES if long_haired else _SHORT_STYLES)),
        beard=str(rng.choice(("none", "stubble", "full", "moustache"), p=beard_chance)),
        glasses=bool(rng.random() < 0.18),
        lashes=long_haired,
        part=float(rng.choice((-1, 1)) * rng.uniform(0.15, 0.4)),
        face_width=float(rng.uniform(0.69, 0.77)),
        jaw_width=float(rng.uniform(0.54, 0.60) + (0 if long_haired else 0.04)),
        chin_width=float(rng.uniform(0.20, 0.26) + (0 if long_haired else 0.05)),
        eye_spread=float(rng.uniform(0.31, 0.345)),
        eye_size=float(rng.uniform(0.95, 1.1) + (0.06 if long_haired else 0)),
        eye_tilt=float(rng.uniform(-0.01, 0.03)),
        brow_width=float(rng.uniform(0.05, 0.065) + (0 if long_haired else 0.018)),
        nose_width=float(rng.uniform(0.105, 0.145)),
        nose_length=float(rng.uniform(0.24, 0.29)),
        mouth_width=float(rng.uniform(0.225, 0.26)),
        lip_fullness=float(rng.uniform(0.045, 0.065) + (0.008 if long_haired else 0)),
    )


def sample_scene(rng: np.random.Generator) -> Scene:
    """Return a random scene."""
    light = np.array([rng.uniform(-0.9, 0.9), rng.uniform(-0.9, -0.2), 1.0])
    light /= np.linalg.norm(light)
    warmth = float(rng.uniform(-0.04, 0.04))
    first, second = rng.choice(len(_BACKDROPS), 2, replace=False)
    return Scene(
        pose=Pose(
            x=float(0.5 + rng.uniform(-0.03, 0.03)),
            y=float(0.485 + rng.uniform(-0.02, 0.03)),
            scale=float(rng.uniform(0.36, 0.405)),
            roll=float(np.clip(rng.normal(0, 0.05), -0.12, 0.12)),
            yaw=float(rng.uniform(-0.11, 0.11)),
            pitch=float(rng.uniform(-0.04, 0.04)),
        ),
        light=(float(light[0]), float(light[1]), float(light[2])),
        contrast=float(rng.uniform(0.25, 0.6)),
        tint=(1 + warmth, 1.0, 1 - warmth),
        backdrop=str(rng.choice(("plain", "gradient", "blobs"))),
        colours=(_BACKDROPS[first], _BACKDROPS[second]),
        blur=float(np.clip(rng.normal(0.0, 0.002), 0.0, 0.004)),
        noise=float(rng.uniform(0.5, 3.5)),
    )
