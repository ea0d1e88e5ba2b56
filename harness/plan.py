"""What a sweep would run, and what of it is there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from results.record import Record
from results.store import Labels, Store
from results.store import Sweep as StoredSweep

from .budgets import Sweep
from .trial import Trial

STOPPED = "stopped"
"""`Failure.kind` of a trial that a scheduler judged weak, or a person cancelled."""


Again = frozenset[str]
"""Keys of trials that run although they have a record."""


@dataclass(frozen=True)
class Plan:
    """The trials of a sweep in their order, and the records there are, by key.

    A record.json that cannot be read counts as missing and is listed in `damaged`.
    """

    trials: tuple[Trial, ...]
    records: Mapping[str, Record]
    damaged: Mapping[str, str]

    @cached_property
    def done(self) -> list[Trial]:
        """Trials with figures."""
        return [t for t in self.trials if self._status(t) == "ok"]

    @cached_property
    def failed(self) -> list[Trial]:
        """Trials whose record says why there are no figures."""
        return [t for t in self.trials if self._status(t) == "failed"]

    @cached_property
    def missing(self) -> list[Trial]:
        """Trials without a record."""
        return [t for t in self.trials if self._status(t) is None]

    @cached_property
    def stopped(self) -> list[Trial]:
        """Those of the failed that were ended on purpose."""
        return [t for t in self.failed if _was_stopped(self.records[t.key])]

    def todo(self, again: Again = frozenset()) -> list[Trial]:
        """Return what runs now, in the order of the plan: all without a record, and `again`."""
        return [t for t in self.trials if self._status(t) is None or t.key in again]

    def _status(self, trial: Trial) -> str | None:
        record = self.records.get(trial.key)
        return record.status if record else None


def _was_stopped(record: Record) -> bool:
    return record.failure is not None and record.failure.kind == STOPPED


def make_plan(trials: Sequence[Trial], store: Store) -> Plan:
    """Return the plan for trials, by the records in the store."""
    reading = store.read_records(trial.key for trial in trials)
    return Plan(tuple(trials), {r.key: r for r in reading.records}, reading.damaged)


def stored(sweep: Sweep, trials: Sequence[Trial]) -> StoredSweep:
    """Return the sweep as the store keeps it: its keys and how it labels them."""
    return StoredSweep(
        name=sweep.name,
        title=sweep.name,
        keys=tuple(trial.key for trial in trials),
        labels={trial.key: _labels(trial, pooled=_pooled(sweep, trial)) for trial in trials},
    )


def _pooled(sweep: Sweep, trial: Trial) -> tuple[str, int] | None:
    """The pool of a trial's data set, and the number that tells its runs apart and pairs them."""
    members: dict[str, list[str]] = {}
    for entry in sweep.datasets:
        members.setdefault(entry.pool, []).append(entry.label)
    for pool, labels in members.items():
        if pool and trial.dataset.label in labels:
            place = labels.index(trial.dataset.label)
            return pool, place * len(sweep.seeds) + sweep.seeds.index(trial.seed)
    return None


def name_of(trial: Trial) -> str:
    """Return how a trial is shown: "motion tsn vared 0.6 seed 1"."""
    labels = _labels(trial)
    budget = [] if trial.budget is None else [f"{trial.budget:g}"]
    parts = [labels.dataset, labels.recognizer, labels.method, *budget]
    return " ".join([*parts, f"seed {trial.seed}"])


def _labels(trial: Trial, pooled: tuple[str, int] | None = None) -> Labels:
    pool, number = pooled or ("", None)
    return Labels(
        dataset=pool or trial.dataset.label or trial.dataset.name,
        seed=number,
        recognizer=trial.recognizer.label or trial.recognizer.name,
        method=trial.method.label or trial.method.name,
    )
