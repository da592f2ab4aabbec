"""What the Airflow operators share: one worker process for each task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from emotion_ops.airflow.stores import mask_uris
from emotion_ops.airflow.values import read_number, read_text
from emotion_ops.airflow.worker import Worker, find_interpreter

if TYPE_CHECKING:
    from airflow.sdk import Context


class WorkerOperator(BaseOperator):
    """A task whose work is done by a process that ends with the task.

    Args:
        python: The interpreter that has ``emotion-ops`` and torch; None is ``[emotion_ops] python``, else Airflow's
            own. With another interpreter, Airflow's environment needs only ``pip install --no-deps emotion-ops``.
        env: Environment variables of the process, in addition to the task's: ``HF_HOME`` or ``CUDA_VISIBLE_DEVICES``,
            for example.
        conn_id: An Airflow connection for S3. It opens URIs that name no connection, and the images in the table.
        progress_seconds: Seconds between two lines of progress in the log; None is ``[emotion_ops] progress_seconds``,
            else 10.
        **kwargs: The arguments of every Airflow operator.
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
        """Render, and hide secrets from the log and the UI; Airflow calls this for mapped tasks too."""
        super()._do_render_template_fields(parent, *arguments, **named)
        if parent is self:
            self._mask()

    def _mask(self) -> None:
        """Hide passwords in URIs, and variables whose names suggest a secret, from the log."""
        from airflow.sdk.log import mask_secret

        for name in self.template_fields:
            mask_uris(getattr(self, name))
        if isinstance(self.env, Mapping):
            mask_secret(dict(self.env))

    def on_kill(self) -> None:
        """Stop the process; ``execute`` returns when it has ended."""
        self._killed = True
        if self._worker is not None:
            self._worker.stop()

    def _emit(self, context: Context, manifest: Mapping[str, Any]) -> None:
        """Put the manifest into the events of the assets in ``outlets``."""
        for outlet in self.outlets:
            if isinstance(outlet, Asset | AssetAlias):
                context["outlet_events"][outlet].extra = dict(manifest)

    @property
    def _connection(self) -> str | None:
        return read_text("conn_id", self.conn_id)

    def _run_worker(self, request: Mapping[str, Any], environment: Mapping[str, str | None]) -> Any:
        """Do a job in a process, which ends with this call however the call ends."""
        from airflow.sdk.configuration import conf

        self._mask()
        seconds: Any = self.progress_seconds
        if seconds is None:
            seconds = conf.getfloat("emotion_ops", "progress_seconds", fallback=10.0)
        pause = read_number("progress_seconds", seconds)
        given: Any = self.env or {}
        if not isinstance(given, Mapping):
            raise AirflowFailException(f"env is a {type(given).__name__}: give a dictionary of variables")
        variables = {str(name): str(value) for name, value in given.items()}
        self._worker = Worker(find_interpreter(read_text("python", self.python)), {**environment, **variables})
        if self._killed:  # the signal came before there was a worker to stop
            self._worker.stop()
        try:
            return self._worker.run(request, self.log, pause)
        finally:
            self._worker.close()
            self._worker = None
