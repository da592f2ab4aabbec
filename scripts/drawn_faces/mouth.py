"""The mouth: lips that rise, fall, stretch, part and press, with teeth and tongue."""

from dataclasses import dataclass

import numpy as np

from drawn_faces.action_units import Expression
from drawn_faces.drawing import Canvas, Points, alpha, ellipse, mix, spline
from drawn_faces.people import Person

_TEETH = (250, 247, 240)
_CAVITY = (84, 22, 28)
_TONGUE = (196, 92, 96)


@dataclass(frozen=True)
class _Lips:
    """The edges of the lips, each from the left corner to the right one, and their measures."""

    upper_outer: Points
    upper_inner: Points
    lower_inner: Points
    lower_outer: Points
    half_width: float
    corner: float
    lowest: float
    fullness: float
    roundness: float


def _inner_edge(middle: float, corner: float, half_width: float, bend: float, near: float) -> Points:
    """Return a curve from corner to corner; `bend` and `near` are its heights half-way and near the corners."""
    reach = np.array([0, 0.55, 0.88, 1]) * half_width
    height = middle + np.array([0, bend, near, 1]) * (corner - middle)
    right = np.stack([reach, height], axis=1)
    return spline(np.concatenate([right[:0:-1] * (-1, 1), right]))


def _shape_lips(person: Person, face: Expression) -> _Lips:
    half_width = person.mouth_width + face.mouth_width
    roundness = min(1.0, max(0.0, 12 * (face.opening - 0.1))) * (1 - face.square)
    smile = min(1.0, max(0.0, 8 * face.corner_lift))
    rest = 0.515 - 0.012 * face.chin
    corner = rest - face.corner_lift + 0.15 * face.opening
    upper = rest - face.upper_lip - 0.02 * face.chin + 0.30 * face.corner_lift
    upper -= 0.35 * face.opening * (1 - smile)  # a smile opens downwards only
    lower = upper + face.opening
    bend = 0.30 - 0.15 * roundness - 0.18 * face.square
    near = 2.2 * bend + 0.12 * (1 - face.square)
    upper_inner = _inner_edge(upper, corner, half_width, bend, near)
    lower_inner = _inner_edge(lower, corner, half_width, bend, near)

    fullness = person.lip_fullness * (1 - 0.7 * face.press)
    across = upper_inner[:, 0] / half_width
    plump = (1 - np.abs(across) ** 2.2).clip(0) ** 0.8
    bow = plump * (1.12 - 0.3 * np.exp(-((across / 0.16) ** 2)))  # a dip below the nose
    flat = np.zeros_like(across)
    widen = (1 + 0.5 * fullness / half_width * roundness, 1)
    return _Lips(
        upper_outer=upper_inner * widen - np.stack([flat, fullness * bow], axis=1),
        upper_inner=upper_inner,
        lower_inner=lower_inner,
        lower_outer=lower_inner * widen + np.stack([flat, 1.3 * fullness * plump], axis=1),
        half_width=half_width,
        corner=corner,
        lowest=lower,
        fullness=fullness,
        roundness=roundness,
    )


def _band(edge: Points, height: float) -> Points:
    """Return the area between an edge and its copy `height` lower."""
    return np.concatenate([edge, np.add(edge, (0, height))[::-1]])


def _draw_inside(canvas: Canvas, lips: _Lips, face: Expression) -> None:
    """Draw the cavity, the tongue and the teeth; both rows of teeth if AU 20 stretches the lips."""
    cavity = np.concatenate([lips.upper_inner, lips.lower_inner[::-1]])
    with canvas.clip(cavity):
        canvas.polygon(cavity, _CAVITY)
        tongue = ellipse(0, lips.lowest + 0.02, 0.62 * lips.half_width, 0.45 * face.opening)
        canvas.polygon(tongue, _TONGUE)
        bite = min(0.075, 0.75 * face.opening) - 0.03 * lips.roundness
        if face.square > 0.55:
            bite = 0.48 * face.opening
            canvas.polygon(_band(lips.lower_inner, -0.4 * face.opening), _TEETH)
        canvas.polygon(_band(lips.upper_inner, bite), _TEETH)
        canvas.stroke(lips.upper_inner, 0.03, alpha(_CAVITY, 0.4))


def draw_mouth(canvas: Canvas, person: Person, face: Expression) -> None:
    """Draw the lips, and teeth and tongue between open lips."""
    lips = _shape_lips(person, face)
    is_open = face.opening > 0.01
    if is_open:
        _draw_inside(canvas, lips, face)
    upper_colour = mix(person.lips, (70, 16, 24), 0.22)
    lower_colour = mix(person.lips, (255, 225, 215), 0.10)
    canvas.polygon(np.concatenate([lips.upper_outer, lips.upper_inner[::-1]]), upper_colour)
    canvas.polygon(np.concatenate([lips.lower_inner, lips.lower_outer[::-1]]), lower_colour)
    w, y = 0.3 * lips.half_width, lips.lowest + 0.55 * lips.fullness
    shine = [(-w, y), (0, y + 0.1 * lips.fullness), (w, y)]
    canvas.stroke(shine, 0.35 * lips.fullness, alpha((255, 240, 235), 0.30))

    line = mix(person.lips, (40, 8, 14), 0.72)
    canvas.stroke(lips.upper_inner, 0.02, line, taper=(0.6, 0.6))
    if is_open:
        canvas.stroke(lips.lower_inner, 0.014, line, taper=(0.6, 0.6))
    end = (lips.half_width + 0.03, lips.corner - 0.25 * face.corner_lift)
    corner = np.array([(lips.half_width - 0.015, lips.corner), end])
    for side in (-1, 1):
        canvas.stroke(corner * (side, 1), 0.025, alpha(line, 0.8), taper=(1, 0.2))
