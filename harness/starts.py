"""Trials that start from the trained weights of others: from which, and in what order they run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from registry import tables
from results.store import Store

from .trial import SCRATCH, Choice, Trial

DENSE = "dense"


def source_of(trial: Trial) -> Trial | None:
    """Return the trial whose trained weights this one starts from; None: its own are drawn.

    It has the same data set, recognizer, recipe and seed, so it needs no name of its own, and the
    key of the one says which other it rests on.
    """
    if trial.start == SCRATCH:
        return None
    settings = tables.METHODS.load(DENSE).settings_type().model_dump(mode="json")
    dense = Choice(name=DENSE, settings=settings, label=DENSE)
    changed = {"method": dense, "budget": None, "any_budget": (), "start": SCRATCH}
    return Trial.model_construct(**{**dict(trial), **changed})


def waves(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Return trials in groups that run one after the other: sources, then those that need them."""
    keys = {trial.key for trial in trials}
    first: list[Trial] = []
    second: list[Trial] = []
    for trial in trials:
        source = source_of(trial)
        (second if source and source.key in keys else first).append(trial)
    return [wave for wave in (first, second) if wave]


def without_source(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that start from one that is not among them."""
    keys = {trial.key for trial in trials}
    return [t for t in trials if (source := source_of(t)) and source.key not in keys]


def weights_to_start_from(trial: Trial, store: Store) -> Path | None:
    """Return the file of the weights that a trial starts from; None: its own are drawn.

    Raises:
        ValueError: The trial that should have left them did not.
    """
    source = source_of(trial)
    if source is None:
        return None
    folder = store.trial_folder(source.key)
    if folder.weights_path.is_file():
        return folder.weights_path
    record = store.read_record(source.key)
    state = "has no record yet" if record is None else f"ended as {record.status!r}"
    why = f"{state} and kept no weights; run it again with another --runs, or `harness retry` it"
    raise ValueError(f"it starts from dense, but trial {source.key} {why}")
