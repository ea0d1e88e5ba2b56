"""Batch normalisation in training: statistics forward, and its own gradient. Ours.

PyTorch goes through a contiguous map channel by channel, a few numbers at a time where frames are
small. Here the numbers of a few channels are added up row by row, each for itself, and those of one
channel at the end.

Shape legend: R rows of a map, images or clips; C channels, K numbers of a row, B of a few channels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compiled import compiled

BLOCK = 2048
"""Numbers of a row at a time, about: what is kept of each stays in the first level of caches."""


@compiled
def statistics(rows: Any, eps: Any, first: int, end: int, found: Any) -> None:
    """Find mean, variance and inverse deviation of some channels of (R, K).

    Args:
        rows: (R, K).
        eps: What a variance is taken to be larger by.
        first: Of the channels to do.
        end: Where they end.
        found: (3, C), where to put it.
    """
    size = rows.shape[1] // found.shape[1]
    count = len(rows) * size
    step = max(1, BLOCK // size)
    for start in range(first, end, step):
        stop = min(start + step, end)
        mean, variance = found[0, start:stop], found[1, start:stop]
        sums = np.zeros(len(mean) * size, np.float32)
        _add_up(rows, start * size, sums)
        by_channel(sums, count, mean)
        centre = by_number(mean, len(sums))
        sums[:] = 0
        _add_up_squares(rows, start * size, centre, sums)
        by_channel(sums, count, variance)
    for c in range(first, end):
        found[2, c] = 1 / math.sqrt(found[1, c] + eps)


@compiled
def _add_up(rows: Any, start: int, sums: Any) -> None:
    for r in range(len(rows)):
        row = rows[r, start : start + len(sums)]
        for b in range(len(sums)):
            sums[b] += row[b]


@compiled
def _add_up_squares(rows: Any, start: int, centre: Any, sums: Any) -> None:
    for r in range(len(rows)):
        row = rows[r, start : start + len(sums)]
        for b in range(len(sums)):
            difference = row[b] - centre[b]
            sums[b] += difference * difference


@compiled
def by_channel(numbers: Any, divisor: Any, sums: Any) -> None:
    """Add up what belongs to each channel, and divide it."""
    size = len(numbers) // len(sums)
    for c in range(len(sums)):
        total = 0.0
        for b in range(c * size, (c + 1) * size):
            total += numbers[b]
        sums[c] = total / divisor


@compiled
def by_number(values: Any, num_numbers: int) -> Any:
    """Return each channel's value for each of its numbers."""
    size = num_numbers // len(values)
    numbers = np.empty(num_numbers, np.float32)
    for c in range(len(values)):
        numbers[c * size : (c + 1) * size] = values[c]
    return numbers


@compiled
def remember(
    found: Any, count: int, momentum: Any, first: int, end: int, mean: Any, variance: Any
) -> None:
    """Take a batch's statistics of some channels into the running ones, as PyTorch does."""
    for c in range(first, end):
        unbiased = found[1, c] * count / (count - 1)
        mean[c] += momentum * (found[0, c] - mean[c])
        variance[c] += momentum * (unbiased - variance[c])


@compiled
def unnormalise(
    dz: Any,
    rows: Any,
    found: Any,
    weight: Any,
    first: int,
    end: int,
    d_weight: Any,
    d_bias: Any,
) -> None:
    """From the gradient of what was normalised, (R, K), to that of what went in, in its place.

    Args:
        dz: (R, K).
        rows: What went in.
        found: See `statistics`.
        weight: (C,), of the normalisation.
        first: Of the channels to do.
        end: Where they end.
        d_weight: (C,), where to put the gradient.
        d_bias: Likewise.
    """
    size = rows.shape[1] // len(weight)
    count = len(rows) * size
    step = max(1, BLOCK // size)
    for start in range(first, end, step):
        stop = min(start + step, end)
        centre = by_number(found[0, start:stop], (stop - start) * size)
        totals, alongs = np.zeros_like(centre), np.zeros_like(centre)
        _add_up_both(dz, rows, start * size, centre, totals, alongs)
        by_channel(totals, 1, d_bias[start:stop])
        by_channel(alongs, 1, d_weight[start:stop])
        steps = np.empty((3, stop - start), np.float32)
        for c in range(start, stop):
            inverse_std = found[2, c]
            d_weight[c] *= inverse_std
            steps[0, c - start] = weight[c] * inverse_std
            steps[1, c - start] = -weight[c] * inverse_std * inverse_std * d_weight[c] / count
            steps[2, c - start] = -weight[c] * inverse_std * d_bias[c] / count
        scale, slope, shift = (
            by_number(steps[0], len(centre)),
            by_number(steps[1], len(centre)),
            by_number(steps[2], len(centre)),
        )
        _put_down(dz, rows, start * size, centre, scale, slope, shift)


@compiled
def _add_up_both(dz: Any, rows: Any, start: int, centre: Any, totals: Any, alongs: Any) -> None:
    for r in range(len(rows)):
        row, d_row = rows[r, start : start + len(centre)], dz[r, start : start + len(centre)]
        for b in range(len(centre)):
            totals[b] += d_row[b]
            alongs[b] += d_row[b] * (row[b] - centre[b])


@compiled
def _put_down(
    dz: Any, rows: Any, start: int, centre: Any, scale: Any, slope: Any, shift: Any
) -> None:
    for r in range(len(rows)):
        row, d_row = rows[r, start : start + len(centre)], dz[r, start : start + len(centre)]
        for b in range(len(centre)):
            d_row[b] = scale[b] * d_row[b] + slope[b] * (row[b] - centre[b]) + shift[b]
