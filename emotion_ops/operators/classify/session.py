"""Options → the session that runs them: the network, what loads images, and the names of the columns."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from emotion_ops.errors import ModelError, UnsupportedModelError
from emotion_ops.faces.detector import check_detector, open_detector
from emotion_ops.images.decoder import Transform
from emotion_ops.images.resize import Resize
from emotion_ops.models.checkpoint import Checkpoint, resolve_checkpoint
from emotion_ops.models.config import read_architecture, read_labels
from emotion_ops.models.engines.choice import EngineName, Precision, choose
from emotion_ops.models.engines.engine import Engine, load_engine as load
from emotion_ops.models.engines.int8 import Calibration, FloatPrecision, Int8
from emotion_ops.models.pixel_spec import PixelSpec, pixels_sha256, probe_pixels, read_pixel_spec
from emotion_ops.operators.classify.calibration import calibration_stamp, load_calibration
from emotion_ops.operators.classify.columns import FACE, OutputColumns
from emotion_ops.operators.classify.face_loader import FaceLoader
from emotion_ops.operators.classify.faces import Faces
from emotion_ops.operators.classify.finishing import build_columns
from emotion_ops.operators.classify.labels import Labeller, Labels, bind_labels
from emotion_ops.operators.rows import Row
from emotion_ops.operators.run import Run
from emotion_ops.operators.session import Session

_log = logging.getLogger("emotion_ops")


@dataclass(frozen=True)
class NetworkChoice:
    """Which network runs where; see ``ClassifyEmotions`` for the values."""

    model: str
    revision: str | None
    device: str
    engine: EngineName
    precision: FloatPrecision | Int8

    @property
    def precision_name(self) -> Precision:
        """``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``."""
        return "int8" if isinstance(self.precision, Int8) else self.precision


def open_session(
    network: NetworkChoice,
    image: str,
    faces: Faces | None,
    labeller: Labeller,
    columns: OutputColumns,
    batch_size: int | Literal["auto"],
    run: Run,
) -> Session:
    """The session of a stream; the network is loaded once for the process.

    Raises:
        ModelError: The model or the detector cannot be used.
        MissingDependencyError: A package is not installed.
    """
    if faces is not None:  # before the network, so that a detector that cannot be used is found at once
        open_detector(check_detector("detector", faces.detector), faces.threshold)
    engine = load_engine(network, image, faces, run)
    size = batch_size
    if size == "auto":
        size = engine.batch_size
        _log_once("batch_size: %d, which suits %s on %s", size, engine.name, engine.device)
    return Session(
        prepare=image_loader(image, faces, engine.pixels),
        compute=_Compute(engine),
        finish=_Finish(columns, labeller),
        batch_size=size,
        concurrency=engine.concurrency,
        max_parts=faces.limit if faces else 1,
        item_bytes=engine.pixels.height * engine.pixels.width * 3,
    )


@dataclass(frozen=True)
class _Compute:
    engine: Engine

    def __call__(self, items: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Probabilities, float32 (items, labels), of images uint8 (height, width, 3)."""
        probabilities = self.engine.predict(np.stack(items))
        if not np.isfinite(probabilities).all():
            raise ModelError(
                self.engine.checkpoint.model,
                f"its network gave a probability that is not a number, in {self.engine.precision} on "
                f"{self.engine.device}",
                'give precision="fp32"'
                if self.engine.precision != "fp32"
                else "its weights are broken or overflow; choose another checkpoint",
            )
        return probabilities


@dataclass(frozen=True)
class _Finish:
    columns: OutputColumns
    labeller: Labeller

    def __call__(self, results: Sequence[Any]) -> list[pa.Array]:
        return build_columns(results, self.columns, self.labeller)


def image_loader(image: str, faces: Faces | None, pixels: PixelSpec) -> Callable[[Row], Any]:
    """What prepares a row: the image at the network's size, uint8 (height, width, 3), or the crops of its faces."""
    transform = build_transform(pixels)
    if faces is not None:
        return FaceLoader(image, faces, transform)
    return lambda row: row.image(image, transform)


