"""The Airflow operator: one task enriches a Parquet dataset, or a shard of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import ObjectStoragePath, XComArg
from airflow.sdk.exceptions import AirflowFailException

from emotion_ops.airflow.base import WorkerOperator
from emotion_ops.airflow.links import EmotionReportLink
from emotion_ops.airflow.options import Template, options_of
from emotion_ops.airflow.stores import local_path, opened
from emotion_ops.images.limits import Limits
from emotion_ops.models.checkpoint import DEFAULT_MODEL

if TYPE_CHECKING:
    from airflow.sdk import Context

OPERATOR_OPTIONS = (
    "image", "model", "revision", "device", "engine", "precision", "calibration", "batch_size", "on_error", "prefix",
    "labels_above", "min_probability", "faces", "detector", "face_threshold", "min_face_size", "face_margin",
    "max_faces", "root", "allow", "allow_hosts", "channels", "max_bytes", "max_pixels",
    "max_side", "max_frames", "decode", "isolation", "decode_timeout", "decode_memory", "threads", "memory",
    "answer_cache", "answer_cache_dir",
)  # fmt: skip
"""The options of ``ClassifyEmotions``."""

JOB_OPTIONS = (
    "columns", "shard", "overwrite", "prune", "retry_errors", "quarantine", "limit", "sample_rows", "compression",
    "row_group_rows", "max_errors", "max_error_rate", "wait", "report_page", "contact_sheet",
)  # fmt: skip
"""The options of ``enrich_dataset``; its ``dry_run`` is ``plan_only`` here, for Airflow has another."""

LIMITS = ("max_changes", "max_change_rate", "max_drift", "max_mean_drift", "min_coverage")
"""The limits that go with ``compare_to``."""

GATE_OPTIONS = ("compare_to", "candidate", *LIMITS)
"""What holds an output back."""

Location = str | ObjectStoragePath | XComArg


class EmotionEnrichOperator(WorkerOperator):
    """Append the emotion columns to every file of a Parquet dataset.

    It is ``enrich_dataset`` as a task, with all its options and those of ``ClassifyEmotions``; they mean the same.
    Run again, by a retry, a Clear or the next day, it goes on where the work stopped and skips what stands. The work
    runs in a process of its own, which ends with the task: killed, timed out or marked as failed, it stops within 5
    seconds, and what was answered is kept.

    All options are templates; a text that a template gives is taken for a number or a truth where its option has
    these.

    Args:
        source: A Parquet file, a folder, a glob, or a list of these: paths, URIs, ``ObjectStoragePath``. A URI may
            name an Airflow connection, ``s3://connection@bucket/key``.
        destination: A folder, or a file for a single source file; likewise.
        detector: The path of a YuNet file on a disk that the worker sees; a ``file:`` URI too, but no callable.
        labels_above: As ``ClassifyEmotions`` takes it; as text ``0.3``, ``happy=0.4,sad=0.2`` or a dictionary.
        wait: Seconds to wait for another run that is writing there. A task that died with its machine is believed
            to be alive for a minute, so that less would have the first retry on another machine refused.
        plan_only: Write nothing, and say in ``estimate`` of the manifest what the job would take.
        compare_to: A previous output that the new one is held against, row by row; the task fails where it differs
            by more than a limit. With it goes at least one of the limits.
        candidate: A folder that the output goes to until it has passed, and where it stays if it has not, while the
            destination stays as it was; without ``compare_to`` it passes when all of it is done, with no more failed
            rows than allowed. None publishes each file at once.
        max_changes: Maximum rows whose category (for emotions: the label) may change.
        max_change_rate: Maximum part of the rows whose category may change, 0 to 1.
        max_drift: The furthest that one probability may have moved, 0 to 1.
        max_mean_drift: The furthest that probabilities may have moved in the mean, 0 to 1.
        min_coverage: The least part of all rows that must have been compared, 0 to 1.
        **kwargs: The interpreter and the rest of ``WorkerOperator``, and what every Airflow operator takes.

    The other arguments are those of ``ClassifyEmotions`` and ``enrich_dataset``. The task returns a manifest, of plain
    JSON types: rows, images, errors by code, files, rates, model, weights, fingerprint, destination; the assets in
    ``outlets`` get it as the extra of their event.

    Raises:
        AirflowFailException: What would come again: an option, a column or a model that cannot be used, a broken
            source file, more failed rows than allowed, a gate that stays closed, no such connection. No retry.
        AirflowException: What may pass: a store that does not answer, memory that ran out, another run. Retried.
    """

    template_fields: Collection[str] = (
        "source", "destination", *OPERATOR_OPTIONS, *JOB_OPTIONS, "plan_only", *GATE_OPTIONS,
        *WorkerOperator.template_fields,
    )  # fmt: skip
    operator_extra_links = (EmotionReportLink(),)

    _report = ""
    _manifest: Mapping[str, Any] | None = None
    _sources: Sequence[str] = ()

    def __init__(
        self,
        *,
        source: Location | Sequence[Location],
        destination: Location,
        image: str = "image",
        model: str = DEFAULT_MODEL,
        revision: str | None = None,
        device: str = "auto",
        engine: str = "auto",
        precision: str = "auto",
        calibration: Location | None = None,
        batch_size: int | Literal["auto"] | Template = "auto",
        on_error: str = "null",
        prefix: str = "emotion",
        labels_above: float | Mapping[str, float] | Sequence[tuple[str, float]] | Template | None = None,
        min_probability: float | Template | None = None,
        faces: str = "none",
        detector: Location | None = None,
        face_threshold: float | Template = 0.7,
        min_face_size: float | Template = 0.0,
        face_margin: float | Template = 0.0,
        max_faces: int | Template = 64,
        root: Location | None = None,
        allow: Sequence[str] | Template = (),
        allow_hosts: Sequence[str] | Template = (),
        channels: str = "rgb",
        max_bytes: int | Template = Limits.max_bytes,
        max_pixels: int | Template = Limits.max_pixels,
        max_side: int | Template = Limits.max_side,
        max_frames: int | Template = Limits.max_frames,
        decode: str = "exact",
        isolation: str = "thread",
        decode_timeout: float | Template = 30.0,
        decode_memory: int | Literal["auto"] | Template = "auto",
        threads: int | Literal["auto"] | Template = "auto",
        memory: int | Template = 512 * 2**20,
        answer_cache: int | Template = 2**18,
        answer_cache_dir: Location | None = None,
        columns: str | Sequence[str] | Template = "all",
        shard: tuple[int, int] | Template | None = None,
        overwrite: bool | Template = False,
        prune: bool | Template = False,
        retry_errors: bool | str | Sequence[str] | Template = False,
        quarantine: Location | None = None,
        limit: int | Template | None = None,
        sample_rows: int | Template = 64,
        compression: str = "zstd",
        row_group_rows: int | Template | None = None,
        max_errors: int | Template | None = None,
        max_error_rate: float | Template | None = None,
        wait: float | Template = 120.0,
        report_page: bool | Template = True,
        contact_sheet: bool | Literal["auto"] | Template = "auto",
        plan_only: bool | Template = False,
        compare_to: Location | None = None,
        candidate: Location | None = None,
        max_changes: int | Template | None = None,
        max_change_rate: float | Template | None = None,
        max_drift: float | Template | None = None,
        max_mean_drift: float | Template | None = None,
        min_coverage: float | Template | None = None,
        **kwargs: Any,
    ) -> None:
        given = locals()
        super().__init__(**kwargs)
        if callable(given["detector"]) and not isinstance(detector, XComArg):
            hint = "options travel to another process as text: give the path of a YuNet file"
            raise AirflowFailException(f"detector={detector!r} cannot be used: {hint}")
        for name in (
            "source",
            "destination",
            *OPERATOR_OPTIONS,
            *JOB_OPTIONS,
            "plan_only",
            *GATE_OPTIONS,
        ):
            setattr(self, name, given[name])

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the work in a process of its own.

        Args:
            context: The task's.

        Returns:
            The manifest.
        """
        request, environment = self._request()
        manifest: dict[str, Any] = self._work(request, environment)
        self._report, self._manifest, self._sources = manifest["report"], manifest, request["source"]
        self._tell(context, manifest)
        return manifest

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What the finished task read and wrote, for OpenLineage.

        Args:
            task_instance: The task's.
        """
        from emotion_ops.airflow.lineage import lineage_of

        if self._manifest is None:
            return None
        image = str(getattr(self, "image"))  # noqa: B009  (all options are set in a loop)
        return lineage_of(self._manifest, self._sources, image)

    def _request(self) -> tuple[dict[str, Any], dict[str, str | None]]:
        """What the worker is asked, and the environment that stands for the connections."""
        values = {name: getattr(self, name) for name in self.template_fields}
        values |= {name: local_path(name, values[name]) for name in ("detector", "calibration", "answer_cache_dir")}
        located = ("source", "destination", "root", "quarantine", "compare_to", "candidate")
        plain, environment = opened({name: values[name] for name in located}, self._connection)
        values |= plain
        init = EmotionEnrichOperator.__init__
        options = options_of(init, (*JOB_OPTIONS, "plan_only"), values)
        if "wait" not in options:
            options["wait"] = values["wait"]
        if options.pop("plan_only", False):
            options["dry_run"] = True
        gate = options_of(init, GATE_OPTIONS, values)
        source = values["source"]
        request = {
            "do": "enrich",
            "source": source if isinstance(source, list) else [source],
            "destination": values["destination"],
            "operator": options_of(init, OPERATOR_OPTIONS, values),
            "options": options,
            "gate": gate or None,
        }
        return request, environment
