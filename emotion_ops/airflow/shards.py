"""A dataset in mapped tasks: one operator divides it into shards, another checks that they did everything."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg
from airflow.sdk.exceptions import AirflowFailException

from emotion_ops.airflow.base import WorkerOperator
from emotion_ops.airflow.stores import resolve_connections
from emotion_ops.airflow.values import Location, Template, as_json, as_list, as_sources

if TYPE_CHECKING:
    from airflow.sdk import Context

_CHECKS = ("verify", "compare_to", "max_changes", "max_change_rate", "max_drift", "max_mean_drift", "min_coverage")


class PlanShardsOperator(WorkerOperator):
    """Divide a dataset into shards, for tasks that are mapped over them.

    It returns values of ``EnrichOperator(shard=…)``: ``.expand(shard=plan.output)``. Only names are listed. A retry of
    a mapped task keeps its shard, also if new files came.

    Args:
        source: See ``EnrichOperator``.
        max_shards: Maximum number of shards; more than run at the same time are of no use.
        min_files: Minimum number of files in a shard, on average.
        **kwargs: The arguments of ``WorkerOperator``.
    """

    template_fields: Collection[str] = ("source", "max_shards", "min_files", *WorkerOperator.template_fields)

    def __init__(
        self,
        *,
        source: Location | Sequence[Location],
        max_shards: int | Template = 16,
        min_files: int | Template = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.max_shards = max_shards
        self.min_files = min_files

    def execute(self, context: Context) -> list[list[int]]:
        """List the source, and divide it.

        Args:
            context: The task's.

        Returns:
            ``[i, n]`` for each shard that has files.
        """
        options = {"max_shards": self.max_shards, "min_files": self.min_files}
        plain, environment = resolve_connections(
            {"source": as_sources(self.source), "options": options}, self._connection
        )
        shards: list[list[int]] = self._run_worker({"do": "plan_shards", **plain}, environment)
        return shards


class CheckShardsOperator(WorkerOperator):
    """Make sure that mapped tasks together did the whole of a dataset, and emit one event for it.

    Every source file must have an output that was made of its present content, by one operator with equal options. Put
    outlets here and not on the mapped tasks: each of these would emit an event.

    Args:
        source: The same as for the mapped ``EnrichOperator``.
        destination: The same as for the mapped ``EnrichOperator``.
        manifests: What the mapped tasks returned: ``enrich.output``.
        verify: Also prove row by row that each source row has exactly its output row; this reads both datasets.
        compare_to: A previous output. The task fails, and emits no event, if the new one differs from it by more than
            the limits ``max_changes``, ``max_change_rate``, ``max_drift``, ``max_mean_drift`` or ``min_coverage``
            allow. The outputs of the shards are published already.
        max_changes: See ``EnrichOperator``.
        max_change_rate: See ``EnrichOperator``.
        max_drift: See ``EnrichOperator``.
        max_mean_drift: See ``EnrichOperator``.
        min_coverage: See ``EnrichOperator``.
        **kwargs: The arguments of ``WorkerOperator``. The assets in ``outlets`` get the manifest as the extra of their
            event.

    Raises:
        AirflowFailException: The shards are not those of one job, or a limit is exceeded.
        AirflowException: Something is missing; clear the mapped tasks.
    """

    template_fields: Collection[str] = (
        "source", "destination", "manifests", *_CHECKS, *WorkerOperator.template_fields
    )  # fmt: skip

    def __init__(
        self,
        *,
        source: Location | Sequence[Location],
        destination: Location,
        manifests: Sequence[Mapping[str, Any]] | XComArg,
        verify: bool | Template = False,
        compare_to: Location | None = None,
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
        self.manifests = manifests
        for name in _CHECKS:
            setattr(self, name, given[name])

    def execute(self, context: Context) -> dict[str, Any]:
        """Check the whole.

        Args:
            context: The task's.

        Returns:
            The manifest of all shards together.
        """
        manifests = [self.manifests] if isinstance(self.manifests, Mapping) else as_list(self.manifests)
        if manifests is None or not all(isinstance(one, Mapping) for one in manifests):
            hint = "give what EnrichOperator returned, enrich.output; a task that was skipped returned none"
            raise AirflowFailException(f"manifests are not all manifests: {hint}")
        places = {"source": as_sources(self.source), "destination": self.destination}
        options = {name: getattr(self, name) for name in _CHECKS}
        plain, environment = resolve_connections({**places, "options": options}, self._connection)
        request = {"do": "check_shards", **plain, "manifests": as_json(manifests)}
        manifest: dict[str, Any] = self._run_worker(request, environment)
        self._emit(context, manifest)
        return manifest
