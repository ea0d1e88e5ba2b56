"""Statistics over seeds: an interval for a mean, and whether a difference between methods is real.

With the three to five seeds a video experiment can afford, most differences cannot be shown to be
real by any honest test. What cannot be shown is said in words, not hidden behind a small number.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALPHA = 0.05
CONFIDENCE = 0.95
NUM_RESAMPLES = 2**14
"""Up to 14 pairs every sign flip is enumerated and the p-value exact; beyond, drawn at random."""

_MAX_RESAMPLED = 2**21
"""Numbers resampled at a time: 16 MB, which the processor's cache still helps with."""

_Array = npt.NDArray[np.float64]
_Interval = tuple[float | None, float | None]
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
    return paired_differences([(first, second)], confidence)[0]


def paired_differences(
    pairs: Sequence[tuple[Mapping[int, float], Mapping[int, float]]],
    confidence: float = CONFIDENCE,
) -> list[PairedDifference]:
    """`paired_difference` of each pair: the same numbers, several times as fast."""
    seeds = [sorted(one.keys() & two.keys()) for one, two in pairs]
    rows = [
        np.round([one[seed] - two[seed] for seed in common], _DECIMALS)
        for common, (one, two) in zip(seeds, pairs, strict=True)
    ]
    intervals: list[_Interval] = [(None, None)] * len(pairs)
    p_values: list[float | None] = [None] * len(pairs)
    for indices, block in _blocks(rows):
        found = zip(_bootstrap_intervals(block, confidence), _sign_flip_ps(block), strict=True)
        for index, (interval, p_value) in zip(indices, found, strict=True):
            intervals[index], p_values[index] = interval, p_value
    return [
        PairedDifference(
            mean=statistics.fmean(rows[i].tolist()) if len(rows[i]) else math.nan,
            low=intervals[i][0],
            high=intervals[i][1],
            p_value=p_values[i],
            smallest_p=smallest_p(len(rows[i])),
            n=len(rows[i]),
            unpaired_seeds=tuple(sorted(one.keys() ^ two.keys())),
        )
        for i, (one, two) in enumerate(pairs)
    ]


def _blocks(rows: Sequence[_Array]) -> Iterator[tuple[list[int], _Array]]:
    """Rows of one length stacked, as many as resampling has room for, with where they stood."""
    by_length: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        if len(row):
            by_length.setdefault(len(row), []).append(index)
    for n, indices in by_length.items():
        size = max(1, _MAX_RESAMPLED // (n * NUM_RESAMPLES))
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size]
            yield chosen, np.stack([rows[index] for index in chosen])


def _bootstrap_intervals(block: _Array, confidence: float) -> list[_Interval]:
    if block.shape[1] < 3:
        return [(None, None)] * len(block)
    intervals: list[_Interval] = [(float(row[0]), float(row[0])) for row in block]
    varied = np.flatnonzero(np.ptp(block, axis=1))
    if len(varied):
        from scipy import stats

        interval = stats.bootstrap(
            (block[varied],),
            _mean,
            confidence_level=confidence,
            axis=1,
            method="BCa",
            random_state=np.random.default_rng(0),  # the same records give the same report
        ).confidence_interval
        ends = np.stack([interval.low, interval.high], axis=1)
        for index, (low, high) in zip(varied, ends.tolist(), strict=True):
            intervals[index] = (low, high)
    return intervals


def _mean(values: _Array, axis: int) -> _Array:
    """Mean that adds in one order, however the values lie: else ties would depend on the block."""
    return np.asarray(np.ascontiguousarray(values).mean(axis=axis))


def _sign_flip_ps(block: _Array) -> list[float]:
    if block.shape[1] < 2:
        return [1.0] * len(block)
    p_values = [1.0] * len(block)
    differing = np.flatnonzero(block.any(axis=1))
    if len(differing):
        from scipy import stats

        test = stats.permutation_test(
            (block[differing],),
            _mean,
            permutation_type="samples",
            n_resamples=NUM_RESAMPLES,
            axis=1,
            random_state=np.random.default_rng(0),
        )
        for index, p_value in zip(differing, test.pvalue, strict=True):
            p_values[index] = float(p_value)
    return p_values


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
