"""The Airflow operator for facial emotions. Written by scripts/write_airflow_operator.py; do not edit it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from emotion_ops.airflow.enrich import EnrichOperator, check_options
from emotion_ops.airflow.stores import local_path
from emotion_ops.airflow.values import Location, Template, as_json

DEFAULTS: Mapping[str, Any] = {
    "image": "image",
    "model": "dima806/facial_emotions_image_detection",
    "revision": None,
    "device": "auto",
    "engine": "auto",
    "precision": "auto",
    "calibration": None,
    "prefix": "emotion",
    "labels_above": None,
    "min_probability": None,
    "faces": None,
    "detector": None,
    "face_threshold": 0.7,
    "min_face_size": 0.0,
    "face_margin": 0.0,
    "max_faces": None,
    "root": None,
    "allow": (),
    "allow_hosts": (),
    "max_bytes": 67108864,
    "max_pixels": 100000000,
    "max_side": 65535,
    "max_frames": 10000,
    "decode": "exact",
    "channels": "rgb",
    "isolation": "thread",
    "decode_timeout": None,
    "decode_memory": None,
    "cache_rows": 65536,
    "on_error": "null",
    "batch_size": "auto",
    "memory": 536870912,
    "threads": "auto",
}
"""The options of ``ClassifyEmotions`` by flat name, with their defaults."""

LOCAL = ("detector", "calibration")
"""Options that are paths on the worker's own disk."""


