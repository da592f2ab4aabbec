"""What the emotion operators share: one worker process a task, from its first breath to its last."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from emotion_ops.airflow.options import as_typed, text_of
from emotion_ops.airflow.stores import mask_uris
from emotion_ops.airflow.worker import Worker, interpreter

if TYPE_CHECKING:
    from airflow.sdk import Context


class WorkerOperator(BaseOperator):
    """A task whose work is done by a process of its own, which ends with the task.

    Args:
        python: The interpreter that has ``emotion-ops`` and torch; None is ``[emotion_ops] python``, else Airflow's
            own. With another one, Airflow's environment needs ``pip install --no-deps emotion-ops`` and no more.
        env: Environment variables of the process on top of the task's own: ``HF_HOME``, ``CUDA_VISIBLE_DEVICES`` say.
        conn_id: An Airflow connection for S3, by which URIs without one of their own are opened, and the images that
            the table points at.
        progress_seconds: Seconds between two lines of progress in the log; None is ``[emotion_ops]
            progress_seconds``, else 10.
        **kwargs: What every Airflow operator takes.
    """

    ui_color = "#f5e6c8"
    template_fields: Collection[str] = ("python", "env", "conn_id")

    _worker: Worker | None = None
    _killed = False

    def __init__(
        self,
        *,
        python: str | None = None,
        env: Mapping[str, str] | None = None,
        conn_id: str | None = None,
        progress_seconds: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.python = python
        self.env = env
        self.conn_id = conn_id
        self.progress_seconds = progress_seconds

    def _do_render_template_fields(self, parent: Any, *arguments: Any, **named: Any) -> None:
        """Render, and keep secrets out of the log and of the UI; this is what a mapped task calls too."""
        super()._do_render_template_fields(parent, *arguments, **named)
        if parent is self:
            self._mask()

    def _mask(self) -> None:
        """Keep passwords in URIs, and variables whose names tell of a secret, out of the log."""
        from airflow.sdk.log import mask_secret

        for name in self.template_fields:
            mask_uris(getattr(self, name))
        if isinstance(self.env, Mapping):
            mask_secret(dict(self.env))

    def on_kill(self) -> None:
        """Stop the process; ``execute`` ends by itself when it has ended."""
        self._killed = True
        if self._worker is not None:
            self._worker.stop()

    def _tell(self, context: Context, manifest: Mapping[str, Any]) -> None:
        """Give the manifest to the events of the assets that this task has as outlets."""
        for outlet in self.outlets:
            if isinstance(outlet, Asset | AssetAlias):
                context["outlet_events"][outlet].extra = dict(manifest)

    @property
    def _connection(self) -> str | None:
        return text_of("conn_id", self.conn_id)

    def _work(self, request: Mapping[str, Any], environment: Mapping[str, str | None]) -> Any:
        """Have a process do a job, and see it out of the door however the task ends."""
        from airflow.sdk.configuration import conf

        self._mask()
        seconds = self.progress_seconds
        if seconds is None:
            seconds = conf.getfloat("emotion_ops", "progress_seconds", fallback=10.0)
        pause: Any = as_typed("progress_seconds", seconds, float)
        if not isinstance(pause, int | float):
            raise AirflowFailException(f"progress_seconds={pause!r} cannot be used: give float")
        given: Any = self.env or {}
        if not isinstance(given, Mapping):
            raise AirflowFailException(f"env is a {type(given).__name__}: give a dictionary of variables")
        own = {str(name): str(value) for name, value in given.items()}
        python = interpreter(text_of("python", self.python))
        self._worker = Worker(python, {**environment, **own})
        if self._killed:  # the signal came before there was a worker to stop
            self._worker.stop()
        try:
            return self._worker.run(request, self.log, pause)
        finally:
            self._worker.close()
            self._worker = None
