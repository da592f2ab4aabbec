"""One picture → the crops of its faces, at the network's size, in the thread that decoded it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import EmotionOpsError, OptionError, RowError, RowErrorCode
from emotion_ops.faces.crops import crop_face, crop_peak_bytes
from emotion_ops.faces.detector import DetectorOption, LoadedDetector, open_detector
from emotion_ops.faces.identity import detector_identity
from emotion_ops.faces.order import FaceBoxes, sort_faces
from emotion_ops.faces.weights import SHA256
from emotion_ops.images.cells import Cell
from emotion_ops.images.decoder import Transform, peak_beside
from emotion_ops.images.loader import ImageLoader, Known
from emotion_ops.images.meter import Meter

FacesMode = Literal["none", "largest", "all"]

_LOOKED_AT = 6  # bytes a pixel: Pillow makes an array of its bytes, twice for a moment


@dataclass(frozen=True)
class FaceSearch:
    """Which faces of a picture are looked at.

    Attributes:
        detector: As ``find_faces`` takes it; paths are text, or a pinned.
        threshold: The least probability of a face.
        min_size: The least length of a box's shorter side.
        margin: What is added around a box, as ``crop`` takes it.
        most: How many faces go to the network, the largest.
    """

    detector: DetectorOption
    threshold: float
    min_size: float
    margin: float
    most: int

    def prepare(self) -> LoadedDetector:
        """Load the detector, once for all pictures of a stream; what cannot be used is told before any row.

        Raises:
            ModelError: It cannot be used.
            MissingDependencyError: No runtime for it is installed.
        """
        return open_detector(self.detector, self.threshold)

    def identity(self) -> dict[str, object]:
        """All that decides which faces are found and cut out, as JSON values by the names of the options."""
        return {**self._options(), "detector": detector_identity(self.detector)}

    def lineage(self) -> dict[str, str]:
        """The same as texts, for whoever wonders later; nothing is fetched for it.

        Raises:
            ModelError: The detector's file is not there.
        """
        try:
            detector = f"yunet sha256:{SHA256}" if self.detector is None else detector_identity(self.detector)
        except OptionError:  # one that only a dataset cannot do with
            detector = "a callable without a name"
        return {**{name: str(value) for name, value in self._options().items()}, "detector": detector}

    def _options(self) -> dict[str, float]:
        return {
            "face_threshold": self.threshold,
            "min_face_size": self.min_size,
            "face_margin": self.margin,
            "max_faces": self.most,
        }


@dataclass(frozen=True)
class Crops:
    """The faces of a picture.

    Attributes:
        pixels: uint8 (faces, height, width, 3), at the network's size, the largest face first; one at the least.
        boxes: Their boxes.
        count: How many faces were found, also those beyond the most that are cut out.
    """

    pixels: NDArray[np.uint8]
    boxes: FaceBoxes
    count: int


class FaceLoader:
    """An ``ImageLoader`` whose pictures are cut into faces.

    Args:
        loader: What loads a picture; its transform brings each crop to the network's size.
        search: Which faces; its detector is loaded here, and is the same for all pictures.

    Raises:
        ModelError: The detector cannot be used.
        MissingDependencyError: No runtime for it is installed.
    """

    def __init__(self, loader: ImageLoader, search: FaceSearch) -> None:
        self._loader, self._search, self._find = loader, search, search.prepare()

    @property
    def meter(self) -> Meter:
        """The loader's."""
        return self._loader.meter

    def stop(self) -> None:
        """Stop what the loader has under way."""
        self._loader.stop()

    def load_unless(self, cell: Cell, known: Known | None) -> Crops | None:
        """The crops of a cell's picture; raises as ``ImageLoader.load_unless`` does, and ``no_face``."""
        cutting = _Cutting(self._search, self._find, self._loader.transform)
        pixels = dataclasses.replace(self._loader, transform=cutting).load_unless(cell, known)
        return None if pixels is None else Crops(pixels, cutting.boxes, cutting.count)


class _Cutting:
    """A transform for one picture, which remembers where the faces were."""

    def __init__(self, search: FaceSearch, find: LoadedDetector, resize: Transform) -> None:
        self._search, self._find, self._resize = search, find, resize
        self.boxes: FaceBoxes = np.empty((0, 5), np.float32)
        self.count = 0

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        search = self._search
        try:
            told = self._find(picture)[:, :5]
        except EmotionOpsError:
            raise
        except Exception as error:
            if not callable(search.detector):
                raise  # no memory for the picture
            what = f"the detector failed ({type(error).__name__}: {str(error)[:160]})"
            raise RowError(RowErrorCode.UNDECODABLE, what) from error
        found = sort_faces(told, picture.size, search.threshold, 0, None)
        faces = found[found[:, 2:4].min(axis=1, initial=np.inf) >= search.min_size]
        self.count, self.boxes = len(faces), faces[: search.most]
        if not self.count:
            raise RowError(RowErrorCode.NO_FACE, _why_none(picture, found, search))
        return np.stack([self._resize(crop_face(picture, box, search.margin)) for box in self.boxes])

    def peak(self, width: int, height: int) -> int:
        """See ``MeasuredTransform``; what a callable fills itself is not known."""
        looked_at, cut = _LOOKED_AT * width * height, crop_peak_bytes(width, height, self._search.margin)
        return max(looked_at, cut) + peak_beside(self._resize, 1, 1)  # of squares


def _why_none(picture: Image.Image, found: FaceBoxes, search: FaceSearch) -> str:
    pixels = f"{picture.width:,} x {picture.height:,} pixels"
    if not len(found):
        return f"no face of a probability of {search.threshold} or more was found in {pixels}"
    longest = found[:, 2:4].min(axis=1).max()
    return (
        f"faces found in {pixels}: {len(found)}, whose shorter sides are {longest:,.1f} pixels at the most, "
        f"less than min_face_size={search.min_size}"
    )