def output_columns(network: NetworkChoice, prefix: str, labels: Labels, faces: Faces | None) -> OutputColumns:
    """The columns that these options append; of a hub model only the configuration is fetched.

    Raises:
        ModelError: The model cannot be found, or a label of it would be an appended name twice.
        OptionError: A threshold is for a label that the model does not have.
    """
    checkpoint = resolve_checkpoint(network.model, network.revision, config_only=True)
    which = faces.which if faces else None
    columns = _columns(checkpoint, checkpoint.stamp(), prefix, labels.above is not None, which)
    labels.check_names(columns.labels)
    return columns


@functools.lru_cache(maxsize=64)
def _columns(checkpoint: Checkpoint, stamp: object, prefix: str, lists_labels: bool, faces: Any) -> OutputColumns:
    names, unknown = bind_labels(read_labels(checkpoint))
    if unknown:
        _log.warning(
            "model %r: the labels %s are not among the seven emotions and their aliases; they keep their own names",
            checkpoint.model,
            ", ".join(repr(name) for name in unknown),
        )
    columns = OutputColumns(names, prefix, lists_labels, faces)
    hint = "give that label another name in id2label of config.json"
    if faces == "all" and {"emotion", *FACE} & set(names):
        what = f"one of its labels has the name of a part of a face: emotion, {', '.join(FACE)}"
        raise UnsupportedModelError(checkpoint.model, what, hint)
    others = {columns.error, *columns.added}
    for label, name in zip(names, columns.probabilities, strict=True):
        if name in others:
            what = f"its label {label!r} would be a second column {name!r}"
            raise UnsupportedModelError(checkpoint.model, what, hint)
    return columns


def load_engine(network: NetworkChoice, image: str, faces: Faces | None, run: Run) -> Engine:
    """The engine of these options; loaded once for the process.

    Args:
        network: Which network.
        image: The image column. It, ``faces`` and ``run`` are used for int8, which is calibrated on images.
        faces: Which faces.
        run: How images are loaded.
    """
    return load(
        network.model,
        network.revision,
        network.device,
        network.engine,
        network.precision_name,
        lambda checkpoint: _calibrate(network, checkpoint, image, faces, run),
    )


def resolved_settings(network: NetworkChoice, image: str, faces: Faces | None, run: Run) -> dict[str, str | None]:
    """What these options leave to the machine, resolved: all of it that changes a number.

    In fp32 that is the engine. The other precisions round as a kind of device does, and int8 as its quantiser.
    """
    checkpoint = resolve_checkpoint(network.model, network.revision)
    chosen = choose(network.engine, network.device, network.precision_name, read_architecture(checkpoint))
    found: dict[str, str | None] = {"engine": chosen.engine, "precision": chosen.precision, "calibration": None}
    if chosen.precision != "fp32":
        found["device"] = chosen.device.partition(":")[0]
    if chosen.precision == "int8":
        found["calibration"] = _calibrate(network, checkpoint, image, faces, run).digest
        found["quantiser"] = " ".join(f"{name} {importlib.metadata.version(name)}" for name in ("nncf", "openvino"))
    return found


def _calibrate(
    network: NetworkChoice, checkpoint: Checkpoint, image: str, faces: Faces | None, run: Run
) -> Calibration:
    assert isinstance(network.precision, Int8)
    source = str(network.precision.calibration)
    detector = faces.lineage()["detector"] if faces else None
    stamp = checkpoint.stamp(), calibration_stamp(source), detector
    return _calibration(source, image, faces, run.options, checkpoint, stamp)


@functools.lru_cache(maxsize=2)
def _calibration(
    source: str, image: str, faces: Faces | None, loading: Any, checkpoint: Checkpoint, stamp: object
) -> Calibration:
    what = "images" if faces is None else "faces in images"
    return load_calibration(source, image, image_loader(image, faces, read_pixel_spec(checkpoint)), Run(*loading), what)


@functools.lru_cache(maxsize=32)
def _log_once(message: str, *values: object) -> None:
    _log.info(message, *values)


@functools.lru_cache(maxsize=4)
def build_transform(pixels: PixelSpec) -> Transform:
    """What brings an image to the size that the network takes.

    Our own resize where it gives the checkpoint's own pixels, bit for bit; else the checkpoint's.
    """
    resize = Resize.from_config(pixels.config)
    probe = Image.fromarray(probe_pixels())
    if resize is not None and pixels_sha256(resize(probe)) == pixels.probe:
        return resize
    _log.info("this checkpoint's own image processor resizes the images: correct, but slower")
    pixels.transform(probe)  # loads it here, once, and not in many threads
    return pixels.transform
