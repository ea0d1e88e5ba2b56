"""Routes that no gate decides: drawn once, each within a window under a budget. Ours.

Shape legend: L layers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .cost import CostTable
from .settings import Axis

WINDOW = 0.03
"""How far under the budget a route may lie."""

_GOLDEN = 0.6180339887498949

Place = tuple[int, int]
"""A layer and an axis: 0 for channels, 1 for time."""


def places(costs: CostTable, axes: tuple[Axis, ...]) -> list[Place]:
    """Return what can be reduced, in order of execution."""
    offers = {"channel": 0, "time": 1}
    return [
        (index, offers[axis])
        for index, layer in enumerate(costs.layers)
        for axis in ("channel", "time")
        if axis in axes
        and len(layer.channel_factors if axis == "channel" else layer.time_factors) > 1
    ]


def spread(found: list[Place]) -> list[Place]:
    """Order places so that the first few of them, however many, lie evenly over the network."""
    return [found[i] for i in sorted(range(len(found)), key=lambda i: (i + 1) * _GOLDEN % 1)]


def route_within(costs: CostTable, order: Iterable[Place], budget: float) -> Tensor:
    """Reduce by two, place after place, until the share of the dense MACs is in the window.

    A place that would take the share below the window is passed over.

    Args:
        costs: Of the recognizer; gates are not part of the share.
        order: Which places come first.
        budget: Upper end of the window, a share of the dense MACs.

    Returns:
        Integers (L, 2): the branch on the channel and on the time axis.

    Raises:
        ValueError: All places together do not reach the budget, or their steps are too coarse.
    """
    route = torch.zeros(len(costs), 2, dtype=torch.int64)
    share = route_share(costs, route)
    for layer, axis in order:
        if budget - WINDOW <= share <= budget:
            break
        route[layer, axis] = 1
        reduced = route_share(costs, route)
        if reduced < budget - WINDOW:
            route[layer, axis] = 0
        else:
            share = reduced
    if not budget - WINDOW <= share <= budget:
        raise ValueError(
            f"`budget` {budget:g} cannot be met by halving layers: the nearest is {share:.3f}"
        )
    return route


def route_share(costs: CostTable, route_L2: Tensor) -> float:
    """Return the share of the dense MACs that a forced route executes, without gates."""
    live = [
        torch.nn.functional.one_hot(route_L2[None, :, axis], kept.shape[1]).bool()
        for axis, kept in enumerate((costs.kept_channels, costs.kept_frames))
    ]
    executed = costs.executed(live[0], live[1])
    return float(executed.total()[0] - executed.gate.sum()) / costs.dense
