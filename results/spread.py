"""Spread: how executed multiply-adds differ from clip to clip, and where the layers save them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os.path import commonprefix

from .frontier import Cell, Frontier
from .record import Macs
from .shortlist import cell_name, shortlist

MAX_DISTRIBUTIONS = 200
MAX_POLICIES = 60
FULL = 0.995
"""A layer that computes more than this saves nothing worth a colour."""


@dataclass(frozen=True)
class Distribution:
    """Executed MACs over the clips of one cell, as shares of the dense recognizer's.

    `low` and `high` are the extremes over all its seeds; the others are means over the seeds.
    """

    name: str
    budget: float | None
    low: float
    p5: float
    p50: float
    mean: float
    p95: float
    high: float

    @property
    def is_same_for_all(self) -> bool:
        """Whether every clip executes the same."""
        return self.low == self.high


@dataclass(frozen=True)
class DistributionPanel:
    """The distributions of one (dataset, recognizer), on an axis from 0 to `top`."""

    name: str
    rows: tuple[Distribution, ...]

    @property
    def top(self) -> float:
        """Where the axis ends."""
        return max(1.0, *(row.high for row in self.rows))


@dataclass(frozen=True)
class Policy:
    """What one cell computes in each layer, as shares of frames and channels, by layer."""

    name: str
    n: int
    frames: dict[str, float]
    channels: dict[str, float]

    @property
    def told(self) -> str:
        """How many layers save, in words."""
        frames, channels = (
            sum(share < FULL for share in shares.values())
            for shares in (self.frames, self.channels)
        )
        return f"{frames} of {len(self.frames)} layers save frames, {channels} save channels"


@dataclass(frozen=True)
class PolicyMap:
    """The policies of one (dataset, recognizer), whose layers run from input to output."""

    name: str
    layers: tuple[str, ...]
    prefix: str
    """What all layers' names begin with."""
    policies: tuple[Policy, ...]


def distributions(frontiers: Sequence[Frontier]) -> tuple[list[DistributionPanel], int]:
    """One panel a frontier, and how many cells were left out of them."""
    chosen = shortlist(frontiers, MAX_DISTRIBUTIONS, lambda cell: cell.n > 0)
    panels = [
        DistributionPanel(_title(panel), tuple(_distribution(cell) for cell in cells))
        for panel, cells in chosen.panels
    ]
    return panels, chosen.num_left_out


def policy_maps(frontiers: Sequence[Frontier]) -> tuple[list[PolicyMap], int]:
    """One map a frontier whose recognizers have gates, and how many cells were left out."""
    chosen = shortlist(frontiers, MAX_POLICIES, lambda cell: any(r.routes for r in cell.runs))
    return [_policy_map(panel, cells) for panel, cells in chosen.panels], chosen.num_left_out


def _title(frontier: Frontier) -> str:
    return f"{frontier.recognizer} on {frontier.dataset}"


def _distribution(cell: Cell) -> Distribution:
    found = [run.macs for run in cell.runs if run.macs]

    def mean(part: Callable[[Macs], float]) -> float:
        return statistics.fmean(part(macs) / macs.dense for macs in found)

    return Distribution(
        cell_name(cell),
        cell.budget,
        low=min(macs.min / macs.dense for macs in found),
        p5=mean(lambda m: m.p5),
        p50=mean(lambda m: m.p50),
        mean=mean(lambda m: m.mean),
        p95=mean(lambda m: m.p95),
        high=max(macs.max / macs.dense for macs in found),
    )


def _policy_map(frontier: Frontier, cells: Iterable[Cell]) -> PolicyMap:
    policies = tuple(_policy(cell) for cell in cells)
    layers = tuple(dict.fromkeys(name for policy in policies for name in policy.frames))
    prefix = commonprefix(layers).rpartition(".")[0]
    return PolicyMap(_title(frontier), layers, f"{prefix}." if prefix else "", policies)


def _policy(cell: Cell) -> Policy:
    routes = [run.routes for run in cell.runs if run.routes]
    layers = dict.fromkeys(name for route in routes for name in route)

    def mean(axis: str) -> dict[str, float]:
        return {
            layer: statistics.fmean(route[layer][axis] for route in routes if layer in route)
            for layer in layers
        }

    return Policy(cell_name(cell), len(routes), frames=mean("frames"), channels=mean("channels"))
