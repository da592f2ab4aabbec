"""Brows, eyes, nose and wrinkles, displaced by an expression."""

import numpy as np

from drawn_faces.action_units import Expression
from drawn_faces.drawing import Canvas, Colour, alpha, ellipse, mix, spline
from drawn_faces.people import Person


def draw_brows(canvas: Canvas, person: Person, face: Expression) -> None:
    """Draw both brows: AU 1 lifts their inner end, AU 2 the outer, AU 4 lowers and pinches."""
    spread = person.eye_spread
    inner = (spread - 0.20 - face.brow_pinch, -0.275 - face.brow_inner)
    quarter = (
        spread - 0.09 - 0.5 * face.brow_pinch,
        -0.300 - 0.5 * (face.brow_inner + face.brow_middle),
    )
    middle = (spread + 0.05, -0.312 - face.brow_middle)
    outer = (spread + 0.22, -0.245 - face.brow_outer)
    for s in (-1, 1):
        line = np.array([inner, quarter, middle, outer]) * (s, 1)
        canvas.stroke(line, person.brow_width, person.brow, taper=(0.75, 0.1))


def draw_eyes(canvas: Canvas, person: Person, face: Expression, shadow: Colour) -> None:
    """Draw both eyes: AU 5 raises the upper lid, AU 6 and 7 push up the lower one."""
    size = person.eye_size
    upper = max(0.028, 0.082 + face.upper_lid) * size
    lower = max(0.012, 0.058 - face.lower_lid) * size
    half = 0.16 * size
    for s in (-1, 1):
        at = np.array([s * person.eye_spread, -0.02])
        tilt = person.eye_tilt - 0.035 * face.droop
        inner, outer = (-half, 0.015), (half, -tilt)
        top = [
            inner,
            (-0.55 * half, -upper * (0.80 + 0.30 * face.droop) + 0.055 * face.glare),
            (0.05 * half, -upper + 0.02 * face.glare),
            (0.62 * half, -upper * (0.74 - 0.25 * face.droop) - 0.4 * tilt),
            outer,
        ]
        bottom = [
            inner,
            (-0.4 * half, lower * 0.85),
            (0.25 * half, lower),
            (0.7 * half, lower * 0.6 - 0.4 * tilt),
            outer,
        ]
        upper_lid = spline(np.array(top) * (s, 1) + at)
        lower_lid = spline(np.array(bottom) * (s, 1) + at)
        outline = np.concatenate([upper_lid, lower_lid[::-1]])
        with canvas.clip(outline):
            canvas.polygon(outline, (250, 248, 244))
            _draw_iris(canvas, person.iris, at[0], at[1] + 0.012 * face.droop, 0.083 * size)
            # The shadow of the lid on the eyeball.
            canvas.stroke(np.add(upper_lid, (0, 0.012)), 0.05, alpha((60, 50, 70), 0.35))
            canvas.polygon(ellipse(at[0] - 0.028, at[1] - 0.028, 0.02, 0.02), (255, 255, 255))
        canvas.stroke(lower_lid, 0.014, alpha(shadow, 0.8))
        canvas.stroke(upper_lid, 0.036, mix(shadow, (20, 12, 14), 0.75), taper=(0.3, 0.5))
        crease = np.array(top) * (s, 1) + at - (0, 0.042 + 0.2 * max(0, face.upper_lid))
        canvas.stroke(crease[1:], 0.016, alpha(shadow, 0.75))
        if person.lashes:
            for reach, rise in ((0.75, 0.065), (0.95, 0.06), (1.08, 0.045)):
                height = np.interp(reach, (0.62, 1), (top[3][1], outer[1]))
                root = np.add(at, (s * half * reach, height))
                lash = [root, np.add(root, (s * 0.05, -rise))]
                canvas.stroke(lash, 0.016, (26, 18, 20), taper=(1, 0))


def _draw_iris(canvas: Canvas, colour: Colour, x: float, y: float, radius: float) -> None:
    """Draw an iris with a dark rim, a lighter lower half and a pupil."""
    canvas.polygon(ellipse(x, y, radius, radius), mix(colour, (0, 0, 0), 0.45))
    canvas.polygon(ellipse(x, y, radius * 0.84, radius * 0.84), colour)
    glow = ellipse(x, y + radius * 0.3, radius * 0.6, radius * 0.45)
    canvas.polygon(glow, alpha(mix(colour, (255, 255, 255), 0.5), 0.5))
    canvas.polygon(ellipse(x, y, radius * 0.46, radius * 0.46), (16, 12, 14))


