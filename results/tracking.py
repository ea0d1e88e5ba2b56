"""Tracking: a mirror of a sweep's records in MLflow, which may be lost and sent again.

One parent run a sweep and one child a trial, in an experiment named after the sweep. A child is
never changed: one whose record has changed since (a failed trial run again, say) is deleted and
sent anew, and so is one that was cut off before it was marked as ended.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from . import tracking_entries as entries
from .record import Record
from .tracking_uri import TrackingError, artifact_location, check_reachable, default_uri, redacted

__all__ = ["SyncResult", "TrackingError", "default_uri", "sync"]

KEY_TAG = "trial.key"
DIGEST_TAG = "record.digest"
SWEEP_TAG = "sweep"
_PARENT_TAG = "mlflow.parentRunId"  # MLflow shows runs that have it under the run it names
_ENDED = ("FINISHED", "FAILED")
# MLflow takes 100 parameters and 1000 entries in all at once.
_MAX_PARAMS_A_CALL = 100
_MAX_METRICS_A_CALL = 900
# Enough for a server that restarts; MLflow's own 7 retries of 2 minutes each look like a hang.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}

_SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines for every run
}


@dataclass(frozen=True)
class SyncResult:
    """What a sync did, in trials."""

    parent_run_id: str
    num_added: int
    num_replaced: int
    num_unchanged: int


def sync(
    records: Sequence[Record],
    sweep_name: str,
    artifacts: Sequence[Path],
    tracking_uri: str,
) -> SyncResult:
    """Make MLflow show these records. Doing it twice changes nothing the second time.

    Trials that MLflow has and `records` has not are left alone. One process at a time may sync a
    sweep.

    Args:
        records: the sweep's, each of another trial.
        sweep_name: names the experiment and the parent run.
        artifacts: files for the parent run, such as frontier.csv and the figures; sent every time.
        tracking_uri: of a database or a server; `default_uri` gives the sweep its own.

    Raises:
        TrackingError: the URI is of no known kind, does not answer, or MLflow refuses the runs.
    """
    check_reachable(tracking_uri)
    with _quiet_mlflow():
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return _Mirror.open(tracking_uri, sweep_name).send(records, artifacts)
        except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
            raise TrackingError(
                f"MLflow at `{redacted(tracking_uri)}` did not take the runs: {error}"
            ) from error


@dataclass(frozen=True)
class _Mirror:
    """One sweep's experiment, open for writing."""

    client: Any
    experiment_id: str
    sweep_name: str

    @classmethod
    def open(cls, uri: str, sweep_name: str) -> _Mirror:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(sweep_name)
        if experiment is None:
            location = artifact_location(uri)
            return cls(client, client.create_experiment(sweep_name, location), sweep_name)
        if experiment.lifecycle_stage != "active":
            client.restore_experiment(experiment.experiment_id)
        return cls(client, experiment.experiment_id, sweep_name)

    def send(self, records: Sequence[Record], artifacts: Sequence[Path]) -> SyncResult:
        runs = list(self._runs())
        parent_id = self._parent_id(runs)
        present = {run.data.tags[KEY_TAG]: run for run in runs if KEY_TAG in run.data.tags}
        counts = {"added": 0, "replaced": 0, "unchanged": 0}
        for record in records:
            counts[self._send_trial(record, present.get(record.key), parent_id)] += 1
        self._finish_parent(parent_id, records, artifacts)
        return SyncResult(parent_id, counts["added"], counts["replaced"], counts["unchanged"])

    def _runs(self) -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _parent_id(self, runs: Sequence[Any]) -> str:
        for run in runs:
            if run.data.tags.get(SWEEP_TAG) == self.sweep_name and KEY_TAG not in run.data.tags:
                return str(run.info.run_id)
        tags = {SWEEP_TAG: self.sweep_name}
        run = self.client.create_run(self.experiment_id, tags=tags, run_name=self.sweep_name)
        return str(run.info.run_id)

    def _send_trial(self, record: Record, present: Any, parent_id: str) -> str:
        if present is None:
            self._create_child(record, parent_id)
            return "added"
        is_same = present.data.tags.get(DIGEST_TAG) == entries.digest(record)
        if is_same and present.info.status in _ENDED:
            return "unchanged"
        self.client.delete_run(present.info.run_id)
        self._create_child(record, parent_id)
        return "replaced"

    def _create_child(self, record: Record, parent_id: str) -> None:
        run = self.client.create_run(
            self.experiment_id,
            start_time=entries.milliseconds(record.started_at),
            tags={
                **entries.tags(record),
                KEY_TAG: record.key,
                DIGEST_TAG: entries.digest(record),
                SWEEP_TAG: self.sweep_name,
                _PARENT_TAG: parent_id,
            },
            run_name=entries.run_name(record),
        )
        self._log(run.info.run_id, entries.params(record), entries.metrics(record))
        status = "FINISHED" if record.status == "ok" else "FAILED"
        end_time = entries.milliseconds(record.finished_at)
        self.client.set_terminated(run.info.run_id, status, end_time)

    def _log(
        self, run_id: str, params: Mapping[str, str], metrics: Sequence[entries.MetricPoint]
    ) -> None:
        from mlflow.entities import Metric, Param

        param_parts = _parts([Param(*item) for item in params.items()], _MAX_PARAMS_A_CALL)
        metric_parts = _parts([Metric(*point) for point in metrics], _MAX_METRICS_A_CALL)
        for param_part, metric_part in zip_longest(param_parts, metric_parts, fillvalue=()):
            self.client.log_batch(run_id, params=param_part, metrics=metric_part)

    def _finish_parent(
        self, parent_id: str, records: Sequence[Record], artifacts: Sequence[Path]
    ) -> None:
        num_failed = sum(record.status == "failed" for record in records)
        self.client.set_tag(parent_id, "num_trials", str(len(records)))
        self.client.set_tag(parent_id, "num_failed", str(num_failed))
        for path in artifacts:
            self.client.log_artifact(parent_id, str(path))
        ends = [end for r in records if (end := entries.milliseconds(r.finished_at)) is not None]
        self.client.set_terminated(parent_id, "FINISHED", max(ends, default=None))


def _parts(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """Keep MLflow from reporting home, from waiting for long and from chatting; then as before."""
    defaults = {key: value for key, value in _PATIENCE.items() if key not in os.environ}
    changed = {**defaults, **_SILENCE}
    before = {key: os.environ.get(key) for key in changed}
    logger = logging.getLogger("mlflow")
    level = logger.level
    os.environ.update(changed)
    try:
        import mlflow  # noqa: F401  # sets its logger's level, so it must come first

        logger.setLevel(logging.WARNING)
        yield
    finally:
        logger.setLevel(level)
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
