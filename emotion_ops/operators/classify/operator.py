"""The table operator: a table with a column of images in, the same table with the emotion columns out."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emotion_ops.errors import ColumnNotFoundError, FrameTypeError, OptionError, RowError, RowFailedError
from emotion_ops.faces.custom_detector import Detector
from emotion_ops.faces.detector import check_detector, pin_detector
from emotion_ops.images.cells import cells_of, getter_of, kind_of
from emotion_ops.images.decode import Channels
from emotion_ops.images.limits import Limits
from emotion_ops.images.location import Access
from emotion_ops.images.meter import Meter
from emotion_ops.images.scaled import Decode
from emotion_ops.models.checkpoint import DEFAULT_MODEL
from emotion_ops.models.engines.choice import EngineName, Precision
from emotion_ops.operators.classify.cached import recall_of
from emotion_ops.operators.classify.columns import OutputColumns
from emotion_ops.operators.classify.face_columns import face_columns
from emotion_ops.operators.classify.face_loader import FacesMode
from emotion_ops.operators.classify.labels import Labelling
from emotion_ops.operators.classify.options import checked
from emotion_ops.operators.classify.session import build_transform, columns_of, engine_of, flow_of, pictures_of
from emotion_ops.operators.rows import Answers, Rows
from emotion_ops.operators.stream import answer

Isolation = Literal["thread", "process"]
OnError = Literal["null", "raise", "drop"]
ArrowTable = TypeVar("ArrowTable", pa.Table, pa.RecordBatch)
T = TypeVar("T")


@dataclass(frozen=True)
class ClassifyEmotions:
    """Append the probabilities of facial emotions to tables of images.

    A frozen, picklable, hashable value that holds options only. The network loads at the first batch, on the
    worker that meets it, and stays loaded for all equal options of that process.

    Appended, in order: ``<prefix>`` (string, the label of the highest probability, the first of equals),
    ``<prefix>_<label>`` for each label in the order of the model's ``id2label`` (float32, 0 to 1, a row sums
    to 1 ± 1e-5), under ``labels_above`` ``<prefix>_labels`` (list of string), and ``<prefix>_error`` (string, null
    where the row is good, else ``code: what happened``). A row that failed is null in all of them but the error. Rows
    keep their order and number, but under ``on_error="drop"``; the columns that were there pass through as they are,
    metadata too.

    Args:
        image: The column of images: paths (string), encoded images (binary), ``struct<bytes, path>``, Spark's
            image struct, uint8 fixed-shape tensors, and dictionary, run-end and extension forms of these.
        model: A hub id, a local folder, or ``"demo"``: the tiny bundled one, for trying the pipeline only.
        revision: The commit of a hub model. Pin it: the weights were replaced under one name before. An
            unpinned revision is looked up once a process, and logged.
        device: ``"auto"`` (CUDA, else Apple's MPS, else CPU), or what torch calls a device.
        engine: ``"torch"``, ``"openvino"`` (CPUs; ``pip install 'emotion-ops[openvino]'``), or ``"auto"``: OpenVINO on
            a CPU where it is installed and known to run the architecture, else torch.
        precision: ``"auto"`` (fp32), ``"fp32"``, ``"bf16"``, ``"fp16"`` (torch), or ``"int8"`` (OpenVINO). In fp32 the
            numbers equal those of ``transformers.pipeline`` within 1e-5 (docs/engines.md).
        calibration: What int8 is calibrated on: a folder of images, or a local Parquet file or folder with the
            image column; up to 256 of its images are taken, spread evenly. Images of your own, as they will come.
        batch_size: Rows in one forward pass; ``"auto"`` chooses by device. It does not change the numbers.
        on_error: ``"null"`` keeps a failed row, with its reason; ``"raise"`` stops at the first with
            ``RowFailedError``; ``"drop"`` leaves it out.
        prefix: What the names of the appended columns start with.
        labels_above: Adds ``<prefix>_labels``: every label whose probability is at least so high, the highest first,
            and an empty list where none is. A number from 0 to 1 for all labels, or numbers by label,
            ``{"happy": 0.4, "sad": 0.2}``; a label that is not named is then never listed.
        faces: ``"none"``: the image is a crop of a face already. ``"largest"`` looks for faces and classifies the
            largest; a picture without one is ``no_face``. ``"all"`` classifies every face. Either adds
            ``<prefix>_face`` (the box) and ``<prefix>_face_count``, ``"all"`` ``<prefix>_faces`` too. Then no
            answers are remembered, and ``decode="fast"`` decodes exactly.
        detector: What looks for them: None is YuNet from the hub, a path is a YuNet file, and a picklable, hashable
            callable is one of your own (see ``emotion_ops.find_faces``). Extra ``faces``.
        face_threshold: The least probability of a face.
        min_face_size: The least length of a face box's shorter side, in pixels of the image.
        face_margin: What is added on each side of the square that is cut out, as a part of its side: 0 to 1, and 0.1 is
            10 %.
        max_faces: Faces of one image that ``"all"`` classifies at the most, the largest; all are counted. So many
            pictures of the network's size, twice ``threads``, may come on top of ``memory``.
        min_probability: A row whose highest probability is lower has no label, that is null, but its
            probabilities; its error is null too. None tells every label.
        root: The folder (or URI) that relative paths start from and that no path may leave. None: the working
            directory, and any path that the process may read.
        allow: URL schemes that paths may use, by name: ``("s3", "https")``. None are allowed unless named.
        allow_hosts: Hosts that http(s) may reach although their address is private.
        channels: Order of the colours in uint8 pixels, ``"rgb"`` or ``"bgr"`` (OpenCV's). Encoded images and
            Spark's image struct say it themselves.
        max_bytes: Encoded bytes of one image, above which it is ``too_large``.
        max_pixels: Width times height of one image or of decoded pixels, above which it is ``too_large``, undecoded.
        max_side: Width or height of one image, above which it is ``too_large``, undecoded.
        max_frames: Frames or pages that a file may claim, above which it is ``too_large``, undecoded. The first
            alone is ever decoded.
        decode: ``"exact"``, or ``"fast"``: a JPEG whose sides are at least twice what the network wants is decoded
            at a half, a quarter or an eighth of its size. It changes the numbers a little (docs/performance.md);
            other formats, decoded pixels and checkpoints with a resize of their own are decoded exactly.
        isolation: ``"thread"`` decodes in threads of this process. ``"process"`` decodes encoded images in
            watched processes of their own (POSIX only), so that a decoder that crashes, hangs or fills memory
            costs its row, which is ``undecodable``, and not the job. The numbers are the same.
        decode_timeout: Seconds that decoding one image may take, under ``isolation="process"``.
        decode_memory: Bytes that decoding one image may fill, under ``isolation="process"`` and on Linux;
            ``"auto"`` is what the largest image within ``max_pixels`` and ``max_bytes`` takes in any format.
        threads: Images fetched and decoded at once; ``"auto"`` is one for each processor and at least 4.
        memory: Bytes that loading images may fill above the table itself: half for encoded images, read from paths or
            copied out of the table, half for decoded ones with every copy on the way, also those that finding faces
            and cutting them out makes. An image that needs more than a half goes alone, however large. On top come the
            rows that are ready (of the network's size, three times ``batch_size``, four on CUDA, and twice
            ``threads``), what glibc keeps of small pieces (up to some 16 MiB for each of ``threads``), the network's
            own arrays and the detector's, and what a store's client buffers.
        answer_cache: Answers that this process remembers at the most, by a hash of the encoded image, so that equal
            images under equal options are computed once: 44 bytes for each at seven labels. 0 remembers none.
            Decoded pixels (tensors, arrays, PIL images without their file) are computed each time.
        answer_cache_dir: A folder on a local disk whose file remembers answers across runs; None keeps none. It may
            be shared by processes, models and options.

    Raises:
        OptionError: An option has a value that cannot work, or, of faces and of calibration, does nothing
                without the others; at once.
    """

    image: str = "image"
    _: dataclasses.KW_ONLY
    model: str = DEFAULT_MODEL
    revision: str | None = None
    device: str = "auto"
    engine: EngineName = "auto"
    precision: Precision = "auto"
    calibration: str | os.PathLike[str] | None = None
    batch_size: int | Literal["auto"] = "auto"
    on_error: OnError = "null"
    prefix: str = "emotion"
    labels_above: float | Mapping[str, float] | Sequence[tuple[str, float]] | None = None
    min_probability: float | None = None
    faces: FacesMode = "none"
    detector: str | os.PathLike[str] | Detector | None = None
    face_threshold: float = 0.7
    min_face_size: float = 0.0
    face_margin: float = 0.0
    max_faces: int = 64
    root: str | os.PathLike[str] | None = None
    allow: Sequence[str] = ()
    allow_hosts: Sequence[str] = ()
    channels: Channels = "rgb"
    max_bytes: int = Limits.max_bytes
    max_pixels: int = Limits.max_pixels
    max_side: int = Limits.max_side
    max_frames: int = Limits.max_frames
    decode: Decode = "exact"
    isolation: Isolation = "thread"
    decode_timeout: float = 30.0
    decode_memory: int | Literal["auto"] = "auto"
    threads: int | Literal["auto"] = "auto"
    memory: int = field(default=512 * 2**20)
    answer_cache: int = 2**18
    answer_cache_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        for name, value in checked(self).items():
            object.__setattr__(self, name, value)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of what comes out for tables of this schema; no image is read and no network loaded.

        Of a hub model only the configuration is fetched.

        Args:
            schema: The schema of the tables that go in.

        Raises:
            ColumnError: The image column is missing or holds no images, or an appended name is taken.
            ModelError: The model cannot be found, or the file that ``detector`` names.
            OptionError: ``labels_above`` names a label that the model does not have.
        """
        self._check_image(schema)
        return self.output_columns().append_to(schema)

    def output_columns(self) -> OutputColumns:
        """The names, types and lineage of the columns that are appended."""
        return columns_of(self)

    def pinned(self) -> ClassifyEmotions:
        """The same options with ``revision`` at the commit that it stands for now.

        What ships an operator to many workers pins it first, so that all load the same weights although the
        branch may move meanwhile. A local folder and the demo model have no commits and stay as they are.
        A detector's file that is here is pinned too: who meets another content at its path refuses it
        (``ModelError``).
        """
        commit = self.output_columns().lineage["revision"]
        revision = self.revision if ":" in commit else commit
        detector = self.detector if self.faces == "none" else pin_detector(check_detector("detector", self.detector))
        if revision == self.revision and detector is self.detector:
            return self
        return dataclasses.replace(self, revision=revision, detector=detector)

    def __call__(self, table: ArrowTable) -> ArrowTable:
        """Append the columns to one Arrow table or record batch.

        Args:
            table: A ``pyarrow.Table`` or ``pyarrow.RecordBatch``; chunks stay as they are.

        Returns:
            The same kind, with the schema that ``output_schema`` tells.

        Raises:
            FrameTypeError: Neither of the two; ``emotion_ops.classify_emotions`` takes other frames.
            ColumnError: The image column is missing or holds no images, or an appended name is taken.
            ModelError: The model cannot be used.
            RowFailedError: A row failed under ``on_error="raise"``.
        """
        if isinstance(table, pa.RecordBatch):
            return next(iter(self.stream([table])))
        if not isinstance(table, pa.Table):
            raise FrameTypeError(
                type(table).__name__, "give a pyarrow Table or RecordBatch here, or use emotion_ops.classify_emotions"
            )
        schema = self.output_schema(table.schema)
        appended: pa.Table = self.columns_for(table.column(self.image))
        out = pa.Table.from_arrays([*table.columns, *appended.columns], schema=schema)
        return self._kept(out, schema.names[-1])

    def columns_for(self, images: pa.ChunkedArray | Sequence[Any]) -> pa.Table:
        """The appended columns alone, for one column of images: what the frames are made of.

        Args:
            images: The column, as Arrow has it or as Python objects (see ``emotion_ops.images.cells.cell_of``).

        Returns:
            One row for each image, also under ``on_error="drop"``: who has the rest of the table drops.

        Raises:
            ColumnTypeError: The column holds no images.
            ModelError: The model cannot be used.
            RowFailedError: A row failed under ``on_error="raise"``.
        """
        columns = self.output_columns()
        schema = pa.schema(columns.fields())
        if isinstance(images, pa.ChunkedArray):
            kind_of(images.type, self.image)
            answered = self.answer_each((None, chunk) for chunk in images.chunks)
        else:
            rows = Rows(None, len(images), getter_of(images))
            labelling = self.labelling(columns)
            answered = ((None, _batch(answers, columns, labelling)) for _, answers in self._answers([rows]))
        return pa.Table.from_batches([batch for _, batch in answered], schema)

    def answer_each(
        self, images: Iterable[tuple[T, pa.Array]], meter: Meter | None = None, *, read_ahead: bool = False
    ) -> Iterator[tuple[T, pa.RecordBatch]]:
        """The appended columns alone, for arrays of images that come one after the other.

        What ``stream`` is made of, for those who keep the rest of the table elsewhere: while one batch is in
        the network, images of later arrays are already being decoded.

        Args:
            images: Arrays of images, each with whatever it should be known by.
            meter: Told what the stages take; None measures for nobody.
            read_ahead: Pull the arrays in a thread of its own, one ahead, so that the network has work while a store
                is slow to answer; otherwise in the caller's thread.

        Yields:
            What it is known by, and one row for each image, also under ``on_error="drop"``; in order.

        Raises:
            ColumnTypeError: An array holds no images.
            ModelError: The model cannot be used.
            RowFailedError: A row failed under ``on_error="raise"``; its row counts from the first array's start.
        """
        columns = self.output_columns()
        labelling = self.labelling(columns)
        rows = (Rows(known, len(array), cells_of(array, self.image)) for known, array in images)
        for known, answers in self._answers(rows, meter, read_ahead=read_ahead):
            yield known, _batch(answers, columns, labelling)

    def stream(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Append the columns to each record batch, while later ones are already being decoded.

        The primitive that the frames, the datasets and Spark's ``mapInArrow`` share. Batches come out one for
        one and in order. Memory stays bounded, whatever the number of batches.

        Args:
            batches: Record batches of one schema; a ``RecordBatchReader`` is one such iterable. They are
                pulled in the caller's thread.

        Raises:
            FrameTypeError: What comes are no record batches.
            ColumnError: As ``output_schema`` does, before the first image is read.
            ModelError: The model cannot be used.
            RowFailedError: A row failed under ``on_error="raise"``; its row counts from the stream's start.
        """
        batches = iter(batches)
        first = next(batches, None)
        if first is None:
            return
        if not isinstance(first, pa.RecordBatch):
            raise FrameTypeError(type(first).__name__, "give record batches here, table.to_batches() say")
        self.output_schema(first.schema)  # a wrong column is told before the network loads
        columns = self.output_columns()
        images = ((batch, self._images(batch)) for batch in itertools.chain([first], batches))
        for batch, appended in self.answer_each(images):
            schema = columns.append_to(batch.schema)
            out = pa.RecordBatch.from_arrays([*batch.columns, *appended.columns], schema=schema)
            yield self._kept(out, columns.error)

    def labelling(self, columns: OutputColumns) -> Labelling:
        """How these options make labels of the probabilities in such columns."""
        assert self.labels_above is None or isinstance(self.labels_above, float | tuple)  # see __post_init__
        return Labelling(columns.labels, self.labels_above, self.min_probability)

    @property
    def access(self) -> Access:
        """What paths in the table may reach."""
        root = None if self.root is None else os.fspath(self.root)
        return Access(root, tuple(self.allow), tuple(self.allow_hosts), self.max_bytes)

    @property
    def limits(self) -> Limits:
        """What one image may cost."""
        return Limits(self.max_bytes, self.max_pixels, self.max_side, self.max_frames)

    def _answers(
        self, rows: Iterable[Rows[T]], meter: Meter | None = None, *, read_ahead: bool = False
    ) -> Iterator[tuple[T, Answers]]:
        meter = meter or Meter()
        with meter.time("load"):
            engine = engine_of(self)
            loader = pictures_of(self, build_transform(engine.pixels), meter)
            flow, recall = flow_of(self, engine), recall_of(self, engine)
        on_failure = self._raise_row if self.on_error == "raise" else _ignore
        return answer(rows, engine, loader, flow, on_failure, recall, read_ahead=read_ahead)

    def _check_image(self, schema: pa.Schema) -> None:
        kind_of(schema.field(place_of(self.image, schema.names)).type, self.image)

    def _images(self, batch: pa.RecordBatch) -> pa.Array:
        self._check_image(batch.schema)
        return batch.column(self.image)

    def _kept(self, table: ArrowTable, error_column: str) -> ArrowTable:
        return drop_failed(table, error_column) if self.on_error == "drop" else table

    def _raise_row(self, row: int, error: RowError) -> None:
        raise RowFailedError(error.code, error.detail, self.image, row) from None


def _batch(answers: Answers, columns: OutputColumns, labelling: Labelling) -> pa.RecordBatch:
    """The appended columns of some rows: label, one array a label's probability, all labels if wanted, error."""
    failed = np.array([error is not None for error in answers.errors], dtype=bool)
    labels, is_sure = labelling.best(answers.probabilities)
    arrays = [
        pa.array(labels, pa.string(), mask=failed | ~is_sure),
        *(pa.array(column, pa.float32(), mask=failed) for column in answers.probabilities.T),
        *([labelling.listed(answers.probabilities, failed)] if columns.lists_labels else []),
        *(face_columns(answers, columns, labelling) if columns.faces != "none" else []),
        pa.array([None if error is None else str(error) for error in answers.errors], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(columns.fields()))


def place_of(image: str, names: Sequence[str]) -> int:
    """Where the image column stands among a table's columns.

    Raises:
        ColumnNotFoundError: It is not there.
        OptionError: Several columns have its name.
    """
    if image not in names:
        raise ColumnNotFoundError(image, names)
    if (copies := names.count(image)) > 1:
        raise OptionError("image", image, f"{copies} columns have this name; rename all but one")
    return names.index(image)


def drop_failed(table: ArrowTable, error_column: str) -> ArrowTable:
    """The rows of an enriched table whose error column is null, in their order."""
    good = np.flatnonzero(pc.is_null(table.column(error_column)).to_numpy(zero_copy_only=False))
    return table if len(good) == table.num_rows else rows_at(table, good)


def rows_at(table: ArrowTable, rows: NDArray[np.integer[Any]]) -> ArrowTable:
    """Some rows of a table, by their positions, which ascend.

    Cut out as slices: Arrow's filters and takes know neither views nor run-end encoding, and overflow where a
    column holds more than 2 GiB.
    """
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    kept = [table.slice(int(run[0]), len(run)) for run in runs if len(run)] or [table.slice(0, 0)]
    return pa.concat_batches(kept) if isinstance(table, pa.RecordBatch) else pa.concat_tables(kept)


def _ignore(row: int, error: RowError) -> None:
    """Under ``null`` and ``drop`` the answers tell of it."""
