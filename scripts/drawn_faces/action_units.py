"""The facial action units of each emotion, and the effect of each unit on a face.

An action unit (AU) is one visible movement of the Facial Action Coding System: P. Ekman and
W. V. Friesen, "Facial Action Coding System" (1978); P. Ekman, W. V. Friesen and J. C. Hager,
"FACS Investigator's Guide" (2002), which also lists the EMFACS prototypes of the emotions.
The units of each emotion follow table 1 of S. Du, Y. Tao and A. M. Martinez, "Compound facial
expressions of emotion", PNAS 111(15), E1454 (2014): its prototypical units are always on, and
its variants are on for about the share of people in whom that study saw them. Four variants
that EMFACS counts as core are always on here, so that every expression is clear: AU 1 in
sadness, AU 2 and 5 in fear, AU 5 in surprise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ACTION_UNITS: dict[str, dict[int, float]] = {
    "sad": {1: 1.0, 4: 0.8, 15: 1.0},
    "disgust": {9: 1.0, 10: 1.0, 17: 0.8},
    "angry": {4: 1.0, 7: 1.0, 24: 1.0},
    "neutral": {},
    "fear": {1: 1.0, 2: 0.6, 4: 0.8, 5: 1.0, 20: 1.0, 25: 1.0},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.9, 25: 1.0, 26: 1.0},
    "happy": {12: 1.0, 25: 1.0},
}
"""Prototypical units of each emotion, in the order of the labels, with their strength (0 to 1) at full intensity."""

VARIANT_UNITS: dict[str, dict[int, float]] = {
    "sad": {6: 0.5, 11: 0.26, 17: 0.67},
    "disgust": {4: 0.31, 24: 0.26},
    "angry": {10: 0.26, 17: 0.52, 23: 0.29},
    "neutral": {},
    "fear": {26: 0.33},
    "surprise": {},
    "happy": {6: 0.51},
}
"""Units seen in some people only, with the probability that a drawn face shows them."""


@dataclass(frozen=True)
class Expression:
    """The effect of the action units on a face at rest.

    Displacements are in face units (1 is about half the height of a head; up is positive):
    those of the brows, the lids (a lifted lower lid is positive too), the corners of the mouth,
    its upper lip and half width. `opening` is the gap between the lips and `jaw` how far the
    chin drops. All other fields are between 0 (absent) and about 1 (strong): `glare` lowers the upper
    lids towards the nose and `droop` away from it, `square` makes the mouth angular, and
    `forehead`, `frown` and `fold` deepen the lines of forehead, glabella and cheeks.
    """

    brow_inner: float
    brow_middle: float
    brow_outer: float
    brow_pinch: float
    upper_lid: float
    lower_lid: float
    glare: float
    droop: float
    cheek: float
    wrinkled_nose: float
    mouth_width: float
    corner_lift: float
    opening: float
    jaw: float
    upper_lip: float
    press: float
    chin: float
    square: float
    forehead: float
    frown: float
    fold: float


def sample_units(emotion: str, rng: np.random.Generator) -> dict[int, float]:
    """Return the action units of one face, chosen at random.

    Args:
        emotion: One of the seven labels.
        rng: The random generator; the number of draws depends on the emotion.

    Returns:
        Strengths by unit, each above 0 and at most 1: the prototypical units at one shared
        intensity between 0.6 and 1, each varied a little, and the variants that are on.

    Raises:
        KeyError: If the emotion is not one of the labels.
    """
    intensity = rng.uniform(0.6, 1.0)
    units = dict(ACTION_UNITS[emotion])
    for unit, chance in VARIANT_UNITS[emotion].items():
        if rng.random() < chance:
            units[unit] = 0.5
    return {unit: float(min(1.0, strength * intensity * rng.uniform(0.9, 1.1))) for unit, strength in units.items()}


def express(units: Mapping[int, float]) -> Expression:
    """Return the displacements that action units cause.

    Args:
        units: Strength (0 to 1) by action unit; units left out are at rest.

    Returns:
        The displaced face; `express({})` is the face at rest.
    """

    def au(number: int) -> float:
        return units.get(number, 0.0)

    # AU 1 raises the inner brow that AU 4 lowers: together they slant it.
    lowered = au(4) * (1 - 0.9 * au(1)) + 0.5 * au(9)
    # A dropped jaw (26) opens the mouth far more than parted lips (25).
    # A strongly raised upper lip (10) shows the teeth, unless the lips are pressed (24).
    opening = (
        au(25) * (0.045 + 0.10 * au(12) + 0.095 * au(20))
        + 0.32 * au(26) * (1 - 0.6 * au(20))
        + 0.09 * max(0.0, au(10) - 0.3) * (1 - min(1.0, 2 * au(24)))
    )
    return Expression(
        brow_inner=0.175 * au(1) - 0.13 * lowered,
        brow_middle=0.06 * au(1) * (1 - au(4)) + 0.11 * au(2) - 0.09 * lowered,
        brow_outer=0.13 * au(2) - 0.06 * au(1) * au(4) * (1 - au(2)) - 0.01 * lowered,
        brow_pinch=0.06 * au(4) + 0.03 * au(9),
        upper_lid=0.062 * au(5) - 0.02 * au(7) - 0.02 * au(9) - 0.012 * au(12) - 0.008 * au(6),
        lower_lid=0.028 * au(7) + 0.022 * au(6) + 0.036 * au(9) + 0.014 * au(12) - 0.012 * au(5),
        glare=au(4) * (1 - au(1)) + 0.35 * au(9),
        droop=au(1) * au(4) * (1 - au(5)),
        cheek=max(au(6), 0.7 * au(12), 0.7 * au(9)),
        wrinkled_nose=au(9) + 0.25 * au(10) * (1 - au(9)),
        mouth_width=0.11 * au(12)
        + 0.10 * au(20)
        - 0.02 * au(15)
        - 0.05 * au(24)
        - 0.03 * au(23)
        - 0.10 * au(26) * (1 - au(20)),
        corner_lift=0.135 * au(12) - 0.10 * au(15) - 0.03 * au(20) - 0.03 * au(10) - 0.02 * au(24),
        opening=opening,
        jaw=0.5 * opening,
        upper_lip=0.08 * au(10) + 0.02 * au(9),
        press=min(1.0, au(24) + 0.5 * au(23)),
        chin=au(17),
        square=max(au(20), 0.6 * au(10)),
        forehead=max(au(1), au(2)),
        frown=au(4) + 0.5 * au(9),
        fold=min(1.0, 0.7 * au(12) + 0.9 * au(10) + 0.4 * au(9) + 0.6 * au(11) + 0.3 * au(15)),
    )
