"""What the compiled passes of a layer are told: where things lie, how many there are, and how.

A pass takes one address in place of two dozen arrays, each of which Python and Numba would handle
in every call; and threads of PyTorch's own can be given no more. Ours.

Shape legend: N clips; R rows of a map, images or clips, of K numbers; C channels; Q periods of
frames of all clips; S branches of one axis, G groups of frames and channels, L numbers of a group
in one period of a clip; D hidden units of a gate.
"""

from __future__ import annotations

from collections.abc import Iterable
from ctypes import Structure, c_double, c_int64
from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from torch import Tensor

from ..compiled import compiled, pointer

NUM_GATE_PARAMETERS = 6
"""Weight and bias of its first layer, its normalisation, and its second layer."""


class Told(Structure):
    """What a pass is told. What lies at an address is contiguous float32, unless it says so.

    Maps: `u` (R, K), what the convolution made, `y` and `dy` the blend of it and its gradient, `du`
    of `u`; `x` (R, C', places, height, width), what the gate sees, `d_places` (R, C') of each
    number of it, means of `num_averaged` each. Where channels lie last in all of them, a row of
    `u` has `pixels` times all channels, and `x` is (R, places, height, width, C'); else `pixels`
    is 0.

    Normalisation: `weight`, `bias`, their gradients, and running statistics, (C,); `found` (3, C),
    mean, variance and inverse deviation; `affine` (2, C and what is missing, L numbers for each
    kept one), room for scale and shift of each number of a period.

    Gate: `parameters` and `d_parameters`, addresses of the six; `seen` (N, C'), means; `units`
    (2, N, D), hidden units as the normalisation and as the activation makes them; `inverse_std`
    (N,); `before` (N, S of both axes), what is activated to weights. `num_hidden` is 0 where the
    weights are given.

    Blend: weights `channel` and `time` (N, S), their gradients, and those that others have for them
    (0: no others); `mix` and `products` (Q, G, G), its matrices and what their gradient is; from
    `basis` on see `blend.Blend`, whose `starts` and `lengths` are int64.
    """

    _fields_ = (
        *((name, c_int64) for name in ("u", "y", "dy", "du", "x", "d_places")),
        *((name, c_int64) for name in ("weight", "bias", "d_weight", "d_bias")),
        *((name, c_int64) for name in ("running_mean", "running_variance", "found", "affine")),
        ("parameters", c_int64 * NUM_GATE_PARAMETERS),
        ("d_parameters", c_int64 * NUM_GATE_PARAMETERS),
        *((name, c_int64) for name in ("seen", "units", "inverse_std", "before")),
        *((name, c_int64) for name in ("channel", "time", "d_channel", "d_time")),
        *((name, c_int64) for name in ("others_channel", "others_time", "mix", "products")),
        *((name, c_int64) for name in ("basis", "starts", "lengths")),
        *((name, c_int64) for name in ("run", "next_run", "num_channel_groups")),
        *((name, c_int64) for name in ("num_periods", "num_groups", "group_size")),
        *((name, c_int64) for name in ("num_clips", "num_rows", "num_numbers", "num_channels")),
        *((name, c_int64) for name in ("num_channel_branches", "num_time_branches")),
        *((name, c_int64) for name in ("num_seen", "places", "height", "width", "stride")),
        *((name, c_int64) for name in ("num_averaged", "pixels")),
        *((name, c_int64) for name in ("num_hidden", "normalises", "learns", "leaks")),
        *((name, c_double) for name in ("least", "eps", "momentum", "gate_eps", "all_off")),
    )


LAYOUT = np.dtype(Told)


def addresses(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    """Where tensors lie."""
    return tuple(tensor.data_ptr() for tensor in tensors)


@compiled
def floats(address: Any, shape: Any) -> Any:
    """What lies at an address, in compiled code."""
    return carray(pointer(address), shape, np.float32)


@compiled
def integers(address: Any, shape: Any) -> Any:
    """Likewise."""
    return carray(pointer(address), shape, np.int64)
