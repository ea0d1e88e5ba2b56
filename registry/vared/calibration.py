"""Calibration: shift gates until the executed share lies in its window. Ours.

One number moves the pre-activation of every full branch; where it falls below zero the branch
closes. The share is monotone in the shift, so a bisection finds it: on the pre-activations seen in
one pass (cheap), then checked by running the clips again, since a gate's input depends on the
routes before it. Where one layer is too coarse a step, single gates fill the gap.

Shape legend: N clips, L layers, S branches of both axes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .dynamic import DynamicConv
from .policy import Policy, largest

MAX_ROUNDS = 6
DEPTH = 0.025
"""Depth of the window below its upper end. One layer's gate can move the share by as much."""


@dataclass(frozen=True)
class Seen:
    """One pass over the clips: mean executed share, and each layer's pre-activations (N, S)."""

    share: float
    u: list[Tensor]


class Shares:
    """Measures the mean executed share of a recognizer on fixed batches, in eval.

    Args:
        recognizer: Adaptive, on the device it trains on.
        batches: As MMEngine's loader collates them.
    """

    def __init__(self, recognizer: Any, batches: Iterable[Any]) -> None:
        self.recognizer = recognizer
        self.batches = list(batches)
        self.layers = sorted(
            (m for m in recognizer.modules() if isinstance(m, DynamicConv)), key=lambda m: m.index
        )

    @property
    def policy(self) -> Policy:
        """The recognizer's policy."""
        return self.layers[0].policy

    def measure(self) -> Seen:
        """Run the clips by their own routes."""
        was_training, skipped = self.recognizer.training, self.policy.skip
        self.recognizer.eval()
        # a batch of mixed routes runs faster masked, and decides the same
        self.policy.skip = False
        totals, seen = [], []
        with torch.no_grad():
            for batch in self.batches:
                self.recognizer(
                    **self.recognizer.data_preprocessor(batch, False), mode="tensor", stage="head"
                )
                totals.append(self.policy.executed().total())
                seen.append([self.policy.decisions[layer.index].u for layer in self.layers])
        self.recognizer.train(was_training)
        self.policy.skip = skipped
        share = torch.cat(totals).double().mean().item() / self.policy.costs.dense
        return Seen(share, [torch.cat(column) for column in zip(*seen, strict=True)])

    def predict(self, seen: Seen, shifts: Tensor) -> float:
        """Return the share that shifted pre-activations would give, gate inputs unchanged.

        Args:
            seen: What was measured.
            shifts: (L, 2): how far the full branch of each layer's channel and time axis moves.
        """
        live_channel, live_time = [], []
        for layer, u, shift in zip(self.layers, seen.u, shifts, strict=True):
            moved = u + _levers(layer, shift).to(u)
            channel, time = torch.split(moved, list(layer.gate.num_branches), dim=1)
            live_channel.append(_live(channel, layer.hardens))
            live_time.append(_live(time, layer.hardens))
        width = [max(x.shape[1] for x in live) for live in (live_channel, live_time)]
        executed = self.policy.costs.executed(
            _stack(live_channel, width[0]), _stack(live_time, width[1])
        )
        return executed.total().double().mean().item() / self.policy.costs.dense

    def shift(self, shifts: Tensor) -> None:
        """Move the biases of the gates for good, (L, 2) as for `predict`."""
        with torch.no_grad():
            for layer, shift in zip(self.layers, shifts, strict=True):
                layer.gate.excite.bias.add_(_levers(layer, shift).to(layer.gate.excite.bias))


def calibrate(shares: Shares, budget: float, margin: float) -> float:
    """Shift gates until the mean executed share lies in a window under the budget.

    The window ends `margin` below the budget, since validation clips take other routes than the
    training clips seen here, and is `DEPTH` deep.

    Returns:
        The share reached. It can lie above the window only where the gates' floor does.
    """
    aim = budget - margin
    seen = shares.measure()
    for attempt in range(MAX_ROUNDS):
        if aim - DEPTH <= seen.share <= aim:
            break
        # predictions err: each further one aims a little deeper into the window
        goal = aim - attempt * DEPTH / MAX_ROUNDS
        shares.shift(_fill(shares, seen, _bisect(shares, seen, goal), goal))
        seen = shares.measure()
    return seen.share


@contextmanager
def shifted(shares: Shares, budget: float, margin: float) -> Iterator[None]:
    """Within the block the gates keep another budget; after it they stand as before, to the bit.

    The weights stay those that were learnt with the gates' own routes.
    """
    before = [copy.deepcopy(layer.gate.state_dict()) for layer in shares.layers]
    try:
        calibrate(shares, budget, margin)
        yield
    finally:
        for layer, state in zip(shares.layers, before, strict=True):
            layer.gate.load_state_dict(state)


def _bisect(shares: Shares, seen: Seen, aim: float) -> Tensor:
    """Return the largest common shift (to 1e-3) whose predicted share is at or under `aim`."""
    low, high = -4.0, 4.0
    everywhere = torch.ones(len(shares.layers), 2)
    while high - low > 1e-3:
        middle = (low + high) / 2
        if shares.predict(seen, middle * everywhere) > aim:
            high = middle
        else:
            low = middle
    return low * everywhere


def _fill(shares: Shares, seen: Seen, shifts: Tensor, aim: float) -> Tensor:
    """Open single gates, the most willing first, while the predicted share stays under `aim`.

    One large layer's gate can move the share across the whole window: then no common shift lands
    in it, but smaller layers fill what is left.
    """
    for layer, axis in _closed_by_willingness(shares, seen, shifts):
        if shares.predict(seen, shifts) >= aim - DEPTH / 2:
            break
        tried = shifts.clone()
        tried[layer, axis] = _opening(shares, seen, layer, axis)
        if shares.predict(seen, tried) <= aim:
            shifts = tried
    return shifts


def _closed_by_willingness(shares: Shares, seen: Seen, shifts: Tensor) -> list[tuple[int, int]]:
    """Layers and axes whose full branch is closed for most clips, nearest to opening first."""
    distance = {
        (layer, axis): _opening(shares, seen, layer, axis) - float(shifts[layer, axis])
        for layer, dynamic in enumerate(shares.layers)
        for axis in (0, 1)
        if dynamic.gate.num_branches[axis] > 1
    }
    closed = [site for site, missing in distance.items() if missing > 0]
    return sorted(closed, key=lambda site: distance[site])


def _opening(shares: Shares, seen: Seen, layer: int, axis: int) -> float:
    """The shift that opens the full branch of an axis for most clips."""
    column = axis * shares.layers[layer].gate.num_branches[0]
    return 1e-3 - float(seen.u[layer][:, column].median())


def _levers(layer: DynamicConv, shift_2: Tensor) -> Tensor:
    """How far each branch moves: the full one all the way, the cheapest not at all."""
    return torch.cat(
        [
            shift * (torch.linspace(1, 0, num) if num > 1 else torch.zeros(1))
            for num, shift in zip(layer.gate.num_branches, shift_2, strict=True)
        ]
    )


def _live(u: Tensor, hardens: bool) -> Tensor:
    live = u > 0
    live[:, -1] |= ~live.any(1)
    if u.shape[1] == 1:
        live[:] = True
    return largest(live) if hardens else live


def _stack(live: list[Tensor], width: int) -> Tensor:
    pad = torch.nn.functional.pad
    return torch.stack([pad(x, (0, width - x.shape[1])) for x in live], dim=1)