def draw_nose(canvas: Canvas, person: Person, face: Expression, shadow: Colour) -> None:
    """Draw the nose: AU 9 pulls up its wings and wrinkles its bridge."""
    pull = 0.035 * face.wrinkled_nose
    tip = person.nose_length - pull * 0.6
    w = person.nose_width * (1 + 0.18 * face.wrinkled_nose)
    for s in (-1, 1):
        wing = np.array([(0.55 * w, tip - 0.10), (w, tip - 0.055), (1.02 * w, tip), (0.72 * w, tip + 0.02)])
        canvas.stroke(wing * (s, 1) - (0, pull * 0.4), 0.02, alpha(shadow, 0.75))
        canvas.polygon(ellipse(s * 0.5 * w, tip + 0.012, 0.032, 0.016), mix(shadow, (30, 10, 12), 0.5))
    canvas.stroke([(-0.3 * w, tip + 0.03), (0, tip + 0.042), (0.3 * w, tip + 0.03)], 0.016, alpha(shadow, 0.8))
    wrinkle = alpha(shadow, 1.6 * (face.wrinkled_nose - 0.3))
    for y, half in ((-0.10, 0.055), (-0.045, 0.075), (0.015, 0.07)):
        canvas.stroke([(-half, y - 0.012), (0, y + 0.016), (half, y - 0.012)], 0.02, wrinkle)
    for s in (-1, 1):
        wrinkle_line = np.array([(0.075, 0.09), (0.12, 0.03), (0.17, 0.055)]) * (s, 1)
        canvas.stroke(wrinkle_line, 0.018, wrinkle)


def draw_lines(canvas: Canvas, person: Person, face: Expression, shadow: Colour) -> None:
    """Draw the wrinkles of forehead, glabella, cheeks and chin."""
    short = 0.55 if face.frown > 0.3 else 1.0  # AU 1+4 wrinkle the middle of the forehead only
    for y, half in ((-0.53, 0.34), (-0.62, 0.38), (-0.70, 0.30)):
        y -= 0.35 * face.brow_inner
        x = half * short * np.array([-1, -0.5, 0, 0.5, 1])
        line = np.stack([x, y + np.array([0.01, -0.012, 0.012, -0.012, 0.01])], axis=1)
        canvas.stroke(line, 0.018, alpha(shadow, 0.75 * (face.forehead - 0.3)))
    for s in (-1, 1):
        lift = 0.5 * face.brow_inner
        frown = np.array([(0.055, -0.36 - lift), (0.045, -0.27 - lift), (0.06, -0.19 - lift)])
        canvas.stroke(frown * (s, 1), 0.022, alpha(shadow, 0.9 * (face.frown - 0.3)))
        w = person.mouth_width + face.mouth_width
        fold = np.array(
            [
                (person.nose_width + 0.03, 0.20 - 0.04 * face.wrinkled_nose),
                (0.5 * (person.nose_width + w) + 0.07, 0.31),
                (w + 0.07, 0.46 - 0.3 * face.corner_lift),
            ]
        )
        canvas.stroke(fold * (s, 1), 0.024, alpha(shadow, 0.12 + 0.75 * face.fold))
        bag = np.array([(-0.13, 0.075), (0.0, 0.105), (0.13, 0.07)]) * (s, 1)
        at = (s * person.eye_spread, 0.0)
        canvas.stroke(bag + at, 0.016, alpha(shadow, 0.1 + 0.45 * face.cheek))
        for rise in (-0.05, 0.0, 0.05):
            crow = np.array([(0.19, 0.3 * rise), (0.25, rise)]) * (s, 1) + at
            canvas.stroke(crow, 0.014, alpha(shadow, 0.55 * (face.cheek - 0.3)))
    dent = [(-0.11, 0.725 + face.jaw), (0, 0.70 + face.jaw), (0.11, 0.725 + face.jaw)]
    canvas.stroke(dent, 0.022, alpha(shadow, 0.65 * face.chin))
