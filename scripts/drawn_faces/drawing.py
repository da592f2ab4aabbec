"""Smooth shapes on a supersampled image, in the coordinates of a turned head."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, ...]
Points = NDArray[np.float64]

SUPERSAMPLING = 3

_T = np.linspace(0, 1, 8, endpoint=False)[:, None] ** np.arange(4)
_CATMULL_ROM = _T @ (np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], float) / 2)


def spline(points: ArrayLike, *, closed: bool = False) -> Points:
    """Return a Catmull-Rom curve through the points, as a dense (n, 2) array."""
    knots = np.asarray(points, float)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([knots[:1], knots, knots[-1:]])
    windows = np.stack([padded[i : len(padded) - 3 + i] for i in range(4)], axis=1)
    curve: Points = (_CATMULL_ROM @ windows).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def mirrored(points: ArrayLike) -> Points:
    """Complete the right half of an outline, given from top to bottom, with its mirror image."""
    right = np.asarray(points, float)
    left = right[::-1] * (-1, 1)
    return np.concatenate([right, left[left[:, 0] != 0]])


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    """Return 28 points on an ellipse."""
    angle = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def mix(a: Sequence[float], b: Sequence[float], share: float) -> Colour:
    """Return the colour that lies `share` of the way from a to b."""
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b, strict=True))


def alpha(colour: Colour, opacity: float) -> Colour:
    """Return the RGB colour with an opacity (0 to 1; values outside are clipped)."""
    return (*colour[:3], round(255 * min(1.0, max(0.0, opacity))))


@dataclass(frozen=True)
class Pose:
    """Where the head is in the image and how it is turned.

    Attributes:
        x: Centre of the head from the left, as a share of the image.
        y: Centre of the head from the top, as a share of the image.
        scale: Length of one face unit, as a share of the image.
        roll: Rotation in the image plane, in radians.
        yaw: How far the nearest point of the face moves sideways, in face units.
        pitch: How far the nearest point of the face moves down, in face units.
    """

    x: float
    y: float
    scale: float
    roll: float
    yaw: float
    pitch: float

    def turn(self, points: Points) -> Points:
        """Move face points as a turn of the head does: near points move most."""
        x, y = points[:, 0], points[:, 1]
        depth = np.sqrt(np.clip(1 - (x / 0.8) ** 2 - (y / 1.1) ** 2, 0, 1))
        return np.stack([x + self.yaw * depth, y + self.pitch * depth], axis=1)

    def to_image(self, points: Points) -> Points:
        """Map (turned) face points to shares of the image."""
        c, s = math.cos(self.roll), math.sin(self.roll)
        turned: Points = points @ np.array([[c, s], [-s, c]]) * self.scale + (self.x, self.y)
        return turned

    def to_face(self, points: Points) -> Points:
        """Map shares of the image to (turned) face points: the inverse of `to_image`."""
        c, s = math.cos(self.roll), math.sin(self.roll)
        turned: Points = (points - (self.x, self.y)) / self.scale @ np.array([[c, -s], [s, c]])
        return turned


class Canvas:
    """An image drawn at `SUPERSAMPLING` times its size, so that its edges are smooth.

    Shapes are given in face units: x to the right and y down from the middle of the face.
    """

    def __init__(self, background: Image.Image, pose: Pose) -> None:
        """Start from a square RGB background of the final size."""
        side = background.width * SUPERSAMPLING
        self.pose = pose
        self.image = background.resize((side, side), Image.Resampling.NEAREST)
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def pixels(self, points: Points) -> list[float]:
        """Return face points as the flat list of pixel coordinates that Pillow expects."""
        flat: list[float] = (self.pose.to_image(self.pose.turn(points)) * self.image.width).ravel().tolist()
        return flat

    def polygon(self, points: Points, colour: Colour) -> None:
        """Fill an outline with an RGB or RGBA colour."""
        self._draw.polygon(self.pixels(points), fill=colour)

    def shape(self, points: ArrayLike, colour: Colour) -> None:
        """Fill the smooth closed curve through the points."""
        self.polygon(spline(points, closed=True), colour)

    def stroke(
        self,
        points: ArrayLike,
        width: float,
        colour: Colour,
        *,
        taper: tuple[float, float] = (0, 0),
    ) -> None:
        """Draw a brush stroke through the points.

        Args:
            points: (n, 2) face points.
            width: Full width in face units, reached in the middle of the stroke.
            colour: RGB or RGBA.
            taper: Width at the start and at the end, as shares of `width`.
        """
        if len(colour) == 4 and colour[3] == 0:
            return
        curve = spline(points)
        along = np.empty_like(curve)
        along[1:-1] = curve[2:] - curve[:-2]
        along[0], along[-1] = curve[1] - curve[0], curve[-1] - curve[-2]
        normal = along[:, ::-1] * (-1, 1) / (np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9)
        t = np.linspace(0, 1, len(curve))
        ends = np.where(t < 0.5, taper[0], taper[1])
        half = (ends + (1 - ends) * np.sin(np.pi * t) ** 0.7)[:, None] * normal * width / 2
        self.polygon(np.concatenate([curve + half, (curve - half)[::-1]]), colour)

    def texture(self, outlines: Sequence[Points], texture: Image.Image) -> None:
        """Fill the union of some outlines with a texture of the final size."""
        mask = Image.new("L", self.image.size)
        draw = ImageDraw.Draw(mask)
        for outline in outlines:
            draw.polygon(self.pixels(outline), fill=255)
        box = mask.getbbox()
        if box is None:
            return
        left, top, right, bottom = box
        patch = texture.resize(
            (right - left, bottom - top),
            Image.Resampling.NEAREST,
            box=(
                left / SUPERSAMPLING,
                top / SUPERSAMPLING,
                right / SUPERSAMPLING,
                bottom / SUPERSAMPLING,
            ),
        )
        self.image.paste(patch, box, mask.crop(box))

    @contextlib.contextmanager
    def clip(self, outline: Points) -> Iterator[None]:
        """Restrict what the block draws to the inside of the outline.

        The block may draw at most a tenth of the image beyond the outline.
        """
        mask = Image.new("L", self.image.size, 255)
        ImageDraw.Draw(mask).polygon(self.pixels(outline), fill=0)
        corners = np.array(self.pixels(outline)).reshape(-1, 2)
        margin = self.image.width // 10
        left, top = (corners.min(axis=0).astype(int) - margin).clip(0).tolist()
        right, bottom = (corners.max(axis=0).astype(int) + margin).clip(0, self.image.width).tolist()
        box = (left, top, right, bottom)
        before = self.image.crop(box)
        yield
        self.image.paste(before, box, mask.crop(box))

    def finish(self) -> Image.Image:
        """Return the image at its final size."""
        return self.image.reduce(SUPERSAMPLING)
