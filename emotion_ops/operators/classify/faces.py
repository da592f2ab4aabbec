"""Which faces of an image are classified: the options."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from emotion_ops.errors import OptionError
from emotion_ops.faces.detector import DetectorOption, check_detector
from emotion_ops.faces.identity import detector_identity
from emotion_ops.faces.weights import SHA256
from emotion_ops.options import OptionGroup, fraction, number, one_of, option, optional, whole_number

_MAX_FACES = 64


def _size(name: str, value: Any) -> float:
    return number(name, value, lambda one: 0 <= one < 1e6, "give a number of at least 0")


def _margin(name: str, value: Any) -> float:
    return number(name, value, lambda one: 0 <= one <= 1, "give a number from 0 to 1: 0.1 adds 10 % on each side")


@dataclass(frozen=True)
class Faces(OptionGroup):
    """Which faces of an image are found and classified. Needs the extra ``faces``.

    Args:
        which: ``"largest"`` classifies the largest face of an image, ``"all"`` every face. An image without a face
            fails with ``no_face``. Both add the columns ``<prefix>_face`` (the box) and ``<prefix>_face_count``,
            ``"all"`` also ``<prefix>_faces``.
        detector: What finds faces. None is YuNet from the hub, a path is a YuNet file, and a picklable, hashable
            callable is your own detector (see ``emotion_ops.find_faces``).
        threshold: Minimum probability of a face, 0 to 1.
        min_size: Minimum length of the shorter side of a face's box, in pixels of the image.
        margin: What is added on each side of the square that is cut out, as a part of its side, 0 to 1; 0.1 is 10 %.
        max_faces: With ``"all"``, maximum number of faces of one image that are classified, the largest; all are
            counted. So many images of the network's size, twice for each thread, may come on top of the memory
            budget. None is 64.

    Raises:
        OptionError: A value cannot be used, or ``max_faces`` is given with ``"largest"``.
    """

    which: Literal["largest", "all"] = option(one_of("largest", "all"), "largest", flag="faces")
    detector: DetectorOption | os.PathLike[str] = option(check_detector, None)
    threshold: float = option(fraction, 0.7, flag="face_threshold")
    min_size: float = option(_size, 0.0, flag="min_face_size")
    margin: float = option(_margin, 0.0, flag="face_margin")
    max_faces: int | None = option(optional(whole_number), None)

    def __post_init__(self) -> None:
        """Check every value, and refuse one that would have no effect."""
        super().__post_init__()
        if self.which == "largest" and self.max_faces is not None:
            hint = 'remove it, or give Faces("all"): the largest is one'
            raise OptionError("Faces.max_faces", self.max_faces, hint)

    @property
    def limit(self) -> int:
        """Maximum number of faces of one image that are classified."""
        return 1 if self.which == "largest" else self.max_faces or _MAX_FACES

    def identity(self) -> dict[str, Any]:
        """See ``OptionGroup.identity``; the detector by its name and the hash of its content.

        Raises:
            OptionError: The detector is a callable without a name of its own.
        """
        return {**super().identity(), "detector": detector_identity(self.detector), "max_faces": self.limit}

    def lineage(self) -> dict[str, str]:
        """The options as text, for people. Nothing is fetched for it.

        Raises:
            ModelError: The detector's file is not there.
        """
        try:
            detector = f"yunet sha256:{SHA256}" if self.detector is None else detector_identity(self.detector)
        except OptionError:  # a dataset refuses it, a table does not
            detector = "a callable without a name"
        options = {**super().identity(), "detector": detector, "max_faces": self.limit}
        return {name: str(value) for name, value in options.items()}
