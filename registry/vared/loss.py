"""What is added to a recognizer's own loss while it trains.

Shape legend: N clips.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .distillation import Teacher
from .information import route_information
from .policy import Policy
from .settings import NO_TIMES, LossSettings
from .times import MachineTimes, TimeTable


class AdaptiveLoss:
    """Stands in for a recognizer's `loss`: adds the efficiency loss to its losses.

    Recalled: L_e = (mu * sum_l share_l * r_l / R_l)^2 with mu = 1 for a correctly classified clip,
    else 0; L = L_acc + lambda * L_e. Gates, cheap operations and the layers that no gate controls
    are part of the share (ours), so that it is the share of MACs really executed. Ours too: the
    share of the time that layers take in place of it, the mean share in place of each clip's, the
    reward for policies that differ, and distillation from the dense recognizer.

    Args:
        recognizer: With gates installed.
        policy: Of its gates.
        settings: What to add, and how.
        times: What layers take on this machine, where the share is of time.

    Raises:
        ValueError: The share is of time, and there are no times.
    """

    def __init__(
        self,
        recognizer: Any,
        policy: Policy,
        settings: LossSettings,
        times: MachineTimes | None = None,
    ) -> None:
        self.times = _table(times, policy) if settings.cost == "time" else None
        self.recognizer = recognizer
        self.dense_loss = recognizer.loss
        self.policy = policy
        self.settings = settings
        self.teacher: Teacher | None = None
        """What the recognizer was when its gates began to decide, where it is to be distilled."""

    def __call__(self, inputs: Tensor, data_samples: list[Any], **kwargs: Any) -> dict[str, Tensor]:
        """Return MMAction2's losses, what is added, and `macs_share` for the log."""
        if self.settings.distil and not self.policy.full and self.teacher is None:
            self.teacher = Teacher(self.recognizer)
        losses: dict[str, Tensor] = self.dense_loss(inputs, data_samples, **kwargs)
        if self.policy.full:
            return losses
        share_N = self.policy.share()
        efficiency = self._efficiency(self._paid(share_N), data_samples)
        losses["loss_efficiency"] = self.policy.efficiency_weight * efficiency
        if self.settings.spread and not self.policy.frozen:
            losses["loss_spread"] = -self.settings.spread * route_information(self.policy)
        if self.teacher is not None:
            assert self.policy.scores is not None
            divergence = self.teacher.divergence(inputs, self.policy.scores)
            losses["loss_distil"] = self.settings.distil * divergence
        losses["macs_share"] = share_N.detach().mean()
        return losses

    def teacher_state(self) -> dict[str, Tensor] | None:
        """Return the teacher's weights and statistics; None where there is none yet."""
        return None if self.teacher is None else self.teacher.recognizer.state_dict()

    def take_up_teacher(self, state: dict[str, Tensor] | None) -> None:
        """Go on with the teacher of `teacher_state`."""
        self.teacher = None
        if state is not None:
            self.teacher = Teacher(self.recognizer)
            self.teacher.recognizer.load_state_dict(state)

    def _paid(self, share_N: Tensor) -> Tensor:
        """What clips pay for, a share of the dense recognizer's (N,): multiply-adds, or time."""
        return share_N if self.times is None else self.times.share(*self.policy.stacked())

    def _efficiency(self, share_N: Tensor, data_samples: list[Any]) -> Tensor:
        mu_N = torch.ones_like(share_N)
        if self.settings.only_correct:
            mu_N = self._correct(data_samples)
        if self.settings.pressure == "mean":
            share_N = (mu_N * share_N).sum() / mu_N.sum().clamp_min(1)
        paid_N = share_N.square() if self.settings.square else share_N
        return (mu_N * paid_N).mean()

    def _correct(self, data_samples: list[Any]) -> Tensor:
        """1 for each clip (N,) whose last scores put its label first; each view for itself."""
        assert self.policy.scores is not None
        predicted = self.policy.scores.argmax(1)
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(predicted.device)
        views = len(predicted) // len(labels)
        return (predicted == labels.repeat_interleave(views)).float()


def _table(times: MachineTimes | None, policy: Policy) -> TimeTable:
    if times is None:
        raise ValueError(NO_TIMES.format("cost: time"))
    return TimeTable(times, policy.costs)
