"""Policy: what the gates of one recognizer decided in its last forward, and what that costs.

One plain object is shared by all dynamic layers of a recognizer. Layers write their decision into
it; the loss, the controller and the evaluation read it. It also carries what a forward must know
from outside: the number of clips folded into the batch, forced routes, and whether to skip.

Shape legend: N clips, L layers, S branches of an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .cost import CostTable, Executed


@dataclass(frozen=True)
class Decision:
    """Gate weights of one layer, (N, S_channel) and (N, S_time), and pre-activations (N, S)."""

    channel: Tensor
    time: Tensor
    u: Tensor | None = None

    def hardened(self) -> Decision:
        """Return the decision with the largest live branch of each axis at one, others at zero."""
        return Decision(largest(self.channel > 0).float(), largest(self.time > 0).float(), self.u)


@dataclass
class Policy:
    """See the module.

    Args:
        costs: What every layer costs on every route.
    """

    costs: CostTable
    num_clips: int = 1
    skip: bool = True
    """In eval, compute only what is live. False runs everything and masks: the training path."""
    full: bool = False
    """Force every gate to its full branch: the dense recognizer."""
    frozen: bool = False
    """Gates get no gradient."""
    routes: Tensor | None = None
    """Forced routes, integers (N or 1, L, 2): branch index on the channel and time axis."""
    runs_gates: bool = False
    """Run the gates although routes are forced, and ignore what they say: for timing."""
    efficiency_weight: float = 0.0
    decisions: dict[int, Decision] = field(default_factory=dict)
    looks: dict[int, Tensor] = field(default_factory=dict)
    """What gates saw of a layer's input in this forward, for those that see the same."""
    scores: Tensor | None = None

    def forget(self) -> None:
        """Drop what the last forward left."""
        self.decisions = {}
        self.looks = {}
        self.scores = None

    def forced(self, layer: int, num_branches: tuple[int, int]) -> Decision | None:
        """Return the forced decision of a layer, one-hot, or None where its gate decides."""
        if self.full:
            return Decision(*(_one_hot(torch.zeros(self.num_clips), s) for s in num_branches))
        if self.routes is None:
            return None
        route_N2 = self.routes[:, layer].expand(self.num_clips, 2)
        return Decision(*(_one_hot(route_N2[:, i], s) for i, s in enumerate(num_branches)))

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Return gate weights of all layers (N, L, S_channel) and (N, L, S_time), zero-padded."""
        ordered = [self.decisions[i] for i in range(len(self.costs))]
        return _padded([d.channel for d in ordered]), _padded([d.time for d in ordered])

    def executed(self) -> Executed:
        """Return what each clip of the last forward executed, layer by layer.

        Gates that are forced do not run, and cost nothing, unless `runs_gates`.
        """
        channel, time = self.stacked()
        executed = self.costs.executed(channel > 0, time > 0)
        is_forced = self.full or self.routes is not None
        if is_forced and not self.runs_gates:
            return replace(executed, gate=executed.gate * 0)
        return executed

    def share(self) -> Tensor:
        """Return the executed share of the dense MACs per clip (N,), with a gradient to the gates.

        The value is exact for the largest live branches; the gradient is that of the soft mean of
        each axis (ours: how the paper's gradient passes the largest live branch is unknown).
        """
        return self.costs.soft_share(*self.stacked())


def largest(live: Tensor) -> Tensor:
    """Return booleans (..., S) with the first of the live branches alone: the largest comes first.

    At least one a row is live.
    """
    return live & (live.cumsum(-1) == 1)


def _one_hot(index_N: Tensor, num_branches: int) -> Tensor:
    clamped = index_N.clamp_max(num_branches - 1)
    return (clamped[:, None] == torch.arange(num_branches).to(clamped)).float()


def _padded(weights: Sequence[Tensor]) -> Tensor:
    width = max(w.shape[1] for w in weights)
    pad = torch.nn.functional.pad
    return torch.stack(
        [w if w.shape[1] == width else pad(w, (0, width - w.shape[1])) for w in weights], dim=1
    )
