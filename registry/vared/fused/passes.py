"""What a layer does there and back, each in one pass that PyTorch's threads share. Ours.

Threads share channels of the normalisation, and pixels where it writes to channels that lie last,
clips of the gate, and periods of the blend. Each number is made by one thread alone, so it is the
same however many there are.

Shape legend: as in `told`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from ..compiled import compiled
from ..team import TeamPass, share_of, thread_number, wait_for_all
from .blend import (
    Activation,
    Groups,
    add_gradients,
    blend_periods,
    put_affine,
    put_matrices,
    unblend_periods,
)
from .gate import Decided, Parameters, decide, learn, look, look_last
from .normalisation import (
    MOST_PIXELS,
    add_up_gradients,
    put_down,
    remember,
    statistics,
    unnormalise,
)
from .told import LAYOUT, floats, integers


@cache
def forward_pass() -> TeamPass:
    """What puts down the blend and all that its gradients need, told by a `Told`."""
    return TeamPass(_forward)


@cache
def backward_pass() -> TeamPass:
    """What puts the gradients down, told by the same."""
    return TeamPass(_backward)


def _forward(address: Any) -> None:
    told = carray(address, (1,), LAYOUT)[0]
    _normalise(told)
    if told.num_hidden > 0:
        _look(told)
    wait_for_all()
    first, end = share_of(told.num_clips)
    decided = _decided(told)
    if told.num_hidden > 0:
        gate = _gate(told, told.parameters)
        decide(_seen(told), gate, told.gate_eps, told.all_off, first, end, decided)
    mix = _matrices(told, told.mix)
    put_matrices(decided.channel, decided.time, _basis(told), first, end, mix)
    wait_for_all()
    first, end = share_of(told.num_periods)
    u, y = _row(told, told.u), _row(told, told.y)
    blend_periods(u, _activation(told), _groups(told), mix, first, end, y)


def _backward(address: Any) -> None:
    told = carray(address, (1,), LAYOUT)[0]
    _put_affine(told)
    wait_for_all()
    first, end = share_of(told.num_periods)
    unblend_periods(
        _row(told, told.u),
        _activation(told),
        _groups(told),
        _matrices(told, told.mix),
        _row(told, told.dy),
        told.learns != 0,
        first,
        end,
        _row(told, told.du),
        _matrices(told, told.products),
    )
    wait_for_all()
    if told.learns != 0 and thread_number() == 0:
        _learn(told)
    if told.normalises != 0:
        _unnormalise(told)


@compiled
def _unnormalise(told: Any) -> None:
    """Put the gradients of the normalisation down, and of what went in."""
    first, end = share_of(told.num_channels)
    du, u, chunk, found = _rows(told, told.du), _rows(told, told.u), _chunk(told), _found(told)
    weight = _channels(told, told.weight)
    d_weight, d_bias = _channels(told, told.d_weight), _channels(told, told.d_bias)
    if told.pixels > 0:
        add_up_gradients(du, u, chunk, found, first, end, d_weight, d_bias)
        wait_for_all()
        # of each pixel threads would write to the same line of a cache
        first, end = share_of(len(u))
        num_channels = told.num_channels
        some, read = du[first:end], u[first:end]
        put_down(some, read, len(u), found, weight, 0, num_channels, d_weight, d_bias)
    else:
        unnormalise(du, u, chunk, found, weight, first, end, d_weight, d_bias)


@compiled
def _normalise(told: Any) -> None:
    """Find this thread's share of statistics, and what they make of each number."""
    first, end = share_of(told.num_channels)
    found = _found(told)
    if told.normalises != 0:
        rows = _rows(told, told.u)
        mean, variance = (
            _channels(told, told.running_mean),
            _channels(told, told.running_variance),
        )
        statistics(rows, _chunk(told), told.eps, first, end, found)
        remember(found, rows.size // told.num_channels, told.momentum, first, end, mean, variance)
    else:
        for c in range(first, end):
            found[0, c], found[1, c], found[2, c] = 0, 0, 1
    _put_affine(told)


@compiled
def _put_affine(told: Any) -> None:
    """Put down scale and shift of each number of this thread's share of channels."""
    first, end = share_of(told.num_channels)
    weight, bias = _channels(told, told.weight), _channels(told, told.bias)
    groups, kept = told.num_channel_groups, -(-told.num_channels // told.num_channel_groups)
    size = told.group_size // kept
    if told.pixels > 0:
        affine = floats(told.affine, (2, groups, size, kept)).transpose(0, 1, 3, 2)
        put_affine(weight, bias, _found(told), first, end, affine)
    else:
        affine = floats(told.affine, (2, groups, kept, size))
        put_affine(weight, bias, _found(told), first, end, affine)


@compiled
def _look(told: Any) -> None:
    """Find the means of this thread's share of clips."""
    first, end = share_of(told.num_clips)
    rows, seen, size = told.num_rows, told.num_seen, (told.places, told.height, told.width)
    if told.pixels > 0:
        x = floats(told.x, (rows, *size, seen))
        look_last(x, told.stride, told.num_averaged, first, end, _seen(told))
    else:
        x = floats(told.x, (rows, seen, *size))
        look(x, told.stride, told.num_averaged, first, end, _seen(told))


@compiled
def _learn(told: Any) -> None:
    """Put the gradients of the weights down, and of the gate that decided on them."""
    decided = _decided(told)
    channel, time = decided.channel, decided.time
    d_channel = floats(told.d_channel, channel.shape)
    d_time = floats(told.d_time, time.shape)
    d_channel[:] = 0
    d_time[:] = 0
    if told.others_channel != 0:
        d_channel += floats(told.others_channel, channel.shape)
        d_time += floats(told.others_time, time.shape)
    add_gradients(_matrices(told, told.products), channel, time, _basis(told), d_channel, d_time)
    if told.num_hidden > 0:
        learn(
            d_channel,
            d_time,
            _seen(told),
            told.num_averaged,
            _gate(told, told.parameters),
            decided,
            told.leaks != 0,
            floats(told.d_places, (told.num_rows, told.num_seen)),
            _gate(told, told.d_parameters),
        )


@compiled
def _row(told: Any, address: Any) -> Any:
    return floats(address, (told.num_rows * told.num_numbers,))


@compiled
def _rows(told: Any, address: Any) -> Any:
    """Rows of the normalisation: of the map, or its pixels where channels lie last."""
    pixels = max(told.pixels, 1)
    return floats(address, (told.num_rows * pixels, told.num_numbers // pixels))


@compiled
def _chunk(told: Any) -> Any:
    """How many of these are added up at a time."""
    return min(told.pixels, MOST_PIXELS) if told.pixels > 0 else told.num_rows


@compiled
def _channels(told: Any, address: Any) -> Any:
    return floats(address, (told.num_channels,))


@compiled
def _found(told: Any) -> Any:
    return floats(told.found, (3, told.num_channels))


@compiled
def _activation(told: Any) -> Any:
    affine = floats(told.affine, (2, told.num_channel_groups, told.group_size))
    return Activation(affine, np.float32(told.least))


@compiled
def _gate(told: Any, at: Any) -> Any:
    num_hidden = told.num_hidden
    num_branches = told.num_channel_branches + told.num_time_branches
    return Parameters(
        floats(at[0], (num_hidden, told.num_seen)),
        floats(at[1], (num_hidden,)),
        floats(at[2], (num_hidden,)),
        floats(at[3], (num_hidden,)),
        floats(at[4], (num_branches, num_hidden)),
        floats(at[5], (num_branches,)),
    )


@compiled
def _seen(told: Any) -> Any:
    return floats(told.seen, (told.num_clips, told.num_seen))


@compiled
def _decided(told: Any) -> Any:
    num_branches = told.num_channel_branches + told.num_time_branches
    return Decided(
        floats(told.channel, (told.num_clips, told.num_channel_branches)),
        floats(told.time, (told.num_clips, told.num_time_branches)),
        floats(told.before, (told.num_clips, num_branches)),
        floats(told.units, (2, told.num_clips, told.num_hidden)),
        floats(told.inverse_std, (told.num_clips,)),
    )


@compiled
def _matrices(told: Any, address: Any) -> Any:
    return floats(address, (told.num_periods, told.num_groups, told.num_groups))


@compiled
def _basis(told: Any) -> Any:
    size = told.num_periods // told.num_clips * told.num_groups * told.num_groups
    return floats(told.basis, (told.num_channel_branches, told.num_time_branches, size))


@compiled
def _groups(told: Any) -> Any:
    return Groups(
        integers(told.starts, (told.num_periods, told.num_groups)),
        integers(told.lengths, (told.num_groups,)),
        told.run,
        told.next_run,
    )
