"""Dependence: does what a clip executes go with how much the clip moves?

Two looks at one trained recognizer: over its validation clips, whether those that move more execute
more or less (Spearman's rank correlation); and clip by clip, what changes when the motion is taken
away and the picture stays. Intervals are over clips, of one training; other seeds may differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .clips import Clips
from .record import Correlation, Frozen, InputDependence
from .stats import CONFIDENCE, paired_difference

NUM_RESAMPLES = 2000
_MAX_RESAMPLED = 2**19
"""Numbers resampled at a time: ranks of a million and more fall out of the processor's cache."""

_Array = npt.NDArray[np.float64]
_Interval = tuple[float | None, float | None, float | None]


def input_dependence(clips: Clips, frozen: Frozen | None = None) -> InputDependence:
    """What the clips of one trial say; unreadable ones say nothing."""
    points = clips.points()
    value, low, high = rank_correlation([p.motion for p in points], [p.share for p in points])
    return InputDependence(
        num_clips=len(points),
        num_routes=len({clip.route for clip in clips.clips if clip.motion is not None}),
        rank_correlation=value,
        low=low,
        high=high,
        frozen=frozen,
        frames=_frames(clips),
    )


def _frames(clips: Clips) -> Correlation:
    """Do clips that move more compute more of their frames, whatever of their channels?"""
    shares = [math.fsum(route.frames) / len(route.frames) for route in clips.routes]
    moving = [c for c in clips.clips if c.motion is not None and c.route is not None]
    computed = [shares[clip.route or 0] for clip in moving]
    value, low, high = rank_correlation([clip.motion or 0.0 for clip in moving], computed)
    return Correlation(value=value, low=low, high=high)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> _Interval:
    """Spearman's rank correlation with its 95 % percentile bootstrap interval over pairs.

    A resample in which one of the two does not vary counts as 0: it shows no order. The same
    numbers give the same interval.

    Returns:
        Value, low and high; all `None` where there are fewer than three pairs, or one of the two
        does not vary.
    """
    pairs = np.array([first, second], np.float64)
    if pairs.shape[1] < 3 or not np.ptp(pairs, axis=1).all():
        return None, None, None
    random = np.random.default_rng(0)
    n = pairs.shape[1]
    step = max(1, _MAX_RESAMPLED // n)
    drawn = [
        _correlations(pairs[:, random.integers(n, size=(min(step, NUM_RESAMPLES - start), n))])
        for start in range(0, NUM_RESAMPLES, step)
    ]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(drawn), [tail, 100 - tail])
    return float(_correlations(pairs[:, None])[0]), float(low), float(high)


def _correlations(pairs_2RN: _Array) -> _Array:
    """Rank correlations of R resamples of N pairs; 0 where one of the two does not vary."""
    from scipy.stats import rankdata

    ranks = rankdata(pairs_2RN, axis=-1)
    centred = ranks - ranks.mean(-1, keepdims=True)
    norm = np.sqrt((centred**2).sum(-1).prod(0))
    product = (centred[0] * centred[1]).sum(-1)
    correlations: _Array = np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
    return correlations


def against_frozen(moving: Sequence[float], frozen: Sequence[float]) -> Frozen:
    """Executed shares of the same clips, as they move and frozen, paired by clip."""
    difference = paired_difference(dict(enumerate(frozen)), dict(enumerate(moving)))
    return Frozen(
        num_clips=difference.n,
        share=math.fsum(frozen) / len(frozen),
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
    )
