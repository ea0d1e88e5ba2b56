"""What a gate sees, its decision, and its gradients. Ours.

Shape legend: N clips; R rows of a map, images or clips, C channels, P places of a row in time, H
height, W width; D hidden units, S branches of both axes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..compiled import add_scaled, compiled, dot
from .normalisation import take_by_channel


class Parameters(NamedTuple):
    """Those of a gate, or their gradients.

    Args:
        squeeze: (D, C), weights of the first fully connected layer.
        squeeze_bias: (D,).
        scale: (D,), of the layer normalisation.
        shift: (D,), likewise.
        excite: (S, D), weights of the second fully connected layer.
        excite_bias: (S,).
    """

    squeeze: Any
    squeeze_bias: Any
    scale: Any
    shift: Any
    excite: Any
    excite_bias: Any


class Decided(NamedTuple):
    """What a gate decided, and what its gradients need of how it came to it.

    Args:
        channel: (N, S_channel), weights.
        time: (N, S_time), weights.
        before: (N, S), pre-activations of both.
        units: (2, N, D), hidden units as the normalisation and as the activation makes them.
        inverse_std: (N,), inverse deviations.
    """

    channel: Any
    time: Any
    before: Any
    units: Any
    inverse_std: Any


@compiled
def look(x: Any, stride: int, count: int, first: int, end: int, seen: Any) -> None:
    """Put down the mean over every so many rows and columns of some clips.

    Args:
        x: (R, C, P, H, W).
        stride: From one row and column that is seen to the next.
        count: How many numbers each mean is of.
        first: Of the clips to do.
        end: Where they end.
        seen: (N, C), where to put the means.
    """
    num_rows = len(x) // len(seen)
    rows = x.reshape(len(x), -1)
    sums = np.empty(rows.shape[1], np.float32)
    totals = np.zeros(seen.shape[1])
    for n in range(first, end):
        sums[:] = rows[n * num_rows]
        for r in range(n * num_rows + 1, (n + 1) * num_rows):
            add_scaled(np.float32(1), rows[r], sums)
        if stride == 1:
            take_by_channel(sums, totals)
        else:
            _take_apart(sums.reshape(x.shape[1:]), stride, totals)
        _put_mean(totals, count, seen[n])


@compiled
def _take_apart(places: Any, stride: int, totals: Any) -> None:
    _, num_places, height, width = places.shape
    for c in range(len(totals)):
        for p in range(num_places):
            for h in range(0, height, stride):
                for w in range(0, width, stride):
                    totals[c] += places[c, p, h, w]


@compiled
def look_last(x: Any, stride: int, count: int, first: int, end: int, seen: Any) -> None:
    """Do what `look` does, where channels lie last: x is (R, P, H, W, C)."""
    num_rows, height, width = len(x) // len(seen), x.shape[2], x.shape[3]
    sums, totals = np.zeros(seen.shape[1], np.float32), np.zeros(seen.shape[1])
    for n in range(first, end):
        for r in range(n * num_rows, (n + 1) * num_rows):
            for p in range(x.shape[1]):
                for h in range(0, height, stride):
                    for w in range(0, width, stride):
                        add_scaled(np.float32(1), x[r, p, h, w], sums)
                    take_by_channel(sums, totals)
        _put_mean(totals, count, seen[n])


@compiled
def _put_mean(totals: Any, count: int, seen: Any) -> None:
    """Put totals by a count, and leave zeros."""
    for c in range(len(totals)):
        seen[c] = totals[c] / count
    totals[:] = 0


@compiled
def decide(
    seen: Any, gate: Any, eps: float, all_off: Any, first: int, end: int, decided: Any
) -> None:
    """Do what `gate.Gate` does, for some clips.

    Args:
        seen: (N, C), means.
        gate: Its `Parameters`.
        eps: Of the normalisation.
        all_off: Weight of the cheapest branch where all are closed.
        first: Of the clips to do.
        end: Where they end.
        decided: `Decided`, where to put it.
    """
    num_channel = decided.channel.shape[1]
    for n in range(first, end):
        standard, hidden, u = decided.units[0, n], decided.units[1, n], decided.before[n]
        for d in range(len(standard)):
            standard[d] = dot(gate.squeeze[d], seen[n]) + gate.squeeze_bias[d]
        decided.inverse_std[n] = _standardise(standard, eps)
        for d in range(len(standard)):
            hidden[d] = math.tanh(gate.scale[d] * standard[d] + gate.shift[d])
        for s in range(len(u)):
            u[s] = dot(gate.excite[s], hidden) + gate.excite_bias[s]
        _open(u[:num_channel], all_off, decided.channel[n])
        _open(u[num_channel:], all_off, decided.time[n])


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
    gate: Any,
    decided: Any,
    leaks: bool,
    d_places: Any,
    d_gate: Any,
) -> None:
    """Put down the gradients of `decide`.

    Args:
        d_channel: (N, S_channel), those of its weights.
        d_time: (N, S_time).
        seen: What `look` made.
        count: How many numbers each mean is of.
        gate: What `decide` took.
        decided: What it made.
        leaks: Whether closed branches have a gradient.
        d_places: (R, C), where to put that of each number that it sees.
        d_gate: Likewise for its `Parameters`.
    """
    num_channel, num_hidden = d_channel.shape[1], len(gate.scale)
    _clear(d_gate)
    du = np.empty(len(gate.excite), np.float32)
    d_units = np.empty(num_hidden, np.float32)
    d_seen = np.empty(seen.shape[1], np.float32)
    for n in range(len(seen)):
        standard, hidden, u = decided.units[0, n], decided.units[1, n], decided.before[n]
        _close(u[:num_channel], d_channel[n], leaks, du[:num_channel])
        _close(u[num_channel:], d_time[n], leaks, du[num_channel:])
        d_units[:] = 0
        for s in range(len(du)):
            d_gate.excite_bias[s] += du[s]
            add_scaled(du[s], hidden, d_gate.excite[s])
            add_scaled(du[s], gate.excite[s], d_units)
        for d in range(num_hidden):
            slope = d_units[d] * (1 - hidden[d] * hidden[d])
            d_gate.scale[d] += slope * standard[d]
            d_gate.shift[d] += slope
            d_units[d] = slope * gate.scale[d]
        _unstandardise(d_units, standard, decided.inverse_std[n])
        d_seen[:] = 0
        for d in range(num_hidden):
            d_gate.squeeze_bias[d] += d_units[d]
            add_scaled(d_units[d], seen[n], d_gate.squeeze[d])
            add_scaled(d_units[d] / count, gate.squeeze[d], d_seen)
        rows_of_clip = len(d_places) // len(seen)
        d_places[n * rows_of_clip : (n + 1) * rows_of_clip] = d_seen


@compiled
def _clear(parameters: Any) -> None:
    parameters.squeeze[:] = 0
    parameters.squeeze_bias[:] = 0
    parameters.scale[:] = 0
    parameters.shift[:] = 0
    parameters.excite[:] = 0
    parameters.excite_bias[:] = 0


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
