"""Attainment: how far the frontier of single seeds reaches, not that of their means.

For each seed, a method's points over its budgets attain a region: all that executes no less and is
no more accurate. A point's empirical attainment is the share of seeds that attain it (Fonseca and
others, computed by moocore). The surface of half the seeds is the typical frontier of one training;
between a quarter and three quarters lie what luckier and unluckier seeds reach.
"""

from __future__ import annotations

from typing import NamedTuple

from .frontier import Frontier, hypervolume
from .record import Macs
from .stats import Estimate, mean_interval

MIN_SEEDS = 3
"""Fewer seeds have no quartiles worth drawing."""

QUANTILES = (25, 50, 75)


class Attained(NamedTuple):
    """A corner of a surface: so many MACs attain this top-1 accuracy in [0, 1]."""

    macs: float
    top1: float


def attainment(frontier: Frontier, method: str) -> dict[int, list[Attained]]:
    """Surfaces of a method by percentage of the seeds that attain them, each from few MACs up.

    Only of seeds that have every budget which any has: else one that lacks its dearest trial would
    seem to reach less far. Empty with fewer than `MIN_SEEDS` of them, or a single budget.
    """
    whole = _whole_seeds(frontier, method)
    if len(whole) < MIN_SEEDS or len(whole[0]) < 2:
        return {}
    return _surfaces([[Attained(run.mean, top1) for run, top1 in points] for points in whole])


def hypervolume_over_seeds(frontier: Frontier, method: str) -> Estimate | None:
    """Mean of the hypervolumes of single seeds, with a t-interval; None where none is whole."""
    whole = _whole_seeds(frontier, method)
    areas = [hypervolume([(macs.share, top1) for macs, top1 in points]) for points in whole]
    return mean_interval(areas) if areas else None


def _whole_seeds(frontier: Frontier, method: str) -> list[list[tuple[Macs, float]]]:
    """Cost and accuracy at every budget, of each seed that has all of them."""
    cells = [cell for cell in frontier.cells if cell.method == method and cell.n]
    by_seed: dict[int, list[tuple[Macs, float]]] = {}
    for run in (run for cell in cells for run in cell.runs):
        if run.macs and run.accuracy:
            by_seed.setdefault(run.seed, []).append((run.macs, run.accuracy.top1))
    return [points for points in by_seed.values() if len(points) == len(cells)]


def _surfaces(by_seed: list[list[Attained]]) -> dict[int, list[Attained]]:
    import moocore
    import numpy as np

    # moocore minimises both
    points = np.array([[p.macs, -p.top1] for seed in by_seed for p in seed])
    sets = np.repeat(np.arange(len(by_seed)), [len(seed) for seed in by_seed])
    found = moocore.eaf(points, sets, percentiles=list(QUANTILES))
    return {
        quantile: sorted(Attained(macs, -error) for macs, error, at in found if at == quantile)
        for quantile in QUANTILES
    }
