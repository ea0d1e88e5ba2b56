"""What trials will cost: multiply-adds, time and disk, and what each figure rests on."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from registry.vared.settings import NUM_CALIBRATION_CLIPS
from results.record import Record
from results.store import TRIALS, Store, TrialFolder

from .sizes import Size
from .trial import Trial

PASSES = 3
"""Multiply-adds of a training step in forward passes: one forward, two to go back."""

PASSES_TO_CALIBRATE = 2
"""Passes over the clips of one calibration: one to see them, about one to check the outcome."""

ASSUMED_GMACS_PER_S = 10.0
"""Assumed where no record tells: what one core of an ordinary processor trained at desk scale."""

ASSUMED_DISK_BYTES = 100_000
"""Assumed where no folder tells: records and logs; a checkpoint goes when its trial has ended."""

WEIGHT_BYTES = 4
"""What a parameter of kept weights takes, float32; gates, some per cent, are left out."""

NUM_RECORDS_SAMPLED = 500
"""About so many past trials are looked at, spread over all: medians need no more."""

NUM_FOLDERS_SAMPLED = 20


class Kind(NamedTuple):
    """What trials share that cost alike."""

    recognizer: str
    dataset: str
    scale: str


@dataclass(frozen=True)
class Cost:
    """The cost of all trials together, as if one ran after the other.

    `num_by_record` of the `num_trials` were timed before; the rest rests on the assumed rate.
    """

    num_trials: int
    num_by_record: int
    macs: int
    time_s: float
    disk_bytes: int

    @property
    def basis(self) -> str:
        """What the time rests on."""
        guessed = self.num_trials - self.num_by_record
        parts = [f"{self.num_by_record} timed before"] if self.num_by_record else []
        parts += [f"{guessed} at an assumed {ASSUMED_GMACS_PER_S:g} GMACs/s"] if guessed else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Experience:
    """What past trials took, by kind: seconds an epoch, and bytes on disk less kept weights."""

    epoch_s: Mapping[Kind, float]
    disk_bytes: Mapping[Kind, int]


def estimate(
    trials: Sequence[Trial],
    num_clips: Mapping[str, tuple[int, int]],
    experience: Experience,
    size_of: Callable[[Trial], Size],
    *,
    keeps_weights: bool = False,
) -> Cost:
    """Return what trials will cost.

    Args:
        trials: What would run.
        num_clips: Training and validation clips by the data set's label.
        experience: What past trials took.
        size_of: The dense recognizer's size; called once for each kind and clip shape.
        keeps_weights: Whether trained weights are kept.
    """
    sizes: dict[tuple[Any, ...], Size] = {}
    macs, time_s, disk_bytes, num_by_record = 0, 0.0, 0, 0
    for trial in trials:
        kind, recipe = kind_of(trial), trial.recipe
        shape = (*kind, recipe.frames, recipe.size)
        size = sizes.get(shape) or sizes.setdefault(shape, size_of(trial))
        num_train, num_val = num_clips[trial.dataset.label]
        epochs = recipe.epochs + _epochs_at_other_budgets(trial, num_train, num_val)
        work = round(size.macs * num_train * epochs * PASSES)
        epoch_s = experience.epoch_s.get(kind)
        num_by_record += epoch_s is not None
        time_s += work / (ASSUMED_GMACS_PER_S * 1e9) if epoch_s is None else epoch_s * epochs
        disk_bytes += experience.disk_bytes.get(kind, ASSUMED_DISK_BYTES)
        disk_bytes += WEIGHT_BYTES * size.params * keeps_weights
        macs += work
    return Cost(len(trials), num_by_record, macs, time_s, disk_bytes)


def _epochs_at_other_budgets(trial: Trial, num_train: int, num_val: int) -> float:
    """What `any_budget` takes, in epochs of training that cost as many multiply-adds."""
    calibrated = PASSES_TO_CALIBRATE * min(num_train, NUM_CALIBRATION_CLIPS)
    return len(trial.any_budget) * (calibrated + num_val) / (num_train * PASSES)


def kind_of(trial: Trial) -> Kind:
    """Return what decides how long an epoch of the trial takes."""
    return Kind(trial.recognizer.name, trial.dataset.name, trial.scale)


def experience(store: Store) -> Experience:
    """Return what past trials in the store took, medians by kind."""
    epochs: defaultdict[Kind, list[float]] = defaultdict(list)
    folders: defaultdict[Kind, list[Path]] = defaultdict(list)
    for record in _records(store):
        kind = _kind_of_record(record)
        folders[kind].append(store.trial_folder(record.key).path)
        if record.train_time_s is not None:
            epochs[kind].append(record.train_time_s / record.trial["recipe"]["epochs"])
    return Experience(
        {kind: statistics.median(times) for kind, times in epochs.items()},
        {kind: _median_bytes(paths) for kind, paths in folders.items()},
    )


def _records(store: Store) -> Iterable[Record]:
    folder = store.root / TRIALS
    keys = sorted(path.parent.name for path in folder.glob("*/record.json"))
    keys = keys[:: 1 + len(keys) // NUM_RECORDS_SAMPLED]
    return (record for record in store.read_records(keys).records if record.status == "ok")


def _kind_of_record(record: Record) -> Kind:
    trial = record.trial
    return Kind(trial["recognizer"]["name"], trial["dataset"]["name"], trial["scale"])


def _median_bytes(folders: Sequence[Path]) -> int:
    sampled = folders[:NUM_FOLDERS_SAMPLED]
    return int(statistics.median(_num_bytes(folder) for folder in sampled))


def _num_bytes(folder: Path) -> int:
    kept = TrialFolder(folder).weights_path
    files = (path for path in folder.rglob("*") if path.is_file() and path != kept)
    return sum(path.stat().st_size for path in files)