class EmotionEnrichOperator(EnrichOperator):
    """Append the probabilities of facial emotions to every file of a Parquet dataset.

    It is ``EnrichOperator`` for ``ClassifyEmotions``, with the operator's options as flat arguments. All of them are
    templates.

    Args:
        image: The column of images: paths (string), encoded images (binary), ``struct<bytes, path>``, Spark's image
            struct, uint8 fixed-shape tensors, and dictionary, run-end and extension forms of these.
        model: A hub id, a local folder, or ``"demo"``: the tiny bundled model, for trying the pipeline only.
        revision: The commit of a hub model. Pin it: the default model's weights were replaced under one name before. An
            unpinned revision is resolved once for each process, and logged.
        device: ``"auto"`` (CUDA, else Apple's MPS, else CPU), or a torch device such as ``"cuda:1"``.
        engine: ``"torch"``, ``"openvino"`` (for CPUs; extra ``openvino``), or ``"auto"``: OpenVINO on a CPU where it is
            installed and known to run the architecture, else torch.
        precision: ``"auto"`` (fp32), ``"fp32"``, ``"bf16"``, ``"fp16"`` (torch), or ``Int8("images/")`` (OpenVINO),
            calibrated on images of your own. In fp32 the numbers equal those of ``transformers.pipeline`` within 1e-5
            (docs/engines.md).
        calibration: A local folder of images, or a Parquet file or a folder of such files with the image column. 16
            images at least; up to 256 are used, spread evenly. Use images like those that will be classified.
        prefix: What the names of the appended columns start with.
        labels_above: Adds the column ``<prefix>_labels``: every label whose probability is at least this, the highest
            first; an empty list if there is none. A number from 0 to 1 for all labels, or numbers by label, ``{"happy":
            0.4, "sad": 0.2}``; other labels are then never listed.
        min_probability: If no probability of a row reaches this, the row has no label: ``<prefix>`` is null. Its
            probabilities stay, and its error is null too. None gives every row a label.
        faces: ``"largest"`` classifies the largest face of an image, ``"all"`` every face. An image without a face
            fails with ``no_face``. Both add the columns ``<prefix>_face`` (the box) and ``<prefix>_face_count``,
            ``"all"`` also ``<prefix>_faces``.
        detector: What finds faces. None is YuNet from the hub, a path is a YuNet file, and a picklable, hashable
            callable is your own detector (see ``emotion_ops.find_faces``).
        face_threshold: Minimum probability of a face, 0 to 1.
        min_face_size: Minimum length of the shorter side of a face's box, in pixels of the image.
        face_margin: What is added on each side of the square that is cut out, as a part of its side, 0 to 1; 0.1 is 10
            %.
        max_faces: With ``"all"``, maximum number of faces of one image that are classified, the largest; all are
            counted. So many images of the network's size, twice for each thread, may come on top of the memory budget.
            None is 64.
        root: Folder (local path or URI) that relative paths start from and that no path may leave. Its own scheme is
            allowed. Options of Arrow's filesystems (``s3://bucket/images?region=…``) are read here only: in a cell,
            ``%`` and ``?`` are part of the key. None: the working directory, and every path that the process may read.
        allow: URL schemes that paths may use, for example ``("s3", "https")``. None are allowed by default.
        allow_hosts: Hosts that http(s) may reach although their address is private, loopback or link-local. For other
            schemes that name a server (hdfs, sftp), only ``root`` limits the server.
        max_bytes: Maximum size of one encoded image, in bytes.
        max_pixels: Maximum width times height, of an encoded image or of decoded pixels.
        max_side: Maximum width and maximum height, in pixels. The default is the maximum of the JPEG format.
        max_frames: Maximum number of frames or pages in one file. Only the first is decoded.
        decode: ``"exact"`` decodes every pixel. ``"fast"`` decodes a JPEG whose sides are at least twice what the
            network needs at a half, a quarter or an eighth of its size. It changes the numbers a little
            (docs/performance.md). Other formats and decoded pixels are always decoded exactly.
        channels: Order of the colours in decoded uint8 pixels, ``"rgb"`` or ``"bgr"`` (OpenCV). Encoded images and
            Spark's image struct define their own order.
        isolation: ``"thread"`` decodes in threads of this process. ``"process"`` decodes encoded images in watched
            child processes (POSIX only). A decoder that crashes, hangs or fills memory then fails its row with
            ``undecodable``, and the job goes on. The numbers are the same.
        decode_timeout: Seconds for decoding one image, with ``isolation="process"`` only. None is 30.
        decode_memory: Bytes for decoding one image, with ``isolation="process"`` on Linux only. None is what the
            largest image within the limits needs in any format.
        cache_rows: Maximum number of results that the process remembers for equal options, by the hash of the encoded
            image; a few hundred bytes each. Equal images are then computed once. 0 remembers none. Decoded pixels
            (tensors, arrays, PIL images without a file) are always computed.
        on_error: ``"null"`` keeps a failed row: its appended columns are null, and the error column says why.
            ``"raise"`` stops at the first failed row with ``RowFailedError``. ``"drop"`` removes failed rows.
        batch_size: Items that are computed at the same time. ``"auto"`` suits the device. It does not change values.
        memory: Bytes that loading images may use, in addition to the table itself. Half is for encoded images that are
            read from paths or copied out of the table, half for decoded images with every copy on the way. An image
            that needs more than a half is loaded alone. In addition come the items that are ready for the network, what
            the C library keeps of small allocations (up to about 16 MiB for each thread), the arrays of networks, and
            the buffers of a store's client.
        threads: Rows that are prepared (fetched and decoded) at the same time. ``"auto"`` is one for each processor,
            and at least 4.
        **kwargs: The arguments of ``EnrichOperator``, except ``operator``.
    """

    template_fields: Collection[str] = (*DEFAULTS, *EnrichOperator.template_fields)

    def __init__(
        self,
        *,
        image: str = "image",
        model: str = "dima806/facial_emotions_image_detection",
        revision: str | None = None,
        device: str = "auto",
        engine: Literal["auto", "torch", "openvino"] | Template = "auto",
        precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] | Template = "auto",
        calibration: Location | None = None,
        prefix: str = "emotion",
        labels_above: float | Mapping[str, float] | Sequence[tuple[str, float]] | Template | None = None,
        min_probability: float | Template | None = None,
        faces: Literal["largest", "all"] | Template | None = None,
        detector: Location | None = None,
        face_threshold: float | Template = 0.7,
        min_face_size: float | Template = 0.0,
        face_margin: float | Template = 0.0,
        max_faces: int | Template | None = None,
        root: Location | None = None,
        allow: Sequence[str] | Template = (),
        allow_hosts: Sequence[str] | Template = (),
        max_bytes: int | Template = 67108864,
        max_pixels: int | Template = 100000000,
        max_side: int | Template = 65535,
        max_frames: int | Template = 10000,
        decode: Literal["exact", "fast"] | Template = "exact",
        channels: Literal["rgb", "bgr"] | Template = "rgb",
        isolation: Literal["thread", "process"] | Template = "thread",
        decode_timeout: float | Template | None = None,
        decode_memory: int | Template | None = None,
        cache_rows: int | Template = 65536,
        on_error: Literal["null", "raise", "drop"] | Template = "null",
        batch_size: Literal["auto"] | int | Template = "auto",
        memory: int | Template = 536870912,
        threads: Literal["auto"] | int | Template = "auto",
        **kwargs: Any,
    ) -> None:
        given = locals()
        super().__init__(operator="classify_emotions", **kwargs)
        for name in DEFAULTS:
            setattr(self, name, given[name])
        check_options({name: given[name] for name in DEFAULTS})

    def _operator_options(self) -> dict[str, Any]:
        """The options that differ from their defaults, as JSON."""
        values = {name: getattr(self, name) for name in DEFAULTS}
        values |= {name: local_path(name, values[name]) for name in LOCAL}
        given = {name: value for name, value in values.items() if value != DEFAULTS[name]}
        return {**super()._operator_options(), **as_json(given)}
