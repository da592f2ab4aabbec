"""Hair, beards and glasses."""

import numpy as np
from PIL import Image

from drawn_faces.action_units import Expression
from drawn_faces.drawing import Canvas, Points, alpha, ellipse, mirrored, mix, spline
from drawn_faces.people import Person

_CAPS: dict[str, list[tuple[float, float]]] = {
    "buzz": [(0, -1.06), (0.40, -1.0), (0.66, -0.74), (0.755, -0.38), (0.765, -0.12)],
    "short": [(0, -1.15), (0.44, -1.09), (0.74, -0.80), (0.83, -0.40), (0.80, -0.02)],
    "parted": [(0, -1.17), (0.46, -1.10), (0.77, -0.80), (0.84, -0.40), (0.80, 0.02)],
    "quiff": [(0, -1.24), (0.44, -1.18), (0.70, -0.88), (0.80, -0.40), (0.79, -0.04)],
}
"""Right half of the outer outline of short hair, from the crown to the sideburn."""

_BACKS: dict[str, list[tuple[float, float]]] = {
    "long": [(0, -1.18), (0.5, -1.1), (0.85, -0.7), (0.95, 0), (0.95, 0.7), (0.9, 1.3), (0.6, 1.5)],
    "wavy": [
        (0, -1.2),
        (0.55, -1.1),
        (0.88, -0.72),
        (0.92, -0.3),
        (1.06, 0.05),
        (0.96, 0.4),
        (1.1, 0.75),
        (0.98, 1.1),
        (0.6, 1.25),
    ],
    "bob": [(0, -1.18), (0.52, -1.09), (0.88, -0.7), (0.97, -0.1), (0.98, 0.45), (0.80, 0.72)],
    "bun": [(0, -1.15), (0.46, -1.07), (0.78, -0.72), (0.83, -0.2), (0.7, 0.2)],
    "ponytail": [(0, -1.16), (0.47, -1.08), (0.79, -0.72), (0.84, -0.2), (0.7, 0.2)],
}
"""Right half of the outline of the hair behind the head, from the crown down."""


_HAIRLINES: dict[str, list[tuple[float, float]]] = {
    "buzz": [(0.70, -0.16), (0.60, -0.50), (0.42, -0.76), (0, -0.80)],
    "bob": [(0.72, 0.16), (0.68, -0.2), (0.56, -0.50), (0.3, -0.53), (0, -0.54)],
    "long": [(0.80, 0.3), (0.70, -0.1), (0.58, -0.46), (0.34, -0.72), (0, -0.90)],
    "wavy": [(0.80, 0.3), (0.70, -0.1), (0.58, -0.46), (0.34, -0.72), (0, -0.90)],
    "quiff": [(0.71, -0.06), (0.66, -0.36), (0.56, -0.66), (0.3, -0.74), (0, -0.78)],
    "short": [(0.72, -0.02), (0.66, -0.34), (0.55, -0.60), (0.30, -0.72), (0, -0.76)],
}
"""Right half of the lower edge of the front hair, from the temple up; other styles use "short"."""

_PARTED = ("short", "parted", "bun", "ponytail", "long", "wavy")


def _curls(person: Person) -> list[Points]:
    angles = np.linspace(-0.28 * np.pi, 1.28 * np.pi, 17)
    wobble = np.sin(np.arange(17) * 2.4 + person.part * 9) * 0.03
    return [
        ellipse(0.80 * np.cos(a), -0.28 - 0.80 * np.sin(a), 0.25 + w, 0.25 + w)
        for a, w in zip(angles, wobble, strict=True)
    ]


def covers_ears(person: Person) -> bool:
    """Return whether the hair hides the ears."""
    return person.hair_style in ("long", "wavy", "bob")


def draw_back_hair(canvas: Canvas, person: Person, texture: Image.Image) -> None:
    """Draw the hair behind the head and the neck."""
    style = person.hair_style
    if style == "curly":
        canvas.texture([*_curls(person), ellipse(0, -0.3, 0.85, 0.85)], texture)
    if style == "bun":
        canvas.texture([ellipse(0, -1.2, 0.3, 0.24)], texture)
        canvas.stroke([(-0.24, -1.06), (0, -1.0), (0.24, -1.06)], 0.05, alpha((0, 0, 0), 0.3))
    if style == "ponytail":
        s = 1 if person.part > 0 else -1
        tail = np.array([(0.5, -0.7), (1.02, -0.5), (1.16, 0.1), (1.02, 0.8), (0.8, 0.5), (0.7, 0)])
        canvas.texture([spline(tail * (s, 1), closed=True)], texture)
    if style in _BACKS:
        canvas.texture([spline(mirrored(_BACKS[style]), closed=True)], texture)


