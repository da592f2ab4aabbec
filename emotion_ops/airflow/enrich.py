"""The Airflow operator for any table operator: one task enriches a Parquet dataset, or a shard of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.sdk import XComArg
from airflow.sdk.exceptions import AirflowFailException

from emotion_ops.airflow.base import WorkerOperator
from emotion_ops.airflow.links import EnrichReportLink
from emotion_ops.airflow.stores import resolve_connections
from emotion_ops.airflow.values import Location, Template, as_json, as_sources, read_options

if TYPE_CHECKING:
    from airflow.sdk import Context

JOB_DEFAULTS: Mapping[str, Any] = {
    "columns": "all", "shard": None, "overwrite": False, "prune": False, "retry_errors": False, "quarantine": None,
    "limit": None, "sample_rows": 64, "compression": "zstd", "row_group_rows": None, "max_errors": None,
    "max_error_rate": None, "report_page": True, "contact_sheet": "auto", "compare_to": None, "staging": None,
    "max_changes": None, "max_change_rate": None, "max_drift": None, "max_mean_drift": None, "min_coverage": None,
}  # fmt: skip
"""The options of ``enrich_dataset`` and of its gate that the worker gets only if they differ from these defaults."""


class EnrichOperator(WorkerOperator):
    """Append the columns of a table operator to every file of a Parquet dataset.

    It is ``enrich_dataset`` as a task, with all its options; they mean the same. Run again by a retry, a Clear or the
    next day, it continues where the work stopped, and skips files whose output exists. The work runs in a process that
    ends with the task: if the task is killed, timed out or marked as failed, the process stops within 5 seconds, and
    finished row groups stay.

    All options are templates. Text that a template gives is read as a value of the option's type.

    Args:
        source: A Parquet file, a folder, a glob, or a list of these: paths, URIs, ``ObjectStoragePath``. A URI may name
            an Airflow connection, ``s3://connection@bucket/key``.
        destination: A folder, or a file for a single source file; see ``source`` for its forms.
        operator: The registered name of the table operator.
        options: Its options: flat (``face_threshold``) or in groups (``{"faces": {"which": "all"}}``), as JSON.
        plan_only: Write nothing, and return in ``estimate`` of the manifest what the job would take.
        columns: See ``enrich_dataset``, also for the options below that have no description here.
        wait: Seconds to wait for another run that writes there. A task that died with its machine is taken to be alive
            for a minute, so that with a shorter time the first retry on another machine is refused.
        compare_to: A previous output. The new one is compared with it row by row, and the task fails if a limit is
            exceeded; give at least one limit.
        staging: A folder where the output is until it has passed. If it does not pass, it stays there, and the
            destination does not change. Without ``compare_to`` it passes when it is complete, with no more failed rows
            than allowed. None publishes each file at once.
        max_changes: Maximum rows whose category (for emotions: the label) may change.
        max_change_rate: Maximum part of the rows whose category may change, 0 to 1.
        max_drift: Maximum change of one number.
        max_mean_drift: Maximum mean change of the numbers.
        min_coverage: Minimum part of all rows that must have been compared, 0 to 1.
        **kwargs: The arguments of ``WorkerOperator`` and of every Airflow operator.

    The task returns a manifest of plain JSON types: rows, errors by code, files, rates, operator, lineage, fingerprint,
    destination. The assets in ``outlets`` get it as the extra of their event.

    Raises:
        AirflowFailException: A retry would fail too: an option, a column or a model that cannot be used, a corrupt
            source file, more failed rows than allowed, a limit that is exceeded, an unknown connection.
        AirflowException: A retry may succeed: a store that does not answer, memory that ran out, another run.
    """

    template_fields: Collection[str] = (
        "source", "destination", "operator", "options", "plan_only", "wait", *JOB_DEFAULTS,
        *WorkerOperator.template_fields,
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"options": "json"}
    operator_extra_links = (EnrichReportLink(),)

    _report = ""
    _manifest: Mapping[str, Any] | None = None
    _sources: Sequence[str] = ()

    def __init__(
        self,
        *,
        source: Location | Sequence[Location],
        destination: Location,
        operator: str = "classify_emotions",
        options: Mapping[str, Any] | XComArg | None = None,
        plan_only: bool | Template = False,
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
        compare_to: Location | None = None,
        staging: Location | None = None,
        max_changes: int | Template | None = None,
        max_change_rate: float | Template | None = None,
        max_drift: float | Template | None = None,
        max_mean_drift: float | Template | None = None,
        min_coverage: float | Template | None = None,
        **kwargs: Any,
    ) -> None:
        given = locals()
        super().__init__(**kwargs)
        self.source = source
        self.destination = destination
        self.operator = operator
        self.options = options
        self.plan_only = plan_only
        self.wait = wait
        for name in JOB_DEFAULTS:
            setattr(self, name, given[name])
        check_options(options)

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the work in a process.

        Args:
            context: The task's.

        Returns:
            The manifest.
        """
        request, environment = self._request()
        manifest: dict[str, Any] = self._run_worker(request, environment)
        self._report, self._manifest, self._sources = manifest["report"], manifest, request["source"]
        self._emit(context, manifest)
        return manifest

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What the finished task read and wrote, for OpenLineage.

        Args:
            task_instance: The task's.
        """
        from emotion_ops.airflow.lineage import make_lineage

        return None if self._manifest is None else make_lineage(self._manifest, self._sources)

    def _operator_options(self) -> dict[str, Any]:
        """The options of the table operator, as JSON."""
        return read_options(self.options)

    def _request(self) -> tuple[dict[str, Any], dict[str, str | None]]:
        """The request to the worker, and its environment variables for the connections."""
        values = {name: getattr(self, name) for name in JOB_DEFAULTS}
        job = as_json({name: value for name, value in values.items() if value != JOB_DEFAULTS[name]})
        plain, environment = resolve_connections(
            {
                "source": as_sources(self.source),
                "destination": self.destination,
                "options": self._operator_options(),
                "job": {**job, "wait": self.wait, "dry_run": self.plan_only},
            },
            self._connection,
        )
        return {"do": "enrich", "operator": self.operator, **plain}, environment


def check_options(options: Any) -> None:
    """Refuse functions among options when the DAG is written, before a task runs.

    Raises:
        AirflowFailException: There is one.
    """
    for value in options.values() if isinstance(options, Mapping) else ():
        if callable(value) and not isinstance(value, XComArg):
            hint = "options travel to another process as JSON: give the path of a file, or a name"
            raise AirflowFailException(f"{value!r} cannot be used: {hint}")
        check_options(value)
