"""Calibration: shift all gates together until the executed share lies in its window. Ours.

A shift of one number moves the pre-activation of every full branch; where it falls below zero the
branch closes. The share is monotone in the shift, so a bisection finds it: first on the
pre-activations seen in one pass (cheap), then checked by running the clips again, since a gate's
input depends on the routes before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .dynamic import DynamicConv
from .policy import Policy

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

    def predict(self, seen: Seen, shift: float) -> float:
        """Return the share that shifted pre-activations would give, gate inputs unchanged."""
        live_channel, live_time = [], []
        for layer, u in zip(self.layers, seen.u, strict=True):
            moved = u + shift * _lever(layer, u)
            channel, time = torch.split(moved, list(layer.gate.num_branches), dim=1)
            live_channel.append(_live(channel))
            live_time.append(_live(time))
        width = [max(x.shape[1] for x in live) for live in (live_channel, live_time)]
        executed = self.policy.costs.executed(
            _stack(live_channel, width[0]), _stack(live_time, width[1])
        )
        return executed.total().double().mean().item() / self.policy.costs.dense

    def shift(self, amount: float) -> None:
        """Move the biases of all gates for good."""
        with torch.no_grad():
            for layer in self.layers:
                bias = layer.gate.excite.bias
                bias.add_(_lever(layer, bias[None])[0], alpha=amount)


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
        shares.shift(_bisect(shares, seen, aim - attempt * DEPTH / MAX_ROUNDS))
        seen = shares.measure()
    return seen.share


def _bisect(shares: Shares, seen: Seen, aim: float) -> float:
    """Return the largest shift (to 1e-3) whose predicted share is at or under `aim`."""
    low, high = -4.0, 4.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        if shares.predict(seen, middle) > aim:
            high = middle
        else:
            low = middle
    return low


def _lever(layer: DynamicConv, u: Tensor) -> Tensor:
    """How far each branch moves: the full one by 1, the cheapest not at all, evenly between."""
    levers = []
    for num in layer.gate.num_branches:
        levers.append(torch.linspace(1, 0, num) if num > 1 else torch.zeros(1))
    return torch.cat(levers).to(u).expand_as(u)


def _live(u: Tensor) -> Tensor:
    live = u > 0
    live[:, -1] |= ~live.any(1)
    if u.shape[1] == 1:
        live[:] = True
    return live


def _stack(live: list[Tensor], width: int) -> Tensor:
    pad = torch.nn.functional.pad
    return torch.stack([pad(x, (0, width - x.shape[1])) for x in live], dim=1)
