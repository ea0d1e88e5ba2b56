"""Batch normalisation in training: statistics forward, and its own gradient. Ours.

PyTorch goes through a contiguous map channel by channel, a few numbers at a time where frames are
small. Here the numbers of a few channels are added up row by row, each for itself, and those of one
channel at the end; where rows are pixels, after every few of them.

Shape legend: R rows of a map, images or clips, or pixels where channels lie last; C channels, K
numbers of a row, B of a few channels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compiled import compiled

BLOCK = 2048
"""Numbers of a row at a time, about: what is kept of each stays in the first level of caches."""

MOST_PIXELS = 64
"""Pixels added up in float32: of a clip's thousands, whose channels lie last, digits would go."""


@compiled
def statistics(rows: Any, chunk: int, eps: Any, first: int, end: int, found: Any) -> None:
    """Find mean, variance and inverse deviation of some channels of (R, K).

    Args:
        rows: (R, K).
        chunk: Rows that are added up at a time.
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
        sums, totals = np.zeros(len(mean) * size, np.float32), np.zeros(len(mean))
        for row in range(0, len(rows), chunk):
            _add_up(rows[row : row + chunk], start * size, sums)
            take_by_channel(sums, totals)
        _divide(totals, count, mean)
        centre = by_number(mean, len(sums))
        totals[:] = 0
        for row in range(0, len(rows), chunk):
            _add_up_squares(rows[row : row + chunk], start * size, centre, sums)
            take_by_channel(sums, totals)
        _divide(totals, count, variance)
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
def take_by_channel(numbers: Any, totals: Any) -> None:
    """Add what belongs to each channel to its total, in float64, and leave zeros."""
    size = len(numbers) // len(totals)
    if size == 1:  # by vectors
        for c in range(len(totals)):
            totals[c] += numbers[c]
    else:
        for c in range(len(totals)):
            total = 0.0
            for b in range(c * size, (c + 1) * size):
                total += numbers[b]
            totals[c] += total
    numbers[:] = 0


@compiled
def _divide(totals: Any, divisor: Any, into: Any) -> None:
    for c in range(len(totals)):
        into[c] = totals[c] / divisor


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
    chunk: int,
    found: Any,
    weight: Any,
    first: int,
    end: int,
    d_weight: Any,
    d_bias: Any,
) -> None:
    """Do what `add_up_gradients` and `put_down` do, by a few channels that stay in the caches."""
    step = max(1, BLOCK // (rows.shape[1] // len(weight)))
    for start in range(first, end, step):
        stop = min(start + step, end)
        add_up_gradients(dz, rows, chunk, found, start, stop, d_weight, d_bias)
        put_down(dz, rows, len(rows), found, weight, start, stop, d_weight, d_bias)


@compiled
def add_up_gradients(
    dz: Any,
    rows: Any,
    chunk: int,
    found: Any,
    first: int,
    end: int,
    d_weight: Any,
    d_bias: Any,
) -> None:
    """Find the gradients of some channels' weight and bias.

    Args:
        dz: (R, K), the gradient of what was normalised.
        rows: (R, K), what went in.
        chunk: See `statistics`.
        found: See `statistics`.
        first: Of the channels to do.
        end: Where they end.
        d_weight: (C,), where to put the gradient.
        d_bias: Likewise.
    """
    size = rows.shape[1] // len(d_weight)
    centre = by_number(found[0, first:end], (end - first) * size)
    sums, alongs = np.zeros_like(centre), np.zeros_like(centre)
    sum_of, along_of = np.zeros(end - first), np.zeros(end - first)
    for row in range(0, len(rows), chunk):
        part = slice(row, row + chunk)
        _add_up_both(dz[part], rows[part], first * size, centre, sums, alongs)
        take_by_channel(sums, sum_of)
        take_by_channel(alongs, along_of)
    _divide(sum_of, 1, d_bias[first:end])
    _divide(along_of, 1, d_weight[first:end])
    for c in range(first, end):
        d_weight[c] *= found[2, c]


@compiled
def put_down(
    dz: Any,
    rows: Any,
    num_rows: int,
    found: Any,
    weight: Any,
    first: int,
    end: int,
    d_weight: Any,
    d_bias: Any,
) -> None:
    """Put the gradient of what went in down, in the place of `dz`.

    Args:
        dz: See `add_up_gradients`, all rows or some.
        rows: Likewise.
        num_rows: How many there are in all.
        found: See `statistics`.
        weight: (C,), of the normalisation.
        first: Of the channels to do.
        end: Where they end.
        d_weight: (C,), the gradient.
        d_bias: Likewise.
    """
    size = rows.shape[1] // len(weight)
    count = num_rows * size
    centre = by_number(found[0, first:end], (end - first) * size)
    steps = np.empty((3, end - first), np.float32)
    for c in range(first, end):
        # float64, since the order of factors is the compiler's, and another in vectors
        inverse_std, factor = np.float64(found[2, c]), np.float64(weight[c])
        steps[0, c - first] = factor * inverse_std
        steps[1, c - first] = -factor * inverse_std * inverse_std * d_weight[c] / count
        steps[2, c - first] = -factor * inverse_std * d_bias[c] / count
    scale, slope, shift = (
        by_number(steps[0], len(centre)),
        by_number(steps[1], len(centre)),
        by_number(steps[2], len(centre)),
    )
    _put_down(dz, rows, first * size, centre, scale, slope, shift)


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
