"""A trial's trained recognizer, as it was when the trial ended, ready to be timed."""

from __future__ import annotations

from pathlib import Path

from registry.bench.subject import Subject, trained_subject
from registry.recognizers.build import build
from registry.tables import DATASETS, METHODS
from registry.vared.gating import ALL_GATES, Gating, gating_of
from registry.vared.settings import VaRedSettings
from registry.weights import read_weights
from results.store import Store, TrialFolder

from .machine_times import kept, kept_times
from .problems import UserError
from .trial import Trial
from .workbench import open_workbench, prepare


def trained(store: Store, folder: TrialFolder, data_root: Path | None) -> Subject:
    """Return the subject of a benchmark that a trial left behind.

    Args:
        store: Where it lies.
        folder: The trial's.
        data_root: Where data sets of clips lie.

    Raises:
        UserError: It did not end well, kept no weights, has no gates, or its clips are not to be
            had.
    """
    trial = _ended_well(store, folder)
    if not folder.weights_path.is_file():
        raise UserError(
            f"trial {trial.key} has no weights: it ran with `keep_weights: false`, or before "
            "weights were kept; run it again with another --runs"
        )
    try:
        _check_clips(trial, data_root)
        bench = open_workbench(trial, data_root)
        model = prepare(trial, bench, kept_times(folder.latency_path)).model
        read_weights(folder.weights_path, model)
        dense = build(bench.config, bench.example)
        return trained_subject(
            f"{trial.recognizer.name} of trial {trial.key}",
            model,
            dense,
            bench.clip,
            bench.dense_macs,
            bench.splits.val,
            f"validation clips of {trial.dataset.label or trial.dataset.name}",
            _gating(trial, folder),
        )
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def _gating(trial: Trial, folder: TrialFolder) -> Gating:
    """How it was chosen which layers have gates; what has none is refused elsewhere."""
    method = METHODS.load(trial.method.name)
    settings = method.settings_type(**trial.method.settings)
    if not isinstance(settings, VaRedSettings):
        return ALL_GATES
    return gating_of(settings, kept(folder.latency_path))


def _ended_well(store: Store, folder: TrialFolder) -> Trial:
    record = store.read_record(folder.path.name)
    if record is None or record.status != "ok":
        state = "has no record yet" if record is None else f"ended as {record.status!r}"
        raise UserError(f"trial {folder.path.name} {state}: only one that ended well can be timed")
    return Trial.model_validate(record.trial)


def _check_clips(trial: Trial, data_root: Path | None) -> None:
    source = DATASETS.load(trial.dataset.name)
    settings = source.settings_type(**trial.dataset.settings)
    if source.manifest(settings, data_root).digest != trial.data_digest:
        raise ValueError(
            f"the clips of {trial.dataset.name!r} are not those that trial {trial.key} ran on"
        )
