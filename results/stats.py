"""Statistics over seeds: an interval for a mean, and whether a difference between methods is real.

With the three to five seeds a video experiment can afford, most differences cannot be shown to be
real by any honest test. What cannot be shown is said in words, not hidden behind a small number.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALPHA = 0.05
CONFIDENCE = 0.95
NUM_RESAMPLES = 2**14
"""Up to 14 pairs every sign flip is enumerated and the p-value exact; beyond, drawn at random."""

_DECIMALS = 12
"""Differences are rounded to this: 0.75 - 0.7 and 0.8 - 0.75 are one number, not two."""


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds with its interval. `sd`, `low` and `high` are `None` where `n` < 2."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class PairedDifference:
    """First minus second, over the `n` seeds that both have.

    `low` and `high` are `None` where n < 3, `p_value` where n < 1 (`mean` is NaN then).
    `smallest_p` is what the test would give if every seed agreed as clearly as can be.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    smallest_p: float
    n: int
    unpaired_seeds: tuple[int, ...] = ()


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean, standard deviation and Student's t-interval of independent values.

    The interval is not cut to [0, 1]: with two seeds it may well be wider, which is the truth
    about two seeds. Equal values give an interval of no width.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"`values` must be finite and at least one, but got {list(values)}.")
    n = len(values)
    mean = statistics.fmean(values)
    if n < 2:
        return Estimate(mean, None, None, None, n)
    from scipy.special import stdtrit  # Student's t quantile; scipy.stats takes a second to import

    sd = statistics.stdev(values)
    half_width = float(stdtrit(n - 1, (1 + confidence) / 2)) * sd / math.sqrt(n)
    return Estimate(mean, sd, mean - half_width, mean + half_width, n)


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float], confidence: float = CONFIDENCE
) -> PairedDifference:
    """Mean of first minus second, with a BCa bootstrap interval and a sign-flip p-value.

    The p-value is of the two-sided test that each seed's difference is as likely to be of one sign
    as of the other. The interval (Efron's bias-corrected and accelerated bootstrap) is known to be
    too narrow for few seeds, so it describes; the p-value decides.

    Args:
        first: a value by seed.
        second: a value by seed, of what `first` is compared with.
        confidence: of the interval.

    Returns:
        The difference over the seeds that both have; the others are listed.
    """
    seeds = sorted(first.keys() & second.keys())
    unpaired = tuple(sorted(first.keys() ^ second.keys()))
    differences = np.round([first[seed] - second[seed] for seed in seeds], _DECIMALS)
    n = len(seeds)
    if n == 0:
        return PairedDifference(math.nan, None, None, None, 1.0, 0, unpaired)
    low, high = _bootstrap_interval(differences, confidence)
    return PairedDifference(
        mean=statistics.fmean(differences.tolist()),
        low=low,
        high=high,
        p_value=_sign_flip_p(differences),
        smallest_p=smallest_p(n),
        n=n,
        unpaired_seeds=unpaired,
    )


def _bootstrap_interval(
    differences: npt.NDArray[np.float64], confidence: float
) -> tuple[float | None, float | None]:
    if len(differences) < 3:
        return None, None
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    from scipy import stats

    interval = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=confidence,
        method="BCa",
        random_state=np.random.default_rng(0),  # the same records give the same report
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _sign_flip_p(differences: npt.NDArray[np.float64]) -> float:
    if len(differences) < 2 or not differences.any():
        return 1.0
    from scipy import stats

    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=NUM_RESAMPLES,
        random_state=np.random.default_rng(0),
    )
    return float(test.pvalue)


def smallest_p(n: int) -> float:
    """The smallest two-sided p-value that a sign-flip test of `n` pairs can give."""
    if 2**n > NUM_RESAMPLES:  # scipy counts the data as drawn once more, so never gives 0
        return 2 / (NUM_RESAMPLES + 1)
    return min(1.0, 2.0 ** (1 - n))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    Claiming each that is <= alpha keeps the odds of even one false claim among them at alpha.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


CANNOT = "cannot be significant"
"""How the verdict begins on a difference that no outcome of the seeds there are could show."""


def verdict(
    difference: PairedDifference, p_adjusted: float, num_comparisons: int = 1, alpha: float = ALPHA
) -> str:
    """What may be said of a difference in accuracy, in plain words.

    Args:
        difference: of the accuracies.
        p_adjusted: its p-value, adjusted for the `num_comparisons` made together.
        num_comparisons: how many differences were tested together.
        alpha: the odds of a false claim that are accepted.
    """
    if difference.n == 0:
        return "no seed in common"
    if min(1.0, num_comparisons * difference.smallest_p) > alpha:
        alone = difference.smallest_p <= alpha
        together = f" and {num_comparisons} comparisons" if alone else ""
        return f"{CANNOT} at {alpha:g} with n = {difference.n}{together}"
    if p_adjusted > alpha:
        return "no difference shown"
    return "higher" if difference.mean > 0 else "lower"
