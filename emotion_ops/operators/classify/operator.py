"""The table operator that classifies facial emotions."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from emotion_ops.errors import OptionError
from emotion_ops.faces.detector import pin_detector
from emotion_ops.models.checkpoint import DEFAULT_MODEL, resolve_checkpoint
from emotion_ops.models.engines.choice import ENGINES, EngineName
from emotion_ops.models.engines.engine import Engine
from emotion_ops.models.engines.int8 import FloatPrecision, Int8, precision
from emotion_ops.operators.classify import describe
from emotion_ops.operators.classify.checks import wrong_rows
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.classify.faces import Faces
from emotion_ops.operators.classify.labels import Labeller, Labels
from emotion_ops.operators.classify.session import (
    NetworkChoice,
    load_engine,
    open_session,
    output_columns,
    resolved_settings,
)
from emotion_ops.operators.hooks import Card, Differences, Measure
from emotion_ops.operators.image_operator import ImageOperator
from emotion_ops.operators.rows import Items, Row
from emotion_ops.operators.run import Run
from emotion_ops.operators.session import Session
from emotion_ops.options import one_of, option, optional, path, text


@dataclass(frozen=True)
class ClassifyEmotions(ImageOperator):
    """Append the probabilities of facial emotions to tables of images.

    A frozen, picklable, hashable value that holds options only. The network loads at the first batch, in the process
    that computes it, and stays loaded for all equal options.

    Appended, in order: ``<prefix>`` (string, the label of the highest probability, the first of equals),
    ``<prefix>_<label>`` for each label in the order of the model's ``id2label`` (float32, 0 to 1; a row sums to
    1 ± 1e-5), with ``Labels(above=…)`` also ``<prefix>_labels`` (list of string), with ``faces`` the columns of
    ``Faces``, and ``<prefix>_error`` (string, null for a good row, else ``code: what happened``). If a row fails, its
    other appended columns are null. Rows keep their order and number, except with ``on_error="drop"``. Input columns
    pass through unchanged, metadata too.

    Args:
        image: The column of images: paths (string), encoded images (binary), ``struct<bytes, path>``, Spark's image
            struct, uint8 fixed-shape tensors, and dictionary, run-end and extension forms of these.
        model: A hub id, a local folder, or ``"demo"``: the tiny bundled model, for trying the pipeline only.
        revision: The commit of a hub model. Pin it: the default model's weights were replaced under one name before.
            An unpinned revision is resolved once for each process, and logged.
        device: ``"auto"`` (CUDA, else Apple's MPS, else CPU), or a torch device such as ``"cuda:1"``.
        engine: ``"torch"``, ``"openvino"`` (for CPUs; extra ``openvino``), or ``"auto"``: OpenVINO on a CPU where it is
            installed and known to run the architecture, else torch.
        precision: ``"auto"`` (fp32), ``"fp32"``, ``"bf16"``, ``"fp16"`` (torch), or ``Int8("images/")`` (OpenVINO),
            calibrated on images of your own. In fp32 the numbers equal those of ``transformers.pipeline`` within 1e-5
            (docs/engines.md).
        prefix: What the names of the appended columns start with.
        labels: Which labels a row gets; a number or a mapping is ``Labels(above=…)``.
        faces: Find faces in the image and classify these: ``"largest"``, ``"all"`` or ``Faces(…)``. None: the image
            is a crop of a face already.

    Raises:
        OptionError: An option has a value that cannot be used.
    """

    image: str = option(text, "image")
    _: dataclasses.KW_ONLY
    model: str = option(path, DEFAULT_MODEL, changes_values=False)
    revision: str | None = option(optional(text), None, changes_values=False)
    device: str = option(text, "auto", changes_values=False)
    engine: EngineName = option(one_of("auto", *ENGINES), "auto", changes_values=False)
    precision: FloatPrecision | Int8 = option(precision, "auto", changes_values=False)
    prefix: str = option(text, "emotion")
    labels: Labels = option(Labels.check, Labels())
    faces: Faces | None = option(optional(Faces.check), None)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The image column."""
        return (self.image,)

    def output_columns(self) -> OutputColumns:
        """The names of the appended columns. Of a hub model only the configuration is fetched."""
        return output_columns(self._network, self.prefix, self.labels, self.faces)

    def output_fields(self) -> list[pa.Field]:
        """See ``TableOperator.output_fields``. Of a hub model only the configuration is fetched.

        Raises:
            ModelError: The model cannot be found, or a label of it would be an appended name twice.
            OptionError: A threshold is for a label that the model does not have.
        """
        return self.output_columns().fields()

    def load_engine(self) -> Engine:
        """The network of these options, loaded once for the process: for benchmarks and checks.

        Raises:
            ModelError: The model cannot be used.
            MissingDependencyError: A package is not installed.
        """
        return load_engine(self._network, self.image, self.faces, self.new_run())

    def start(self, run: Run) -> Session:
        """See ``TableOperator.start``.

        Raises:
            ModelError: The model or the detector cannot be used.
            MissingDependencyError: A package is not installed.
        """
        columns = self.output_columns()
        labeller = Labeller(columns.labels, self.labels)
        return open_session(self._network, self.image, self.faces, labeller, columns, self.batch_size, run)

    def prepare(self, row: Row) -> Any:
        """The image at the network's size, uint8 (height, width, 3); with ``faces`` the crops as ``Parts``."""
        return _session(self).prepare(row)

    def compute(self, items: Sequence[Any]) -> Items:
        """Probabilities, float32 (items, labels), of images of the network's size."""
        return _session(self).compute(items)

    def finish(self, results: Sequence[Any]) -> Sequence[pa.Array]:
        """See ``TableOperator.finish``."""
        return _session(self).finish(results)

    def predict(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Probabilities of a list of images, without a table.

        Args:
            images: PIL images, uint8 arrays (height, width[, 1 | 3 | 4]), encoded bytes, or paths.

        Returns:
            float32 (images, labels), in the order of ``output_columns().labels``; each row sums to 1. A row whose
            image failed is NaN, or not there with ``on_error="drop"``.

        Raises:
            OptionError: It is a single image.
            ModelError: The model cannot be used.
            RowFailedError: An image failed, with ``on_error="raise"``.
        """
        if isinstance(images, str | bytes | memoryview) or not hasattr(images, "__len__") or hasattr(images, "shape"):
            raise OptionError("images", type(images).__name__, "give a list: predict([image])")
        columns = self.append_columns({self.image: list(images)})
        if self.on_error == "drop":
            columns = columns.filter(columns.column(columns.num_columns - 1).is_null())
        names = self.output_columns().probabilities
        return np.stack([columns.column(name).to_numpy() for name in names], axis=1).astype(np.float32, copy=False)

    def pinned(self) -> Self:
        """The same options with ``revision`` resolved to a commit, and a detector's file to the hash of its content.

        A local folder and the demo model have no commits and stay as they are. A worker that finds another content
        in a detector's file refuses it (``ModelError``).
        """
        commit = resolve_checkpoint(self.model, self.revision, config_only=True).revision()
        revision, faces = self.revision if ":" in commit else commit, self.faces
        if faces is not None:
            detector = pin_detector(faces.detector)  # type: ignore[arg-type]  # its check makes paths text
            faces = dataclasses.replace(faces, detector=detector)
        return (
            self
            if (revision, faces) == (self.revision, self.faces)
            else dataclasses.replace(self, revision=revision, faces=faces)
        )

    def identity(self) -> dict[str, Any]:
        """See ``TableOperator.identity``. The weights are hashed, once for each state of their files.

        Raises:
            ModelError: The model cannot be found.
            OptionError: A detector is a callable without a name to know it by.
        """
        checkpoint = resolve_checkpoint(self.model, self.revision)
        return {
            **super().identity(),
            **resolved_settings(self._network, self.image, self.faces, self.new_run()),
            "labels": list(self.output_columns().labels),
            "weights_sha256": checkpoint.weights_sha256(),
            "settings_sha256": checkpoint.settings_sha256(),
        }

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> Self:
        """See ``TableOperator.from_identity``; the model is not part of an identity, its labels are."""
        known = {name: identity[name] for name in ("image", "prefix", "on_error") if name in identity}
        labels = Labels(identity.get("labels_above"), identity.get("min_probability"))
        which, faces = identity.get("faces"), None
        if which is not None:
            names = {"threshold": "face_threshold", "min_size": "min_face_size", "margin": "face_margin"}
            limit = {"max_faces": "max_faces"} if which == "all" else {}
            faces = Faces(which, **{name: identity[key] for name, key in {**names, **limit}.items() if key in identity})
        return cls(**known, labels=labels, faces=faces)

    def lineage(self) -> dict[str, str]:
        """See ``TableOperator.lineage``: the model, its revision, and the options of labels and faces."""
        checkpoint = resolve_checkpoint(self.model, self.revision, config_only=True)
        found = {**super().lineage(), "model": checkpoint.model, "revision": checkpoint.revision()}
        options = {name: value for name, value in self.labels.identity().items() if value is not None}
        faces = self.faces.lineage() if self.faces else {}
        return found | {name: json.dumps(value) for name, value in options.items()} | faces

    def summary(self, columns: pa.RecordBatch) -> tuple[Measure, ...]:
        """Rows by label, mean probabilities, and rows by their highest probability."""
        return describe.summarise(columns, self._columns_in(columns))

    def check(self, columns: pa.RecordBatch) -> Iterator[tuple[int, str]]:
        """Rows whose probabilities, labels or faces no run can have written."""
        names = self._columns_in(columns)
        yield from wrong_rows(columns, names, Labeller(names.labels, self.labels), self.faces)

    def compare(self, a: pa.RecordBatch, b: pa.RecordBatch) -> Differences:
        """Labels are the categories; probabilities of the labels that both have are compared."""
        return describe.compare(a, b)

    def card(self, row: Mapping[str, Any]) -> Card:
        """The image with the boxes of its faces, the label, and a bar for each probability."""
        names = tuple(row)
        first, last = names.index(self.prefix), names.index(f"{self.prefix}_error")
        columns = self._empty_columns.with_labels_from(names[first : last + 1])
        return describe.make_card(row, self.image, columns, self.labels.min_probability)

    @property
    def _network(self) -> NetworkChoice:
        return NetworkChoice(self.model, self.revision, self.device, self.engine, self.precision)

    @property
    def _empty_columns(self) -> OutputColumns:
        which = self.faces.which if self.faces else None
        return OutputColumns((), self.prefix, self.labels.above is not None, which)

    def _columns_in(self, columns: pa.RecordBatch) -> OutputColumns:
        """The names of stored columns; the labels are read from them, no model is asked."""
        return self._empty_columns.with_labels_from(columns.schema.names)


@functools.lru_cache(maxsize=4)
def _session(operator: ClassifyEmotions) -> Session:
    """The session of the three steps when they are called without a stream."""
    return operator.start(operator.new_run())
