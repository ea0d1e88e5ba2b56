"""Gates of one clip without the overhead of a dozen small tensor operations. Ours.

Means over a map are sums of bags, a frame's pixels being a bag of rows: that reads the map once, as
it lies in memory, and adds up in float32. `mean` of a tensor whose channels come last can take as
long as the network. Copies are not read: their means are those of what they are copies of.

Shape legend: as in `values`; D hidden units, S branches of an axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..cost import gate_macs
from ..dynamic import DynamicConv
from ..gate import ALL_OFF_WEIGHT, Gate
from ..pooling import pooling_stride
from ..settings import GateInput, GateStride
from ..standard import Standard
from .filters import affine
from .values import Value

Array = npt.NDArray[np.float32]

NARROW = 16
"""Below so many channels, pixels of a line are summed side by side, so that vectors are full."""

_SUM = 0


@dataclass(frozen=True)
class Route:
    """Weight of each branch of the channel axis and of the time axis; 0 is not live."""

    channel: tuple[float, ...]
    time: tuple[float, ...]
    live_channel: tuple[int, ...] = field(init=False, repr=False)
    """Indices of the live branches of the channel axis."""
    live_time: tuple[int, ...] = field(init=False, repr=False)
    """Indices of the live branches of the time axis."""
    is_plain: bool = field(init=False, repr=False)
    """Whether everything is computed and weighs one."""

    def __post_init__(self) -> None:
        weighs_one = (
            self.channel[0] == 1 == sum(self.channel),
            self.time[0] == 1 == sum(self.time),
        )
        # all at once: properties that are worked out when first read take a lock
        vars(self).update(
            live_channel=live_branches(self.channel),
            live_time=live_branches(self.time),
            is_plain=all(weighs_one),
        )


def live_branches(weights: Sequence[float]) -> tuple[int, ...]:
    """Return the indices of branches with a weight."""
    return tuple([i for i, weight in enumerate(weights) if weight > 0])


@dataclass(frozen=True)
class Look:
    """Which pixels of a map's data a gate reads, and what they stand for.

    Args:
        pixels: Indices into the data as a table, frame after frame.
        starts: Where the pixels of each frame begin.
        beside: Pixels of a line that are one row of that table.
        shares: Share that a sum over each frame has in the mean over all.
        stride: From one row and column that is read to the next.
        num_pixels: Pixels that are read, of all frames.
        num_seen: Numbers that are read of each row of data.
    """

    pixels: torch.Tensor
    starts: torch.Tensor
    beside: int
    shares: Array
    stride: int
    num_pixels: int
    num_seen: int


def pooled(value: Value, gate_input: GateInput, look: Look) -> Array:
    """Return what a gate sees of a map, as `pooling.pool` does where the map is there in full.

    (C,), by frames (T, C), with motion (2, C).
    """
    sums = _sums(value.data, look)
    if value.scale != 1:
        sums *= np.float32(value.scale)
    if gate_input == "frames":
        means = sums * np.float32(len(sums) / look.num_pixels)
        return _with_copies(value, means.repeat(value.repeats, 0)[: value.num_frames])
    mean = _with_copies(value, look.shares @ sums)
    if gate_input == "mean":
        return mean
    return np.stack([mean, np.abs(_with_copies(value, _motion(value, look.stride)))])


def _sums(data: torch.Tensor, look: Look) -> Array:
    """Sums over space of each row of data, (rows, C').

    A bag for all rows would save a little time, and add up too many numbers one by one.
    """
    num_rows, *_, channels = data.shape
    table = data.view(-1, look.beside * channels)
    # not by `torch.nn.functional`, whose checks take longer than a small map
    bags = torch.embedding_bag(table, look.pixels, look.starts, mode=_SUM)[0]
    sums: Array = bags.float().cpu().numpy()
    return sums.reshape(num_rows, look.beside, channels).sum(1) if look.beside > 1 else sums


def _motion(value: Value, stride: int) -> Array:
    """Mean of |x_t - x_(t-1)|, (C',). Repeats do not move: what moves is one row to the next."""
    if len(value.data) == 1:
        return np.zeros(value.data.shape[3], np.float32)
    seen = value.data[:, ::stride, ::stride]
    steps = (seen[1:] - seen[:-1]).abs_()
    look = _look_at_shape(steps.shape, len(steps), 1, 1, steps.device)
    total: Array = (look.shares @ _sums(steps, look)) * np.float32(
        value.scale * len(steps) / (value.num_frames - 1)
    )
    return total


def _with_copies(value: Value, means: Array) -> Array:
    """All channels (..., C) from the computed ones (..., C')."""
    if value.copies is None:
        return means
    everything: Array = means.take(value.copies.source_array, -1)
    if value.copies.factor is not None:
        everything *= value.copies.factor_array
    return everything


def look_at(value: Value, gate_stride: GateStride) -> Look:
    """Return what a gate reads of a map."""
    data = value.data
    stride = pooling_stride(gate_stride, value.num_channels, *data.shape[1:3])
    return _look_at_shape(data.shape, value.num_frames, value.repeats, stride, data.device)


@lru_cache(maxsize=512)
def _look_at_shape(
    shape: torch.Size,
    num_frames: int,
    repeats: int,
    stride: int,
    device: torch.device,
) -> Look:
    num_rows, height, width, channels = shape
    beside = width if channels < NARROW and stride == 1 else 1
    every = torch.arange(num_rows * height * width // beside, dtype=torch.int32, device=device)
    read = every.view(num_rows, height, -1)[:, ::stride, ::stride].flatten(1)
    starts = torch.arange(num_rows, dtype=torch.int32, device=device) * read.shape[1]
    counts = np.full(num_rows, repeats, np.float32)
    counts[-1] = num_frames - repeats * (num_rows - 1)  # the last may stand for fewer
    num_pixels = read.numel() * beside
    return Look(
        pixels=read.flatten().contiguous(),
        starts=starts,
        beside=beside,
        shares=counts * np.float32(num_rows / (num_frames * num_pixels)),
        stride=stride,
        num_pixels=num_pixels,
        num_seen=num_pixels // num_rows * channels,
    )


class ClipGates:
    """Trained gates that see the same, for one clip, in numpy: all of them at once.

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
        self.branches = [(layer.index, *layer.gate.num_branches) for layer in layers]
        squeezes = [_squeeze(gate) for gate in gates]
        self.weight, self.bias = (np.concatenate(parts) for parts in zip(*squeezes, strict=True))
        self.layer_norm: _LayerNorm | None = None
        if isinstance(gates[0].norm, nn.LayerNorm):
            self.layer_norm = _LayerNorm(gates)
        self.excite_bias = np.concatenate([_array(gate.excite.bias) for gate in gates])
        self.excite = _diagonal([_array(gate.excite.weight) for gate in gates])
        self.macs = sum(_macs_of(gate) for gate in gates)
        """Multiply-adds, without pooling."""

    def __call__(self, seen: Array) -> Iterator[tuple[int, Route]]:
        """Yield each layer's index and weights for a clip of which the gates see this: `pooled`."""
        hidden = self.weight @ (seen.T if self.input == "frames" else seen).reshape(-1) + self.bias
        if self.layer_norm is not None:
            hidden = self.layer_norm(hidden)
        excited = (self.excite @ np.tanh(hidden) + self.excite_bias).tolist()
        u = [max(math.tanh(number), 0.0) for number in excited]  # so few that numpy takes longer
        start = 0
        for index, num_channel, num_time in self.branches:
            middle, end = start + num_channel, start + num_channel + num_time
            yield index, Route(self._finish(u[start:middle]), self._finish(u[middle:end]))
            start = end

    def _finish(self, values: list[float]) -> tuple[float, ...]:
        if len(values) == 1:
            return (1.0,)
        if max(values) <= 0:
            values[-1] = ALL_OFF_WEIGHT
        if self.hardens:
            first = next(i for i, value in enumerate(values) if value > 0)
            return tuple(float(i == first) for i in range(len(values)))
        if self.normalises:
            total = sum(values)
            return tuple(value / total for value in values)
        return tuple(values)


class _LayerNorm:
    """Normalises the hidden units of each gate; that they add up to zero is seen to by `_squeeze`.

    Args:
        gates: With layer normalisations of one size.
    """

    def __init__(self, gates: Sequence[Gate]) -> None:
        norms: list[Any] = [gate.norm for gate in gates]
        self.size = norms[0].normalized_shape[0]
        self.eps = norms[0].eps
        self.weight = np.concatenate([_array(norm.weight) for norm in norms])
        self.bias = np.concatenate([_array(norm.bias) for norm in norms])

    def __call__(self, centred: Array) -> Array:
        """Normalise the hidden units of all gates in a row, in place."""
        for row in centred.reshape(-1, self.size):
            row *= 1 / math.sqrt(row @ row / self.size + self.eps)
        centred *= self.weight
        centred += self.bias
        return centred


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


def _macs_of(gate: Gate) -> int:
    norm = "layer" if isinstance(gate.norm, nn.LayerNorm) else "none"
    return gate_macs(
        gate.squeeze.in_features, 0, gate.squeeze.out_features, gate.excite.out_features, norm
    )


def _behind(standard: Standard, weight: Array, bias: Array) -> tuple[Array, Array]:
    """Fold what stands before a fully connected layer into it."""
    folded = weight / np.sqrt(_array(standard.variance) + np.float32(standard.eps))
    return folded, bias - folded @ _array(standard.mean)


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().float().cpu().numpy().copy()
    return array