def _fringe(person: Person) -> tuple[Points, Points]:
    """Return the outer outline and the hairline of the front hair, both from right to left."""
    style = person.hair_style
    right = np.array(_CAPS.get(style) or [*_BACKS.get(style, _CAPS["short"])[:4], (0.79, 0.1)])
    outer = np.concatenate([right[::-1], right[1:] * (-1, 1)])
    right = np.array(_HAIRLINES.get(style, _HAIRLINES["short"]))
    hairline = np.concatenate([right, right[-2::-1] * (-1, 1)])
    if style in _PARTED:
        # The hairline is highest at the parting.
        hairline[:, 0] += person.part * np.exp(-((hairline[:, 0] / 0.3) ** 2))
    return outer, hairline


def draw_front_hair(canvas: Canvas, person: Person, texture: Image.Image) -> None:
    """Draw the hair in front of the head, with strands from the parting to both sides."""
    style = person.hair_style
    if style == "bald":
        return
    outer, hairline = _fringe(person)
    outer, hairline = spline(outer), spline(hairline)
    front = np.concatenate([outer, hairline[::-1]])
    canvas.texture([front], texture)
    if style == "buzz":
        return
    dark, light = mix(person.hair, (0, 0, 0), 0.45), mix(person.hair, (255, 235, 210), 0.45)
    if style == "curly":
        for curl in _curls(person)[2:-2]:
            canvas.stroke(curl[16:26] * (0.93, 0.93), 0.03, alpha(light, 0.35))
        return
    # Strands run from the parting to both sides, between the outline and the hairline.
    share = np.linspace(0, 1, 31)[:, None]
    outer = outer[(share[:, 0] * (len(outer) - 1)).astype(int)]
    hairline = hairline[(share[:, 0] * (len(hairline) - 1)).astype(int)]
    with canvas.clip(front):
        for i, depth in enumerate(np.linspace(0.12, 0.9, 7)):
            flow = outer + (hairline - outer) * depth
            start = int(np.argmin(np.abs(flow[:, 0] - person.part)))
            colour = alpha(dark, 0.28) if i % 2 else alpha(light, 0.26)
            for strand in (flow[: start + 1][::-1][:: max(1, start // 5)], flow[start::5]):
                if len(strand) > 2:
                    canvas.stroke(strand, 0.026, colour)


def draw_beard(canvas: Canvas, person: Person, face: Expression, head: Points, texture: Image.Image) -> None:
    """Draw the beard or moustache; the mouth is drawn over it."""
    if person.beard == "none":
        return
    jaw, lift = face.jaw, 0.6 * face.upper_lip
    if person.beard == "moustache":
        lip = [(0, 0.365), (0.14, 0.36), (0.29, 0.46), (0.27, 0.53), (0.12, 0.47), (0, 0.46)]
        lip = [(x, y - lift) for x, y in lip]
        canvas.texture([spline(mirrored(lip), closed=True)], texture)
        return
    w = person.face_width
    beard = [
        (0, 0.36 - lift),
        (0.15, 0.37 - lift),
        (0.32, 0.47),
        (0.50, 0.38),
        (w - 0.10, 0.10),
        (w + 0.0, -0.06),
        (w + 0.01, 0.20),
        (person.jaw_width + 0.05, 0.52 + jaw / 2),
        (person.chin_width + 0.2, 0.86 + jaw),
        (person.chin_width, 1.03 + jaw),
        (0, 1.07 + jaw),
    ]
    if person.beard == "full":
        canvas.texture([spline(mirrored(beard), closed=True)], texture)
    else:
        with canvas.clip(head):
            canvas.polygon(spline(mirrored(beard), closed=True), alpha(person.hair, 0.22))


def draw_glasses(canvas: Canvas, person: Person) -> None:
    """Draw glasses with thin rims that do not hide the brows."""
    colour = person.glasses_colour
    for s in (-1, 1):
        x = s * person.eye_spread
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        c, n = np.cos(angle), np.sin(angle)
        rim = np.stack(
            [
                x + s * 0.01 + 0.235 * np.sign(c) * np.abs(c) ** 0.7,
                -0.01 + 0.175 * np.sign(n) * np.abs(n) ** 0.7,
            ],
            axis=1,
        )
        canvas.polygon(rim, alpha((255, 255, 255), 0.07))
        canvas.stroke(np.concatenate([rim, rim[:1]]), 0.026, colour, taper=(1, 1))
        canvas.stroke([(x + s * 0.24, -0.05), (s * 0.71, -0.06)], 0.026, colour, taper=(1, 1))
    inner = person.eye_spread - 0.225
    canvas.stroke([(-inner, -0.04), (0, -0.075), (inner, -0.04)], 0.026, colour, taper=(1, 1))
