"""An image → the crops of its faces at the network's size, in the thread that decoded it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import EmotionOpsError, RowError, RowErrorCode
from emotion_ops.faces.crops import PassThrough, crop_face, crop_peak_bytes
from emotion_ops.faces.detector import LoadedDetector, open_detector
from emotion_ops.faces.order import FaceBoxes, sort_faces
from emotion_ops.images.decoder import Transform, transform_bytes
from emotion_ops.operators.classify.faces import Faces
from emotion_ops.operators.classify.finishing import FoundFaces
from emotion_ops.operators.rows import Parts, Row

_DETECTOR_BYTES = 6  # for each pixel: Pillow makes an array of its bytes, twice for a moment


class FaceLoader:
    """Loads images and cuts their faces out.

    Args:
        image: The image column.
        faces: Which faces. The detector is loaded here, and is the same for all images.
        resize: Brings a crop to the network's size.

    Raises:
        ModelError: The detector cannot be used.
        MissingDependencyError: No runtime for it is installed.
    """

    def __init__(self, image: str, faces: Faces, resize: Transform) -> None:
        self._image, self._faces, self._resize = image, faces, resize
        self._find = open_detector(faces.detector, faces.threshold)  # type: ignore[arg-type]  # its check makes paths text

    def __call__(self, row: Row) -> Parts:
        """The crops of the faces of a row's image: uint8 (faces, height, width, 3), the largest face first.

        Raises:
            RowError: The image cannot be loaded, or has no face (``no_face``).
        """
        cutting = _Cutting(self._faces, self._find, self._resize)
        crops = row.load(self._image, row.run.loader(cutting, in_process=PassThrough(self._faces.margin)))
        return Parts(crops, FoundFaces(cutting.boxes, cutting.count))


class _Cutting:
    """A transform for one image, which remembers where the faces were."""

    def __init__(self, faces: Faces, find: LoadedDetector, resize: Transform) -> None:
        self._faces, self._find, self._resize = faces, find, resize
        self.boxes: FaceBoxes = np.empty((0, 5), np.float32)
        self.count = 0

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        options = self._faces
        try:
            boxes = self._find(image)[:, :5]
        except EmotionOpsError:
            raise
        except Exception as error:
            if not callable(options.detector):
                raise  # no memory for the image
            what = f"the detector failed ({type(error).__name__}: {str(error)[:160]})"
            raise RowError(RowErrorCode.UNDECODABLE, what) from error
        found = sort_faces(boxes, image.size, options.threshold, 0, None)
        large = found[found[:, 2:4].min(axis=1, initial=np.inf) >= options.min_size]
        self.count, self.boxes = len(large), large[: options.limit]
        if not self.count:
            raise RowError(RowErrorCode.NO_FACE, _why_none(image, found, options))
        return np.stack([self._resize(crop_face(image, box, options.margin)) for box in self.boxes])

    def peak(self, width: int, height: int) -> int:
        """See ``MeasuredTransform``; what a callable detector uses itself is not known."""
        detecting, cutting = _DETECTOR_BYTES * width * height, crop_peak_bytes(width, height, self._faces.margin)
        return max(detecting, cutting) + transform_bytes(self._resize, 1, 1)  # of squares


def _why_none(image: Image.Image, found: FaceBoxes, options: Faces) -> str:
    pixels = f"{image.width:,} x {image.height:,} pixels"
    if not len(found):
        return f"no face with a probability of at least {options.threshold} was found in {pixels}"
    longest = found[:, 2:4].min(axis=1).max()
    return (
        f"{len(found)} faces were found in {pixels}, but the shorter sides of their boxes are at most "
        f"{longest:,.1f} pixels, less than min_size={options.min_size}"
    )
