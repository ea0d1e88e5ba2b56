"""All gates that see the same map, in one call of compiled code. Ours.

A gate is a few thousand multiply-adds. What it takes is the way there and the memory touched on
it, which has left the caches whenever a convolution has run. One address is a shorter way than a
dozen arrays. Threads share the reading; one of them decides.

Shape legend: as in `values`; R rows of data, K numbers that a gate sees, D hidden units and S
branches of all gates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from ctypes import Structure, byref, c_double, c_int64
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import carray  # type: ignore[attr-defined]

from ..compiled import Array, add_scaled, compiled, dot, pointer
from ..team import (
    TeamPass,
    num_threads,
    share_of,
    team_size,
    thread_number,
    wait_for_all,
)
from .kernels import sum_frame
from .numbers import number_type

_PARTS = 11
APART = 32
"""Numbers between what one thread writes and what the next does: two lines of a cache."""


class _Told(Structure):
    """What a pass is told: where map, numbers and answers lie, where parts of the numbers start."""

    _fields_ = (
        ("data", c_int64),
        ("numbers", c_int64),
        ("live", c_int64),
        ("shape", c_int64 * 4),
        ("stride", c_int64),
        ("norm_size", c_int64),
        ("starts", c_int64 * (_PARTS + 1)),
        ("scale", c_double),
        ("eps", c_double),
    )


class GateNumbers(NamedTuple):
    """Weights of gates that see the same.

    Args:
        squeeze: (D, K), the first layers of all gates.
        squeeze_bias: (D,); both so that hidden units add up to zero where they are normalised.
        norm_size: Hidden units of a gate; 0: they are not normalised.
        norm_eps: As in `torch.nn.LayerNorm`.
        norm_weight: (D,), empty where they are not normalised.
        norm_bias: As `norm_weight`.
        weight: (S, D), the second layers.
        bias: (S,).
    """

    squeeze: Any
    squeeze_bias: Any
    norm_size: Any
    norm_eps: Any
    norm_weight: Any
    norm_bias: Any
    weight: Any
    bias: Any


class GatePass:
    """What gates say of maps of one shape, in one call of compiled code.

    All that it needs lies in one piece of memory, room for what it makes included, also for what
    each of the threads makes that PyTorch may use now.

    Args:
        dtype: Of the maps.
        shape: Of their data, (R, H, W, K).
        stride: From one row and column of pixels that is read to the next.
        shares: (R,), what a sum over each row of data counts in the mean.
        gates: Weights.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        shape: Sequence[int],
        stride: int,
        shares: Array,
        gates: GateNumbers,
    ) -> None:
        num_seen, num_hidden, num_branches = shape[3], len(gates.squeeze), len(gates.bias)
        self._team_size = team_size(math.prod(shape) // stride**2)
        norm = (gates.norm_weight, gates.norm_bias)
        weights = (gates.squeeze, gates.squeeze_bias, *norm, gates.weight, gates.bias)
        seen = self._team_size * (num_seen + APART)
        room = [np.zeros(n, np.float32) for n in (seen, seen, num_hidden, num_branches)]
        parts: list[Array] = [part.ravel() for part in [shares, *weights, *room]]
        self._numbers = np.concatenate(parts)
        starts = np.cumsum([0, *map(len, parts)])
        self.u: Array = self._numbers[-num_branches:]
        """What they said last, (S,), none below zero."""
        self.live: npt.NDArray[np.int8] = np.zeros(num_branches, np.int8)
        """Whether it was above zero."""
        self._told = _Told(
            numbers=self._numbers.ctypes.data,
            live=self.live.ctypes.data,
            shape=tuple(shape),
            stride=stride,
            norm_size=gates.norm_size,
            starts=tuple(starts.tolist()),
            eps=gates.norm_eps,
        )
        self._run, self._reference = _gate_pass(dtype), byref(self._told)

    def __call__(self, address: int, scale: float) -> None:
        """Look at the contiguous map that lies at an address, times a scale."""
        told, size = self._told, self._team_size
        told.data, told.scale = address, scale
        self._run(self._reference, size if size == 1 else min(size, torch.get_num_threads()))


@compiled
def _average(data: Any, scale: float, stride: int, shares: Any, total: Any, mean: Any) -> None:
    """Put this thread's share of the mean into `mean`: so many of the lines of pixels seen."""
    height = data.shape[1]
    num_lines = -(-height // stride)
    first, end = share_of(len(data) * num_lines)
    mean[:] = 0
    for row in range(first // num_lines, len(data)):
        start = max(first - row * num_lines, 0) * stride
        stop = min((end - row * num_lines) * stride, height)
        if start < stop:
            total[:] = 0
            sum_frame(data[row, start:stop], stride, total)
            add_scaled(np.float32(scale * shares[row]), total, mean)


@compiled
def _normalise(centred: Any, eps: float, weight: Any, bias: Any) -> None:
    factor = np.float32(1 / math.sqrt(dot(centred, centred) / len(centred) + eps))
    for d in range(len(centred)):
        centred[d] = centred[d] * factor * weight[d] + bias[d]


@compiled
def _excite(seen: Any, gates: Any, hidden: Any, u: Any) -> None:
    for d in range(len(hidden)):
        hidden[d] = dot(gates.squeeze[d], seen) + gates.squeeze_bias[d]
    if gates.norm_size > 0:
        for start in range(0, len(hidden), gates.norm_size):
            one = slice(start, start + gates.norm_size)
            weight, bias = gates.norm_weight[one], gates.norm_bias[one]
            _normalise(hidden[one], gates.norm_eps, weight, bias)
    for d in range(len(hidden)):
        hidden[d] = math.tanh(hidden[d])
    for s in range(len(u)):
        u[s] = max(math.tanh(dot(gates.weight[s], hidden) + gates.bias[s]), 0)


@compiled
def _part(numbers: Any, starts: Any, index: int) -> Any:
    return numbers[starts[index] : starts[index + 1]]


@cache
def _gate_pass(dtype: torch.dtype) -> TeamPass:
    """The pass of `GatePass` over maps of a type."""
    number, layout = number_type(dtype), np.dtype(_Told)

    def gate_pass(address: Any) -> None:
        told = carray(address, (1,), layout)[0]
        starts = told.starts
        numbers = carray(pointer(told.numbers), (starts[_PARTS],), np.float32)
        rows, height, width, num_seen = told.shape
        data = carray(pointer(told.data), (rows, height, width, num_seen), number)
        # parts: shares, weights in their order, each thread's room for the sum of a frame and for
        # its share of the mean, hidden, u
        thread, threads = thread_number(), num_threads()
        totals = _part(numbers, starts, 7).reshape(-1, num_seen + APART)
        means = _part(numbers, starts, 8).reshape(-1, num_seen + APART)
        shares = _part(numbers, starts, 0)
        _average(data, told.scale, told.stride, shares, totals[thread], means[thread])
        wait_for_all()
        if thread > 0:
            return
        for other in range(1, threads):
            add_scaled(np.float32(1), means[other], means[0])
        hidden, u = _part(numbers, starts, 9), _part(numbers, starts, 10)
        gates = GateNumbers(
            squeeze=_part(numbers, starts, 1).reshape(len(hidden), num_seen),
            squeeze_bias=_part(numbers, starts, 2),
            norm_size=told.norm_size,
            norm_eps=told.eps,
            norm_weight=_part(numbers, starts, 3),
            norm_bias=_part(numbers, starts, 4),
            weight=_part(numbers, starts, 5).reshape(len(u), len(hidden)),
            bias=_part(numbers, starts, 6),
        )
        _excite(means[0, :num_seen], gates, hidden, u)
        live = carray(pointer(told.live), (len(u),), np.int8)
        for s in range(len(u)):
            live[s] = u[s] > 0

    return TeamPass(gate_pass)
