"""A dataset in mapped tasks: one plans the shards, one checks the whole and tells the world by one asset event."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg
from airflow.sdk.exceptions import AirflowFailException

from emotion_ops.airflow.base import WorkerOperator
from emotion_ops.airflow.enrich import LIMITS, Location
from emotion_ops.airflow.options import Template, listed, options_of
from emotion_ops.airflow.stores import opened

if TYPE_CHECKING:
    from airflow.sdk import Context


class EmotionPlanOperator(WorkerOperator):
    """Cut a dataset into shards, for tasks that are mapped over them.

    It returns the values of ``EmotionEnrichOperator(shard=…)``: ``.expand(shard=plan.output)``. Only names are listed.
    A retry of a mapped task keeps the shard that it had, however many files came since.

    Args:
        source: As for ``EmotionEnrichOperator``.
        max_shards: The most shards: no more than run at once are of use.
        min_files: At least so many files in a shard, in the mean.
        **kwargs: As for ``WorkerOperator``.
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
        """List the source, and cut it.

        Args:
            context: The task's.

        Returns:
            ``[i, n]`` for each shard that has files.
        """
        plain, environment = opened({"source": self.source}, self._connection)
        numbers = {"max_shards": self.max_shards, "min_files": self.min_files}
        request = {"do": "plan_shards", **plain, **options_of(EmotionPlanOperator.__init__, numbers, numbers)}
        shards: list[list[int]] = self._work(request, environment)
        return shards


class EmotionCheckOperator(WorkerOperator):
    """Make sure that mapped tasks together did the whole of a dataset, and tell of it by one event.

    Every source file must have an output that was made of it as it is now, by one model and the same options. An
    outlet belongs here and not on the mapped tasks: each of those would emit an event of its own.

    Args:
        source: As for the mapped ``EmotionEnrichOperator``.
        destination: Likewise.
        manifests: What the mapped tasks returned: ``enrich.output``.
        verify: Prove, too, row by row, that each source row has exactly its output row; it reads both datasets.
        compare_to: A previous output that the new one is held against; the task fails, and emits no event, where it
            differs by more than ``max_changes``, ``max_change_rate``, ``max_drift``, ``max_mean_drift`` or
            ``min_coverage`` allow. What the shards wrote is published already.
        **kwargs: As for ``WorkerOperator``. The assets in ``outlets`` get the manifest as the extra of their event.

    Raises:
        AirflowFailException: The shards are not those of one job, or the gate stays closed.
        AirflowException: Something is missing; clear the mapped tasks.
    """

    template_fields: Collection[str] = (
        "source", "destination", "manifests", "verify", "compare_to", *LIMITS, *WorkerOperator.template_fields
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
        self.verify = verify
        self.compare_to = compare_to
        for name in LIMITS:
            setattr(self, name, given[name])

    def execute(self, context: Context) -> dict[str, Any]:
        """Check the whole.

        Args:
            context: The task's.

        Returns:
            The manifest of all shards together.
        """
        located = {"source": self.source, "destination": self.destination, "compare_to": self.compare_to}
        plain, environment = opened(located, self._connection)
        values = {name: getattr(self, name) for name in ("verify", *LIMITS)} | {"compare_to": plain.pop("compare_to")}
        options = options_of(EmotionCheckOperator.__init__, values, values)
        manifests = [self.manifests] if isinstance(self.manifests, Mapping) else listed(self.manifests)
        if manifests is None or not all(isinstance(one, Mapping) for one in manifests):
            hint = "give what EmotionEnrichOperator returned, enrich.output; a task that was skipped returned none"
            raise AirflowFailException(f"manifests are not all manifests: {hint}")
        verify = options.pop("verify", False)
        request = {"do": "check_shards", **plain, "manifests": manifests, "verify": verify, "gate": options or None}
        manifest: dict[str, Any] = self._work(request, environment)
        self._tell(context, manifest)
        return manifest
