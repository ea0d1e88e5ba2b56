"""The headline: which share of the saving a clock confirms, or why that cannot be said.

Shape legend: A routes, B rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_UNCERTAIN = 0.05
"""A ratio of times is too uncertain where the notch of its median over rounds, which is about its
95 % interval, reaches further than this share of it to either side. More rounds narrow it."""

NOTCH = 1.57
"""Half the notch, in interquartile ranges over the root of n. McGill, Tukey and Larsen 1978."""

LEAST_ROUNDS = 5
LEAST_SAVING = 0.01
"""Below this share of saved multiply-adds rho is noise."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """One figure with its spread.

    Args:
        median: Over rounds and routes.
        rounds_low: First quartile over rounds, each round the median of its routes.
        rounds_high: Third quartile.
        routes_low: Smallest over routes, each route the median of its rounds.
        routes_high: Largest.
        num_rounds: Rounds that counted.
        num_routes: Routes; in a batch every clip of one has its own.
    """

    median: float
    rounds_low: float
    rounds_high: float
    routes_low: float
    routes_high: float
    num_rounds: int
    num_routes: int


def rho(time: Values, dense_time: Values, macs: Values | float, dense_macs: float) -> Values:
    """Return the share of the saved multiply-adds that is saved time too.

    (1 - t / t_dense) / (1 - MACs / MACs_dense), element by element.
    """
    return (1 - time / dense_time) / (1 - np.asarray(macs) / dense_macs)


def spread(values_AB: Values) -> Spread:
    """Return median and spread of a figure of A routes in B rounds."""
    by_round, by_route = np.median(values_AB, axis=0), np.median(values_AB, axis=1)
    low, high = np.percentile(by_round, [25, 75])
    return Spread(
        median=float(np.median(values_AB)),
        rounds_low=float(low),
        rounds_high=float(high),
        routes_low=float(by_route.min()),
        routes_high=float(by_route.max()),
        num_rounds=values_AB.shape[1],
        num_routes=values_AB.shape[0],
    )


def why_not(ratios_AB: Values) -> str:
    """Return why no figure is given from these ratios of times, "" where one may be."""
    if ratios_AB.shape[1] < LEAST_ROUNDS:
        return f"{ratios_AB.shape[1]} rounds; at least {LEAST_ROUNDS} are needed"
    low, high = notch(ratios_AB)
    reach = (high - low) / (high + low)
    if reach > MOST_UNCERTAIN:
        return (
            f"the time ratio is uncertain by {reach:.0%} over "
            f"{ratios_AB.shape[1]} rounds; {MOST_UNCERTAIN:.0%} is the most: repeat more, or wait "
            "for a quieter machine"
        )
    return ""


def notch(ratios_AB: Values) -> tuple[float, float]:
    """Return the ends of the notch about the median over rounds, about its 95 % interval."""
    ratio = spread(ratios_AB)
    reach = NOTCH * (ratio.rounds_high - ratio.rounds_low) / ratio.num_rounds**0.5
    return ratio.median - reach, ratio.median + reach


def why_no_rho(macs: Values, dense_macs: float) -> str:
    """Return why no rho can be given for these multiply-adds, "" where it can."""
    if (1 - macs / dense_macs).min() < LEAST_SAVING:
        return f"less than {LEAST_SAVING:.0%} of the multiply-adds is saved"
    return ""


@dataclass(frozen=True)
class Measured:
    """Times of one variant in one data type and manner.

    Args:
        label: For people.
        seconds_AB: Of the whole batch; one row where routes do not matter.
        nominal_A: Nominal multiply-adds a clip, a mean over the batch.
        executed_A: Executed multiply-adds a clip, likewise.
    """

    label: str
    seconds_AB: Values
    nominal_A: Values
    executed_A: Values

    def pooled(self) -> Measured:
        """Return the mean over routes as if it were one."""
        return Measured(
            self.label,
            self.seconds_AB.mean(0, keepdims=True),
            self.nominal_A.mean(keepdims=True),
            self.executed_A.mean(keepdims=True),
        )

    @property
    def median_s(self) -> float:
        """Seconds of the whole batch."""
        return float(np.median(self.seconds_AB))


@dataclass(frozen=True)
class Headline:
    """What one adaptive variant makes of its saving; a figure is None where `why` has its name.

    Args:
        variant: The adaptive one.
        dtype: Its data type.
        batch: Clips at once; each has its own route.
        own_dense: The dense side of `rho_engine` and `rho_executed`: the same engine.
        best_dense: The dense side of `rho_best`: the fastest of all engines in this data type.
        rho_engine: Nominal rho against `own_dense`.
        rho_best: Nominal rho against `best_dense`.
        rho_executed: Rho of executed multiply-adds against `own_dense`.
        speedup_stock: Time of MMAction2 as it is, in float32, over this one's. No claim rests on
            it: see docs/benchmarking.md.
        why: Name of a figure to the reason that it is not given.
    """

    variant: str
    dtype: str
    batch: int
    own_dense: str | None
    best_dense: str | None
    rho_engine: Spread | None
    rho_best: Spread | None
    rho_executed: Spread | None
    speedup_stock: Spread | None
    why: dict[str, str]


def fastest(measured: Sequence[Measured]) -> Measured | None:
    """Return the one with the smallest median, None of none."""
    return min(measured, key=lambda one: one.median_s, default=None)


def headline(
    adaptive: Measured,
    place: tuple[str, str, int],
    own: Sequence[Measured],
    others: Sequence[Measured],
    stock: Sequence[Measured],
) -> Headline:
    """Judge an adaptive variant.

    Args:
        adaptive: What it took.
        place: Variant, data type and batch.
        own: The same engine's dense variant: the batch at once, and clip by clip.
        others: All dense variants in the same data type, `own` among them.
        stock: MMAction2 as it is, in float32.
    """
    sides = {"own": fastest(own), "best": fastest(others), "stock": fastest(stock)}
    wanted = {
        "rho_engine": (sides["own"], _nominal),
        "rho_best": (sides["best"], _nominal),
        "rho_executed": (sides["own"], _executed),
        "speedup_stock": (sides["stock"], _speedup),
    }
    figures: dict[str, Spread | None] = {}
    why: dict[str, str] = {}
    for name, (dense, figure) in wanted.items():
        given = "its dense side was not timed" if dense is None else figure(adaptive, dense)
        figures[name] = None if isinstance(given, str) else given
        if isinstance(given, str):
            why[name] = given
    variant, dtype, batch = place
    return Headline(
        variant=variant,
        dtype=dtype,
        batch=batch,
        own_dense=_label(sides["own"]),
        best_dense=_label(sides["best"]),
        rho_engine=figures["rho_engine"],
        rho_best=figures["rho_best"],
        rho_executed=figures["rho_executed"],
        speedup_stock=figures["speedup_stock"],
        why=why,
    )


def _label(side: Measured | None) -> str | None:
    return None if side is None else side.label


def _nominal(adaptive: Measured, dense: Measured) -> Spread | str:
    return _rho(adaptive, dense, adaptive.nominal_A, float(dense.nominal_A[0]))


def _executed(adaptive: Measured, dense: Measured) -> Spread | str:
    return _rho(adaptive, dense, adaptive.executed_A, float(dense.executed_A[0]))


def _rho(adaptive: Measured, dense: Measured, macs_A: Values, dense_macs: float) -> Spread | str:
    why = why_not(adaptive.seconds_AB / dense.seconds_AB) or why_no_rho(macs_A, dense_macs)
    if why:
        return why
    return spread(rho(adaptive.seconds_AB, dense.seconds_AB, macs_A[:, None], dense_macs))


def _speedup(adaptive: Measured, stock: Measured) -> Spread | str:
    ratios_AB = stock.seconds_AB / adaptive.seconds_AB
    return why_not(ratios_AB) or spread(ratios_AB)
