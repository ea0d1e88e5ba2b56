"""How far the policies of a batch's clips differ: a reward against constant ones. Ours.

Shape legend: N clips, L layers, S branches of an axis.
"""

from __future__ import annotations

from torch import Tensor

from .policy import Policy

_TINY = 1e-6
"""A closed branch is a probability of zero, whose logarithm has no gradient."""


def mutual_information(weights_NLS: Tensor) -> Tensor:
    """Return the mutual information of clip and branch (L,), in nats, from 0 to log S.

    A clip takes each branch with the share that it has of the clip's weights. The information is
    the entropy of the clips' mean less the mean of their entropies: zero where all clips have the
    same shares, the most where each takes one branch and every branch is taken as often.
    """
    shares = weights_NLS / weights_NLS.sum(-1, keepdim=True).clamp_min(_TINY)
    return _entropy(shares.mean(0)) - _entropy(shares).mean(0)


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp_min(_TINY).log()).sum(-1)


def route_information(policy: Policy) -> Tensor:
    """Return the mean of `mutual_information` over all axes with a choice, with a gradient.

    Each layer counts by its share of the dense MACs.
    """
    channel, time = policy.stacked()
    costs = policy.costs.to(channel.device)
    axes = (costs.kept_channels, costs.kept_frames)
    num_choices = sum((kept[:, 0] > kept[:, -1]).int() for kept in axes)
    # an axis without a choice tells nothing
    told = mutual_information(channel) + mutual_information(time)
    return (costs.shares * told).sum() / (costs.shares * num_choices).sum()
