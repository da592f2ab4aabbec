"""Soft light and shadow, computed on a coarse grid and enlarged to the size of the image."""

import numpy as np
from PIL import Image

from drawn_faces.action_units import Expression
from drawn_faces.drawing import Colour
from drawn_faces.people import Person, Scene

_GRID = 80

_WARM_SHADOW = (0.78, 1.06, 1.16)
"""Exponents of red, green and blue: skin in shadow is redder."""


class Shading:
    """The light on a head, as one factor for each grid point, with soft spots added to it."""

    def __init__(self, scene: Scene, size: int) -> None:
        """Light an ellipsoid of the size of a head, for images of `size` pixels."""
        side = _GRID
        self._scene = scene
        self._size = size
        centres = (np.arange(side) + 0.5) / side
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        face = scene.pose.to_face(grid).reshape(side, side, 2)
        self._x, self._y = face[..., 0], face[..., 1]
        nx, ny = self._x / 0.95, self._y / 1.3
        nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0.04, 1))
        right, down, near = scene.light
        lit = np.clip(nx * right + ny * down + nz * near, 0, 1)
        self._tone = 1.04 - scene.contrast * (1 - lit)
        self._blush = np.zeros_like(self._tone)

    def _bump(self, x: float, y: float, rx: float, ry: float) -> np.ndarray:
        centre = self._scene.pose.turn(np.array([[x, y]]))[0]
        bump: np.ndarray = np.exp(-(((self._x - centre[0]) / rx) ** 2) - ((self._y - centre[1]) / ry) ** 2)
        return bump

    def dab(self, x: float, y: float, rx: float, ry: float, strength: float) -> None:
        """Lighten (strength above 0) or darken (below 0) a soft ellipse."""
        self._tone *= 1 + strength * self._bump(x, y, rx, ry)

    def redden(self, x: float, y: float, rx: float, ry: float, strength: float) -> None:
        """Make a soft ellipse redder."""
        self._blush += strength * self._bump(x, y, rx, ry)

    def texture(self, colour: Colour, *, skin: bool = True) -> Image.Image:
        """Return a surface of the colour under this light; skin has warmer shadows."""
        tone = self._tone[..., None] ** (np.array(_WARM_SHADOW) if skin else 1.0)
        blush = self._blush[..., None] * np.array([0.0, 0.3, 0.24])
        lit = np.array(colour[:3], float) * tone * (1 - blush) * self._scene.tint
        return Image.fromarray(lit.clip(0, 255).astype(np.uint8)).resize(
            (self._size, self._size), Image.Resampling.BICUBIC
        )


def model_face(shading: Shading, person: Person, scene: Scene, face: Expression) -> None:
    """Add the relief of a face: eye sockets, nose, cheeks, lips and chin.

    Args:
        shading: Light on the head; changed in place.
        person: The person.
        scene: Where the light comes from.
        face: The expression.
    """
    side = 1.0 if scene.light[0] >= 0 else -1.0  # the lit side of the nose
    lift = 0.10 * face.cheek
    for s in (-1.0, 1.0):
        x = s * person.eye_spread
        shading.dab(x, -0.14, 0.20, 0.10, -0.10 - 0.10 * face.glare)
        shading.dab(s * 0.09, -0.16, 0.06, 0.12, -0.10 - 0.12 * face.frown)
        shading.redden(s * 0.42, 0.27 - lift, 0.17, 0.13, 0.26 + 0.24 * face.cheek)
        shading.dab(s * 0.38, 0.20 - lift, 0.16, 0.09, 0.07 + 0.08 * face.cheek)
        shading.dab(s * 0.36, 0.13, 0.16, 0.035, -0.10 * face.cheek)
        shading.dab(s * 0.27, 0.36, 0.05, 0.13, -0.12 * face.fold)
    shading.dab(0, -0.62, 0.35, 0.2, 0.04)
    shading.dab(side * 0.015, 0.02, 0.04, 0.22, 0.10)
    shading.dab(-side * 0.10, 0.10, 0.06, 0.17, -0.13)
    tip = person.nose_length
    shading.dab(side * 0.02, tip - 0.05, 0.05, 0.05, 0.14)
    shading.dab(0, tip + 0.07, 0.11, 0.04, -0.15)
    shading.redden(0, tip - 0.03, 0.10, 0.07, 0.2)
    shading.dab(0, 0.70 + face.jaw + face.opening * 0.5, 0.16, 0.05, -0.14 - 0.10 * face.chin)
    shading.dab(0, 0.83 + face.jaw, 0.13, 0.07, 0.05 + 0.04 * face.chin)
