"""Gates of one clip without the overhead of a dozen small tensor operations. Ours.

Means over a map are sums of its frames, which reads the map once, as it lies in memory, and adds up
in float32. Copies are not read: their means are those of what they are copies of.

Shape legend: as in `values`; D hidden units, S branches of an axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from ..compiled import Array
from ..cost import gate_macs, pooling_macs
from ..dynamic import DynamicConv
from ..gate import ALL_OFF_WEIGHT, Gate
from ..pooling import pooling_stride
from ..settings import GateInput, GateStride
from ..standard import Standard
from .filters import affine
from .gate_pass import GateNumbers, GatePass
from .kernels import frame_sums, is_compiled
from .values import Copies, Value


@dataclass(frozen=True)
class Route:
    """Weight of each branch of the channel axis and of the time axis; 0 is not live."""

    channel: tuple[float, ...]
    time: tuple[float, ...]
    live_channel: tuple[int, ...] = field(init=False, repr=False)
    """Indices of the live branches of the channel axis."""
    live_time: tuple[int, ...] = field(init=False, repr=False)
    """Indices of the live branches of the time axis."""
    is_full: bool = field(init=False, repr=False)
    """Whether everything is computed and nothing is rebuilt, whatever it weighs."""
    is_plain: bool = field(init=False, repr=False)
    """Whether it is full and weighs one."""
    branches: tuple[int, int] | None = field(init=False, repr=False)
    """The only live branch of each axis, each weighing one; None: it is otherwise."""

    def __post_init__(self) -> None:
        live_channel, live_time = live_branches(self.channel), live_branches(self.time)
        is_full = live_channel == live_time == (0,)
        is_hard = all(max(axis) == sum(axis) == 1 for axis in (self.channel, self.time))
        # all at once: properties that are worked out when first read take a lock
        vars(self).update(
            live_channel=live_channel,
            live_time=live_time,
            is_full=is_full,
            is_plain=is_full and is_hard,
            branches=(live_channel[0], live_time[0]) if is_hard else None,
        )


def in_first(weights: Sequence[float]) -> tuple[float, ...]:
    """Return weights of the same sum, all of it on the first: the others' part is done already."""
    return (sum(weights), *[0.0] * (len(weights) - 1))


@cache
def hard_route(num_branches: tuple[int, int], channel: int, time: int) -> Route:
    """Return the route of one branch an axis, weighing one; an axis may offer fewer."""
    return Route(
        *(
            tuple(float(i == min(branch, size - 1)) for i in range(size))
            for size, branch in zip(num_branches, (channel, time), strict=True)
        )
    )


def live_branches(weights: Sequence[float]) -> tuple[int, ...]:
    """Return the indices of branches with a weight."""
    return tuple([i for i, weight in enumerate(weights) if weight > 0])


@dataclass(frozen=True)
class Look:
    """How a gate reads a map's data.

    Args:
        stride: From one row and column of pixels that is read to the next.
        shares: Share that a sum over each frame has in the mean over all.
        num_pixels: Pixels that are read of a frame.
    """

    stride: int
    shares: Array
    num_pixels: int


