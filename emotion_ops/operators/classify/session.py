"""Options → what a worker needs to run them: the engine, the loader and the names of the columns."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import logging
import os
from typing import TYPE_CHECKING

from PIL import Image

from emotion_ops.errors import UnsupportedModelError
from emotion_ops.faces.crops import PassThrough
from emotion_ops.faces.detector import check_detector
from emotion_ops.images.loader import ImageLoader, pool_for
from emotion_ops.images.memory import Memory
from emotion_ops.images.meter import Meter
from emotion_ops.images.preprocess import Resize
from emotion_ops.models.checkpoint import Checkpoint, resolve_checkpoint
from emotion_ops.models.config import read_architecture, read_labels
from emotion_ops.models.engines.choice import choose
from emotion_ops.models.engines.engine import Engine, load_engine
from emotion_ops.models.engines.int8 import Calibration
from emotion_ops.models.pixel_spec import PixelSpec, pixels_sha256, probe_pixels, read_pixel_spec
from emotion_ops.operators.classify.calibration import calibration_of, calibration_stamp
from emotion_ops.operators.classify.columns import FACE, Labels, OutputColumns
from emotion_ops.operators.classify.face_loader import FaceLoader, FaceSearch, FacesMode
from emotion_ops.operators.classify.labels import Thresholds, as_json, check_names
from emotion_ops.operators.rows import Flow
from emotion_ops.version import __version__

if TYPE_CHECKING:
    from emotion_ops.images.decoder import Transform
    from emotion_ops.operators.classify.operator import ClassifyEmotions

_log = logging.getLogger("emotion_ops")


def columns_of(options: ClassifyEmotions) -> OutputColumns:
    """The columns that these options append; of a hub model only the small files are fetched."""
    checkpoint = resolve_checkpoint(options.model, options.revision, config_only=True)
    search = search_of(options)
    found_by = () if search is None else tuple(search.lineage().items())
    return _columns(
        checkpoint,
        checkpoint.stamp(),
        options.prefix,
        options.labels_above,
        options.min_probability,
        options.faces,
        found_by,
    )


@functools.lru_cache(maxsize=64)
def _columns(
    checkpoint: Checkpoint,
    stamp: object,
    prefix: str,
    above: Thresholds | None,
    min_probability: float | None,
    faces: FacesMode,
    found_by: tuple[tuple[str, str], ...],
) -> OutputColumns:
    labels = Labels.bind(read_labels(checkpoint))
    if labels.unknown:
        _log.warning(
            "model %r: the labels %s are none of the seven emotions or their aliases and keep their own names",
            checkpoint.model,
            ", ".join(repr(name) for name in labels.unknown),
        )
    check_names("labels_above", above, labels.names)
    thresholds = {"labels_above": as_json(above), "min_probability": min_probability}
    lineage = {"model": checkpoint.model, "revision": checkpoint.revision(), "version": __version__}
    lineage |= {name: json.dumps(value) for name, value in thresholds.items() if value is not None}
    if faces != "none":
        lineage |= {"faces": faces, **dict(found_by)}
    columns = OutputColumns(labels.names, prefix, lineage, lists_labels=above is not None, faces=faces)
    if faces == "all" and {"emotion", *FACE} & set(labels.names):
        hint = "give that label another name in id2label of config.json"
        raise UnsupportedModelError(checkpoint.model, f"one of its labels is called as a face is told: {FACE}", hint)
    taken = {columns.error: "says why a row has no emotion"}
    for name in columns.added:
        taken[name] = "these options append"
    for label, name in zip(labels.names, columns.probabilities, strict=True):
        if name in taken:
            raise UnsupportedModelError(
                checkpoint.model,
                f"its label {label!r} would be a second column {name!r}, which {taken[name]}",
                "give that label another name in id2label of config.json",
            )
    return columns


def engine_of(options: ClassifyEmotions) -> Engine:
    """The engine of these options; loaded once a process."""
    return load_engine(
        options.model,
        options.revision,
        options.device,
        options.engine,
        options.precision,
        lambda checkpoint: _calibration(options, checkpoint, _stamps(options, checkpoint)),
    )


def _stamps(options: ClassifyEmotions, checkpoint: Checkpoint) -> object:
    """What becomes another when a file that calibration rests on does."""
    search = search_of(options)
    detector = None if search is None else search.lineage()["detector"]
    return checkpoint.stamp(), calibration_stamp(options), detector


@functools.lru_cache(maxsize=2)
def _calibration(options: ClassifyEmotions, checkpoint: Checkpoint, stamp: object) -> Calibration:
    return calibration_of(options, pictures_of(options, build_transform(read_pixel_spec(checkpoint))))


def resolved_settings(options: ClassifyEmotions) -> dict[str, str | None]:
    """What these options leave to the machine, settled: all of it that changes a number.

    In fp32 that is the engine; the coarser precisions round as a kind of device does, and int8 as its quantiser.
    """
    checkpoint = resolve_checkpoint(options.model, options.revision)
    chosen = choose(options.engine, options.device, options.precision, read_architecture(checkpoint))
    made: dict[str, str | None] = {"engine": chosen.engine, "precision": chosen.precision, "calibration": None}
    if chosen.precision != "fp32":
        made["device"] = chosen.device.partition(":")[0]
    if chosen.precision == "int8":
        made["calibration"] = _calibration(options, checkpoint, _stamps(options, checkpoint)).digest
        made["quantiser"] = " ".join(f"{name} {importlib.metadata.version(name)}" for name in ("nncf", "openvino"))
    return made


def loader_of(
    options: ClassifyEmotions, transform: Transform, meter: Meter | None = None, *, whole: bool = False
) -> ImageLoader:
    """What the threads do with a cell, under these options.

    Args:
        options: What may be reached, and what an image may cost.
        transform: An RGB picture → uint8 (height, width, 3).
        meter: Told what it takes; None measures for nobody.
        whole: Have the transform see each picture as it is, which processes then hand over whole.
    """
    limits, pool = options.limits, None
    if options.isolation == "process":
        memory = limits.memory if options.decode_memory == "auto" else options.decode_memory
        pool = pool_for(
            limits,
            PassThrough(options.face_margin) if whole else transform,
            options.decode_timeout,
            memory,
            options.decode,
        )
    return ImageLoader(
        access=options.access,
        limits=limits,
        channels=options.channels,
        transform=transform,
        memory=Memory(options.memory),
        decode=options.decode,
        pool=pool,
        meter=meter or Meter(),
    )


def pictures_of(
    options: ClassifyEmotions, transform: Transform, meter: Meter | None = None
) -> ImageLoader | FaceLoader:
    """What gives the pictures that the network takes of a cell: the image itself, or the faces in it.

    Args:
        options: See ``loader_of``.
        transform: Likewise; of a face it is given the crop.
        meter: Likewise.

    Raises:
        ModelError: The detector cannot be used.
        MissingDependencyError: No runtime for it is installed.
    """
    search = search_of(options)
    if search is None:
        return loader_of(options, transform, meter)
    return FaceLoader(loader_of(options, transform, meter, whole=True), search)


def search_of(options: ClassifyEmotions) -> FaceSearch | None:
    """Which faces these options look for; None where a picture is a face already."""
    if options.faces == "none":
        return None
    size, margin = options.min_face_size, options.face_margin
    return FaceSearch(
        check_detector("detector", options.detector), options.face_threshold, size, margin, _most_pictures(options)
    )


def _most_pictures(options: ClassifyEmotions) -> int:
    """How many pictures of one image go to the network at the most."""
    return options.max_faces if options.faces == "all" else 1


def flow_of(options: ClassifyEmotions, engine: Engine) -> Flow:
    """How much happens at once, under these options."""
    threads = max(4, os.cpu_count() or 1) if options.threads == "auto" else options.threads
    batch_size = options.batch_size
    if batch_size == "auto":
        batch_size = engine.batch_size
        _tell_once("batch_size: %d, which suits %s on %s", batch_size, engine.name, engine.device)
    return Flow(batch_size, threads, options.memory // 2, engine.concurrency, _most_pictures(options))


@functools.lru_cache(maxsize=32)
def _tell_once(message: str, *values: object) -> None:
    _log.info(message, *values)


@functools.lru_cache(maxsize=4)
def build_transform(pixels: PixelSpec) -> Transform:
    """What brings a picture to the size that the network takes.

    Our own resize where it gives the checkpoint's own pixels, bit for bit; else the checkpoint's.
    """
    resize = Resize.from_config(pixels.config)
    probe = Image.fromarray(probe_pixels())
    if resize is not None and pixels_sha256(resize(probe)) == pixels.probe:
        return resize
    _log.info("this checkpoint's own image processor resizes the images: right, but slower")
    pixels.transform(probe)  # loads it here, once, and not in many threads
    return pixels.transform
