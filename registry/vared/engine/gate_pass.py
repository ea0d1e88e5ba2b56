"""All gates that see the same map, in one call of compiled code. Ours.

A gate is a few thousand multiply-adds. What it takes is the way there and the memory touched on
it, which has left the caches whenever a convolution has run. Two addresses are a shorter way than
a dozen arrays.

Shape legend: as in `values`; R rows of data, K numbers that a gate sees, D hidden units and S
branches of all gates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, types  # type: ignore[attr-defined]

from ..compiled import Array, add_scaled, compiled, compiled_as, dot
from .kernels import sum_frame


@dataclass(frozen=True)
class GateNumbers:
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

    squeeze: Array
    squeeze_bias: Array
    norm_size: int
    norm_eps: float
    norm_weight: Array
    norm_bias: Array
    weight: Array
    bias: Array


class GatePass:
    """What gates say of maps of one shape, in one call of compiled code.

    All that it needs lies in one piece of memory, room for what it makes included.

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
        norm = (gates.norm_weight, gates.norm_bias)
        weights = (gates.squeeze, gates.squeeze_bias, *norm, gates.weight, gates.bias)
        room = [np.zeros(n, np.float32) for n in (num_seen, num_seen, num_hidden, num_branches)]
        parts: list[Array] = [part.ravel() for part in [shares, *weights, *room]]
        self._numbers = np.concatenate(parts)
        starts = np.cumsum([0, *map(len, parts)])
        self._sizes = np.array([*shape, stride, gates.norm_size, *starts], np.int64)
        self._fixed = (gates.norm_eps, self._sizes.ctypes.data, self._numbers.ctypes.data)
        self._run = _gate_pass(dtype).ctypes
        self.u: Array = self._numbers[-num_branches:]
        """What they said last, (S,), none below zero."""

    def __call__(self, address: int, scale: float) -> None:
        """Look at the contiguous map that lies at an address, times a scale."""
        self._run(address, scale, *self._fixed)


@compiled
def _average(data: Any, scale: float, stride: int, shares: Any, total: Any, mean: Any) -> None:
    mean[:] = 0
    for row in range(len(data)):
        total[:] = 0
        sum_frame(data[row], stride, total)
        add_scaled(scale * shares[row], total, mean)


@compiled
def _normalise(centred: Any, eps: float, weight: Any, bias: Any) -> None:
    factor = np.float32(1 / math.sqrt(dot(centred, centred) / len(centred) + eps))
    for d in range(len(centred)):
        centred[d] = centred[d] * factor * weight[d] + bias[d]


@compiled
def _excite(
    seen: Any,
    squeeze: Any,
    squeeze_bias: Any,
    norm_size: int,
    norm_eps: float,
    norm_weight: Any,
    norm_bias: Any,
    weight: Any,
    bias: Any,
    hidden: Any,
    u: Any,
) -> None:
    for d in range(len(hidden)):
        hidden[d] = dot(squeeze[d], seen) + squeeze_bias[d]
    if norm_size > 0:
        for start in range(0, len(hidden), norm_size):
            gate = slice(start, start + norm_size)
            _normalise(hidden[gate], norm_eps, norm_weight[gate], norm_bias[gate])
    for d in range(len(hidden)):
        hidden[d] = math.tanh(hidden[d])
    for s in range(len(u)):
        u[s] = max(math.tanh(dot(weight[s], hidden) + bias[s]), 0)


@compiled
def _part(numbers: Any, starts: Any, index: int) -> Any:
    return numbers[starts[index] : starts[index + 1]]


@cache
def _gate_pass(dtype: torch.dtype) -> Any:
    """The pass of `GatePass` over maps of a type."""
    number = np.uint16 if dtype == torch.bfloat16 else np.float32
    num_parts = 11

    def gate_pass(data: Any, scale: float, eps: float, sizes_at: Any, numbers_at: Any) -> None:
        sizes = carray(sizes_at, (6 + num_parts + 1,), np.int64)
        shape, starts = (sizes[0], sizes[1], sizes[2], sizes[3]), sizes[6:]
        numbers = carray(numbers_at, (starts[num_parts],), np.float32)
        # parts: shares, weights as `_excite` takes them, room for a frame's sum, mean, hidden, u
        shares, squeeze_bias = _part(numbers, starts, 0), _part(numbers, starts, 2)
        hidden, u = _part(numbers, starts, 9), _part(numbers, starts, 10)
        mean = _part(numbers, starts, 8)
        seen = carray(data, shape, number)
        _average(seen, scale, sizes[4], shares, _part(numbers, starts, 7), mean)
        _excite(
            mean,
            _part(numbers, starts, 1).reshape(len(hidden), len(mean)),
            squeeze_bias,
            sizes[5],
            eps,
            _part(numbers, starts, 3),
            _part(numbers, starts, 4),
            _part(numbers, starts, 5).reshape(len(u), len(hidden)),
            _part(numbers, starts, 6),
            hidden,
            u,
        )

    address, real = types.voidptr, types.float32
    return compiled_as(types.void(address, real, real, address, address), gate_pass)