def look_at(value: Value, gate_stride: GateStride) -> Look:
    """Return how a gate reads a map."""
    num_rows, height, width, _ = value.data.shape
    stride = pooling_stride(gate_stride, value.num_channels, height, width)
    num_pixels = -(-height // stride) * -(-width // stride)
    counts = np.full(num_rows, value.repeats, np.float32)
    counts[-1] = value.num_frames - value.repeats * (num_rows - 1)  # the last may stand for fewer
    return Look(stride, counts / np.float32(value.num_frames * num_pixels), num_pixels)


def pooled(value: Value, gate_input: GateInput, look: Look) -> Array:
    """Return what a gate sees of a map, as `pooling.pool` does where the map is there in full.

    (C,), by frames (T, C), with motion (2, C).
    """
    if gate_input == "frames":
        means = frame_sums(value.data, look.stride) * np.float32(value.scale / look.num_pixels)
        return _with_copies(value, means.repeat(value.repeats, 0)[: value.num_frames])
    sums: Array = frame_sums(value.data, look.stride) * look.shares[:, None]
    mean = _with_copies(value, sums.sum(0) * np.float32(value.scale))
    if gate_input == "mean":
        return mean
    return np.stack([mean, np.abs(_with_copies(value, _motion(value, look)))])


def _motion(value: Value, look: Look) -> Array:
    """Mean of |x_t - x_(t-1)|, (C',). Repeats do not move: what moves is one row to the next."""
    if len(value.data) == 1:
        return np.zeros(value.data.shape[3], np.float32)
    seen = value.data[:, :: look.stride, :: look.stride]
    total: Array = frame_sums((seen[1:] - seen[:-1]).abs_(), 1).sum(0)
    return total * np.float32(value.scale / (look.num_pixels * (value.num_frames - 1)))


def _with_copies(value: Value, means: Array) -> Array:
    """All channels (..., C) from the computed ones (..., C')."""
    if value.copies is None:
        return means
    everything: Array = means.take(value.copies.source_array, -1)
    if value.copies.factor is not None:
        everything *= value.copies.factor_array
    return everything


@dataclass(frozen=True)
class _Prepared:
    """Gates ready for maps of one shape.

    Args:
        look: How they read one.
        run: What they make of the data of a map, or of what `pooled` gives.
        reads_map: Which of both.
        macs: Multiply-adds, pooling included.
    """

    look: Look
    run: GatePass
    reads_map: bool
    macs: int


class ClipGates:
    """Trained gates that see the same, for one clip: all of them at once.

    Args:
        layers: Of the gates; their weights are copied.
    """

    def __init__(self, layers: Sequence[DynamicConv]) -> None:
        look = layers[0].look
        self.input = look.input
        self.stride = look.stride
        self.hardens = layers[0].hardens
        gates = [layer.gate for layer in layers]
        self.normalises = gates[0].normalise
        self.branches = [(layer.index, layer.gate.num_branches) for layer in layers]
        self.numbers = _numbers(gates)
        self._norm = _norm_of(gates[0])
        self._prepared: dict[int, _Prepared] = {}
        self._hard_routes: dict[bytes, dict[int, Route]] = {}

    def __call__(self, x: Value) -> tuple[Mapping[int, Route], int]:
        """Return each layer's route by its index, and the multiply-adds that it took to decide."""
        ready = self._prepared.get(x.kind)
        if ready is None:
            ready = self._prepared[x.kind] = self._prepare(x)
        if ready.reads_map:
            data = x.data.contiguous()  # as it is already, but the pass would not notice
            ready.run(data.data_ptr(), x.scale)
        else:
            seen = pooled(x, self.input, ready.look)
            flat = np.ascontiguousarray(seen.T if self.input == "frames" else seen)
            ready.run(flat.ctypes.data, 1.0)
        return self._routes(ready.run), ready.macs

    def _prepare(self, x: Value) -> _Prepared:
        look = look_at(x, self.stride)
        num_rows, *_, num_computed = x.data.shape
        macs = pooling_macs(self.input, num_rows, look.num_pixels * num_computed)
        reads_map = self.input == "mean" and is_compiled(x.data)
        if reads_map:
            numbers = self.numbers if x.copies is None else _of_computed(self.numbers, x.copies)
            run = GatePass(x.data.dtype, x.data.shape, look.stride, look.shares, numbers)
        else:  # what they see is a map of one pixel
            numbers = self.numbers
            shape, share = (1, 1, 1, numbers.squeeze.shape[1]), np.ones(1, np.float32)
            run = GatePass(torch.float32, shape, 1, share, numbers)
        num_seen, num_layers = numbers.squeeze.shape[1], len(self.branches)
        width = len(numbers.squeeze) // num_layers
        for _, num_branches in self.branches:
            macs += gate_macs(num_seen, 0, width, sum(num_branches), self._norm)
        return _Prepared(look, run, reads_map, macs)

    def _routes(self, said: GatePass) -> Mapping[int, Route]:
        if not self.hardens:
            return self._by_layer(said.u.tolist())
        live = said.live.tobytes()
        routes = self._hard_routes.get(live)
        if routes is None:
            routes = self._hard_routes[live] = self._by_layer(said.u.tolist())
        return routes

    def _by_layer(self, u: list[float]) -> dict[int, Route]:
        routes, start = {}, 0
        for index, num_branches in self.branches:
            middle, end = start + num_branches[0], start + sum(num_branches)
            routes[index] = self._route(num_branches, u[start:middle], u[middle:end])
            start = end
        return routes

    def _route(
        self, num_branches: tuple[int, int], channel: list[float], time: list[float]
    ) -> Route:
        if self.hardens:
            return hard_route(num_branches, _first_live(channel), _first_live(time))
        return Route(self._weights(channel), self._weights(time))

    def _weights(self, values: list[float]) -> tuple[float, ...]:
        if len(values) == 1:
            return (1.0,)
        if max(values) <= 0:
            values[-1] = ALL_OFF_WEIGHT
        if self.normalises:
            total = sum(values)
            return tuple(value / total for value in values)
        return tuple(values)


def _first_live(values: Sequence[float]) -> int:
    """The branch that computes most of those that are live; where none is, the last."""
    return next((i for i, value in enumerate(values) if value > 0), len(values) - 1)


def _numbers(gates: Sequence[Gate]) -> GateNumbers:
    squeeze, squeeze_bias = (
        np.concatenate(parts) for parts in zip(*map(_squeeze, gates), strict=True)
    )
    size, eps = 0, 0.0
    norm_weight = norm_bias = np.empty(0, np.float32)
    norms: list[Any] = [gate.norm for gate in gates]
    if isinstance(norms[0], nn.LayerNorm):  # hidden units add up to zero: see `_squeeze`
        size, eps = norms[0].normalized_shape[0], norms[0].eps
        norm_weight, norm_bias = (
            np.concatenate([_array(getattr(norm, name)) for norm in norms])
            for name in ("weight", "bias")
        )
    return GateNumbers(
        squeeze=squeeze,
        squeeze_bias=squeeze_bias,
        norm_size=size,
        norm_eps=eps,
        norm_weight=norm_weight,
        norm_bias=norm_bias,
        weight=_diagonal([_array(gate.excite.weight) for gate in gates]),
        bias=np.concatenate([_array(gate.excite.bias) for gate in gates]),
    )


def _squeeze(gate: Gate) -> tuple[Array, Array]:
    """A gate's first fully connected layer, with what can be folded into it."""
    weight, bias = _array(gate.squeeze.weight), _array(gate.squeeze.bias)
    if isinstance(gate.norm, nn.LayerNorm):  # its mean
        weight, bias = weight - weight.mean(0), bias - bias.mean(0)
    if isinstance(gate.norm, nn.BatchNorm1d):
        scale, shift = (_array(t) for t in affine(gate.norm))
        weight, bias = weight * scale[:, None], bias * scale + shift
    return (weight, bias) if gate.standard is None else _behind(gate.standard, weight, bias)


def _diagonal(blocks: Sequence[Array]) -> Array:
    """Matrices along the diagonal of one."""
    y = np.zeros(np.sum([block.shape for block in blocks], 0), np.float32)
    row = column = 0
    for block in blocks:
        y[row : row + len(block), column : column + block.shape[1]] = block
        row, column = row + len(block), column + block.shape[1]
    return y


def _norm_of(gate: Gate) -> str:
    """What is left of its normalisation, as `gate_macs` names it."""
    return "layer" if isinstance(gate.norm, nn.LayerNorm) else "none"


def _of_computed(numbers: GateNumbers, copies: Copies) -> GateNumbers:
    """Let gates see computed channels alone: what a copy weighs is added to its original's."""
    weight = numbers.squeeze if copies.factor is None else numbers.squeeze * copies.factor_array
    folded = np.zeros((copies.num_computed, len(weight)), np.float32)
    np.add.at(folded, copies.source_array, weight.T)
    return numbers._replace(squeeze=folded.T)


def _behind(standard: Standard, weight: Array, bias: Array) -> tuple[Array, Array]:
    """Fold what stands before a fully connected layer into it."""
    folded = weight / np.sqrt(_array(standard.variance) + np.float32(standard.eps))
    return folded, bias - folded @ _array(standard.mean)


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().float().cpu().numpy().copy()
    return array
