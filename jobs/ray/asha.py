"""Asynchronous successive halving that keeps the groups of a submission apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from ..options import AshaOptions


class GroupAsha(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """One ASHA scheduler a group: calls of different groups never compete.

    Tune has one scheduler for all trials, and groups (say, recognizers or budgets) are not
    comparable; a submission for each group would not share the machine well.

    Args:
        options: What to judge by, and when.
        metric: Where Tune finds the metric in a flattened result.
        groups: Group of trial number `trial.config["index"]`.

    Attributes:
        has_judged: Whether any result had the metric so far.
    """

    def __init__(self, options: AshaOptions, metric: str, groups: Sequence[str]) -> None:
        super().__init__()
        self.has_judged = False
        self._max_t = options.max_t
        self._asha_metric = metric
        self._groups = groups
        self._schedulers = {group: _scheduler(options, metric) for group in sorted(set(groups))}

    def _of(self, trial: Any) -> Any:
        return self._schedulers[self._groups[trial.config["index"]]]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tell the scheduler of the trial's group."""
        self._of(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ask the scheduler of the trial's group, except about a trial that is at its end."""
        self.has_judged |= self._asha_metric in result
        if result["training_iteration"] >= self._max_t:
            return str(self.CONTINUE)  # all work is done: stopping now would only lose the value
        return str(self._of(trial).on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Tell the scheduler of the trial's group."""
        self._of(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Tell the scheduler of the trial's group."""
        self._of(trial).on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Tell the scheduler of the trial's group."""
        self._of(trial).on_trial_remove(tune_controller, trial)


def _scheduler(options: AshaOptions, metric: str) -> Any:
    return AsyncHyperBandScheduler(
        time_attr="training_iteration",
        metric=metric,
        mode=options.mode,
        max_t=options.max_t,
        grace_period=options.grace_period,
        reduction_factor=options.reduction_factor,
        stop_last_trials=False,
    )
