"""Random routes of a wanted nominal saving, and what a route costs by the paper's formula.

Nominal is what the paper counts: each convolution at the share of channels and of frames that its
route keeps, r / R, everything else at its full cost; gates and cheap operations do not appear.
Where a size is not a multiple of the factor, the share is what is really kept, ceil(size / factor).

Shape legend: L layers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from ..vared.cost import CostTable, LayerCost
from ..vared.rebuild import kept_sizes

RouteAxes = Literal["both", "channel", "time"]
"""What drawn routes reduce: channels, frames, or either or both, layer by layer."""

AXES: tuple[RouteAxes, ...] = get_args(RouteAxes)
TOLERANCE = 0.02
"""How far the saving of a drawn route may lie from the wanted one, as a share of it."""

NUM_TRIES = 200
_Choice = tuple[int, int]


def draw(costs: CostTable, saving: float, axes: RouteAxes, seed: int) -> Tensor:
    """Draw a route that saves about `saving` of the dense multiply-adds, nominally.

    Layers and their branches come in random order; each is taken unless it saves too much, until
    the saving is met.

    Args:
        costs: Of an adaptive recognizer, as its policy holds them.
        saving: Share of the dense recognizer's multiply-adds in (0, 1).
        axes: What may be reduced.
        seed: The same seed draws the same route.

    Returns:
        Branch indices (L, 2) of the channel and the time axis, as `Policy.routes` takes them.

    Raises:
        ValueError: No route saves as much, or none was found that is near enough.
    """
    most = most_saving(costs, axes)
    if not 0 < saving <= most:
        raise ValueError(
            f"`saving` must be in (0, {most:.3f}], the most that routes of axes {axes} save here, "
            f"but got {saving}"
        )
    chance = random.Random(seed)
    for _ in range(NUM_TRIES):
        choices = _fill(costs, saving, axes, chance)
        if choices is not None:
            return torch.tensor(choices)
    raise ValueError(f"found no route of axes {axes} within {TOLERANCE:.0%} of `saving` {saving}")


def nominal_macs(costs: CostTable, route: Tensor) -> int:
    """Return the nominal multiply-adds of one clip on a route (L, 2), whole recognizer."""
    saved = sum(
        _saved(layer, choice) for layer, choice in zip(costs.layers, _pairs(route), strict=True)
    )
    return round(costs.dense - saved)


def most_saving(costs: CostTable, axes: RouteAxes) -> float:
    """Return the largest nominal saving there is, as a share of the dense multiply-adds."""
    most = (
        max(_saved(layer, choice) for choice in _choices(layer, axes)) for layer in costs.layers
    )
    return sum(most) / costs.dense


def offered(costs: CostTable) -> RouteAxes:
    """Return what routes can reduce."""
    channels = any(len(layer.channel_factors) > 1 for layer in costs.layers)
    frames = any(len(layer.time_factors) > 1 for layer in costs.layers)
    return "both" if channels and frames else "channel" if channels else "time"


def _pairs(route: Tensor) -> Iterator[_Choice]:
    for channel, time in route.tolist():
        yield int(channel), int(time)


def _choices(layer: LayerCost, axes: RouteAxes) -> list[_Choice]:
    channels = range(len(layer.channel_factors) if axes != "time" else 1)
    frames = range(len(layer.time_factors) if axes != "channel" else 1)
    return [(channel, time) for channel in channels for time in frames]


def _saved(layer: LayerCost, choice: _Choice) -> float:
    """Multiply-adds of the convolution that a choice leaves out; a branch there is not is the last.

    That is how `Policy.routes` is read, too.
    """
    conv = layer.macs_per_element * layer.num_channels * layer.num_frames * layer.area
    kept = 1.0
    for size, factors, branch in (
        (layer.num_channels, layer.channel_factors, choice[0]),
        (layer.num_frames, layer.time_factors, choice[1]),
    ):
        kept *= kept_sizes(size, factors)[min(branch, len(factors) - 1)] / size
    return conv * (1 - kept)


def _fill(
    costs: CostTable, saving: float, axes: RouteAxes, chance: random.Random
) -> list[_Choice] | None:
    """One try: None where what is left over fits nowhere."""
    choices: list[_Choice] = [(0, 0)] * len(costs)
    saved, wanted = 0.0, saving * costs.dense
    candidates = [
        (index, choice)
        for index, layer in enumerate(costs.layers)
        for choice in _choices(layer, axes)
    ]
    chance.shuffle(candidates)
    for index, choice in candidates:
        layer = costs.layers[index]
        gain = _saved(layer, choice) - _saved(layer, choices[index])
        if gain > 0 and saved + gain <= wanted * (1 + TOLERANCE):
            choices[index] = choice
            saved += gain
        if saved >= wanted * (1 - TOLERANCE):
            return choices
    return None
