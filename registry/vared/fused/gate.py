"""What a gate sees, its decision, and its gradients. Ours.

Shape legend: N clips; R rows of a map, images or clips, C channels, P places of a row in time, H
height, W width; D hidden units, S branches of both axes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..compiled import add_scaled, compiled, dot
from .normalisation import by_channel


@compiled
def count_of(x: Any, stride: int, num_clips: int) -> Any:
    """Return how many numbers a mean is of, given (R, C, P, H, W)."""
    seen_places = -(-x.shape[3] // stride) * -(-x.shape[4] // stride)
    return len(x) // num_clips * x.shape[2] * seen_places


@compiled
def look(x: Any, stride: int, first: int, end: int, seen: Any) -> None:
    """Put down the mean over every so many rows and columns of some clips.

    Args:
        x: (R, C, P, H, W).
        stride: From one row and column that is seen to the next.
        first: Of the clips to do.
        end: Where they end.
        seen: (N, C), where to put the means.
    """
    num_rows = len(x) // len(seen)
    rows = x.reshape(len(x), -1)
    count = count_of(x, stride, len(seen))
    sums = np.empty(rows.shape[1], np.float32)
    for n in range(first, end):
        sums[:] = rows[n * num_rows]
        for r in range(n * num_rows + 1, (n + 1) * num_rows):
            add_scaled(np.float32(1), rows[r], sums)
        if stride == 1:
            by_channel(sums, count, seen[n])
        else:
            _by_channel_apart(sums.reshape(x.shape[1:]), stride, count, seen[n])


@compiled
def _by_channel_apart(places: Any, stride: int, count: int, seen: Any) -> None:
    _, num_places, height, width = places.shape
    for c in range(len(seen)):
        total = 0.0
        for p in range(num_places):
            for h in range(0, height, stride):
                for w in range(0, width, stride):
                    total += places[c, p, h, w]
        seen[c] = total / count


@compiled
def decide(
    seen: Any,
    squeeze: Any,
    squeeze_bias: Any,
    scale: Any,
    shift: Any,
    excite: Any,
    excite_bias: Any,
    eps: float,
    all_off: Any,
    first: int,
    end: int,
    channel: Any,
    time: Any,
    before: Any,
    units: Any,
    inverse_std: Any,
) -> None:
    """Do what `gate.Gate` does, for some clips.

    Args:
        seen: (N, C), means.
        squeeze: (D, C), weights of the first fully connected layer.
        squeeze_bias: (D,).
        scale: (D,), of the layer normalisation, as is the next.
        shift: (D,).
        excite: (S, D), weights of the second fully connected layer.
        excite_bias: (S,).
        eps: Of the normalisation.
        all_off: Weight of the cheapest branch where all are closed.
        first: Of the clips to do.
        end: Where they end.
        channel: (N, S_channel), where to put weights.
        time: (N, S_time), likewise.
        before: (N, S), likewise for pre-activations of both.
        units: (2, N, D), likewise for hidden units, as the normalisation and as the activation
            makes them.
        inverse_std: (N,), likewise for inverse deviations.
    """
    for n in range(first, end):
        standard, hidden, u = units[0, n], units[1, n], before[n]
        for d in range(len(standard)):
            standard[d] = dot(squeeze[d], seen[n]) + squeeze_bias[d]
        inverse_std[n] = _standardise(standard, eps)
        for d in range(len(standard)):
            hidden[d] = math.tanh(scale[d] * standard[d] + shift[d])
        for s in range(len(u)):
            u[s] = dot(excite[s], hidden) + excite_bias[s]
        num_channel = channel.shape[1]
        _open(u[:num_channel], all_off, channel[n])
        _open(u[num_channel:], all_off, time[n])


@compiled
def _standardise(units: Any, eps: float) -> Any:
    """Standardise in place; return the inverse deviation."""
    mean, variance = np.float32(0), np.float32(0)
    for d in range(len(units)):
        mean += units[d]
    mean /= len(units)
    for d in range(len(units)):
        units[d] -= mean
        variance += units[d] * units[d]
    inverse_std = np.float32(1 / math.sqrt(variance / len(units) + eps))
    for d in range(len(units)):
        units[d] *= inverse_std
    return inverse_std


@compiled
def _open(u: Any, all_off: Any, weights: Any) -> None:
    """Weights of one axis: the cheapest branch opens where all close, a single one weighs 1."""
    if len(weights) == 1:
        weights[0] = 1
        return
    total = np.float32(0)
    for s in range(len(weights)):
        weights[s] = max(math.tanh(u[s]), np.float32(0))
        total += weights[s]
    if total <= 0:
        weights[-1] += all_off


@compiled
def learn(
    d_channel: Any,
    d_time: Any,
    seen: Any,
    count: int,
    squeeze: Any,
    scale: Any,
    excite: Any,
    before: Any,
    units: Any,
    inverse_std: Any,
    leaks: bool,
    d_places: Any,
    d_squeeze: Any,
    d_squeeze_bias: Any,
    d_scale: Any,
    d_shift: Any,
    d_excite: Any,
    d_excite_bias: Any,
) -> None:
    """Put down the gradients of `decide`.

    Args:
        d_channel: (N, S_channel), those of its weights.
        d_time: (N, S_time).
        seen: What `look` made.
        count: How many numbers each mean is of.
        squeeze: What `decide` took, as are the next two.
        scale: See above.
        excite: See above.
        before: What it made, as are the next two.
        units: See above.
        inverse_std: See above.
        leaks: Whether closed branches have a gradient.
        d_places: (R, C), where to put that of each number that it sees.
        d_squeeze: Likewise for its parameters, as are all that follow.
        d_squeeze_bias: See above.
        d_scale: See above.
        d_shift: See above.
        d_excite: See above.
        d_excite_bias: See above.
    """
    num_channel, num_hidden = d_channel.shape[1], len(scale)
    d_squeeze[:] = 0
    d_squeeze_bias[:] = 0
    d_scale[:] = 0
    d_shift[:] = 0
    d_excite[:] = 0
    d_excite_bias[:] = 0
    du = np.empty(len(excite), np.float32)
    d_units = np.empty(num_hidden, np.float32)
    d_seen = np.empty(seen.shape[1], np.float32)
    for n in range(len(seen)):
        standard, hidden, u = units[0, n], units[1, n], before[n]
        _close(u[:num_channel], d_channel[n], leaks, du[:num_channel])
        _close(u[num_channel:], d_time[n], leaks, du[num_channel:])
        d_units[:] = 0
        for s in range(len(excite)):
            d_excite_bias[s] += du[s]
            add_scaled(du[s], hidden, d_excite[s])
            add_scaled(du[s], excite[s], d_units)
        for d in range(num_hidden):
            slope = d_units[d] * (1 - hidden[d] * hidden[d])
            d_scale[d] += slope * standard[d]
            d_shift[d] += slope
            d_units[d] = slope * scale[d]
        _unstandardise(d_units, standard, inverse_std[n])
        d_seen[:] = 0
        for d in range(num_hidden):
            d_squeeze_bias[d] += d_units[d]
            add_scaled(d_units[d], seen[n], d_squeeze[d])
            add_scaled(d_units[d] / count, squeeze[d], d_seen)
        rows_of_clip = len(d_places) // len(seen)
        d_places[n * rows_of_clip : (n + 1) * rows_of_clip] = d_seen


@compiled
def _close(u: Any, d_weights: Any, leaks: bool, du: Any) -> None:
    for s in range(len(du)):
        value = math.tanh(u[s])
        du[s] = d_weights[s] * (1 - value * value)
        if len(du) == 1 or not (leaks or value > 0):
            du[s] = 0


@compiled
def _unstandardise(d_units: Any, standard: Any, inverse_std: Any) -> None:
    """From the gradient of what the normalisation made to that of what went in, in place."""
    total, along = np.float32(0), np.float32(0)
    for d in range(len(d_units)):
        total += d_units[d]
        along += d_units[d] * standard[d]
    for d in range(len(d_units)):
        inner = d_units[d] - (total + standard[d] * along) / len(d_units)
        d_units[d] = inverse_std * inner
