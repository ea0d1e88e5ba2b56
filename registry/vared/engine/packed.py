"""Filters as they run: packed for oneDNN where it is at hand, as PyTorch convolves where not. Ours.

Shape legend: as in `values`; O output channels, I input channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .columns import SINGLE, Columns, Row, columns_of, widened
from .planes import Planes, may_read_planes, moves_over_planes


@dataclass(frozen=True, eq=False)
class Moves:
    """How filters move over a map: two numbers each in space, three in time and space.

    Known by itself and not by its numbers: it is looked up in every call.

    Args:
        stride: From one output to the next.
        padding: Zeros on either side.
        dilation: From one tap to the next.
        groups: Of channels.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def in_time(self) -> bool:
        """Whether they move in time."""
        return len(self.stride) == 3

    @property
    def is_plain(self) -> bool:
        """Whether each output is made of all channels of neighbouring pixels."""
        return self.groups == 1 and set(self.dilation) == {1}


@dataclass(frozen=True)
class Blend:
    """How channels that a smaller branch would copy are blended with what it would copy.

    Args:
        first: Channels that are kept, which come first.
        share: What the kept ones have in each of the others, of one.
    """

    first: int
    share: float

    def __call__(self, channels: Tensor) -> int:
        """Blend in place, channels first; return the multiply-adds it takes."""
        others = channels[self.first :]
        others.lerp_(channels[: len(others)], self.share)
        return others.numel()


@dataclass(frozen=True)
class Ending:
    """What a convolution does with its output.

    Args:
        relu: Apply ReLU at the end.
        adds: Add a map of the output's shape before that.
        may_write: The output may take that map's place in memory.
        scale: What the input is to be multiplied by; the output is left divided by it.
    """

    relu: bool = False
    adds: bool = False
    may_write: bool = False
    scale: float = 1.0


Convolve = Callable[[Tensor, Tensor | None], Tensor]
"""From computed channels of frames, (T, H, W, C'), and what is added to their output, to that.

The output is (T, H, W, O), as is what is added, None where nothing is; contiguous all of them.
"""
_Shape = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]
"""Padding, stride, dilation and groups."""


@dataclass(frozen=True)
class _Filters:
    """Filters as oneDNN's convolutions read them.

    Args:
        weight: In oneDNN's layout.
        bias: For the columns that are taken together.
        columns: Which those are.
        shape: How the filters move.
    """

    weight: Tensor
    bias: Tensor
    columns: Columns
    shape: _Shape


class _Fused:
    """A convolution of oneDNN's, ready for one shape of input.

    Args:
        filters: In oneDNN's layout.
        ending: What it does with its output.
    """

    def __init__(self, filters: _Filters, ending: Ending) -> None:
        self.shape, self.weight = filters.shape, filters.weight
        self.inputs, self.outputs = filters.columns.inputs, filters.columns.outputs
        self.bias = _scaled(filters.bias, ending)
        self.in_time = len(self.shape[0]) == 3
        self.ending = ending
        self.relu = "relu" if ending.relu else "none"

    def __call__(self, x_THWC: Tensor, add: Tensor | None) -> Tensor:
        """Convolve: see `Convolve`."""
        x = _channels_first(_side_by_side(x_THWC, self.inputs), self.in_time)
        if add is None:
            y = torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, *self.shape, self.relu, [], ""
            )
        else:
            y = self._added(x, _channels_first(add, self.in_time))
        y_THWC = _channels_last(y, self.in_time)
        if self.outputs == 1:
            return y_THWC
        num_frames, height, width, _ = y_THWC.shape
        return y_THWC.view(num_frames, height, width * self.outputs, -1)

    def _added(self, x: Tensor, add: Tensor) -> Tensor:
        pointwise, maps = torch.ops.mkldnn._convolution_pointwise, (x, add)
        if self.ending.may_write:
            pointwise, maps = torch.ops.mkldnn._convolution_pointwise_, (add, x)
        relu = "relu" if self.ending.relu else None
        how: tuple[Any, ...] = (*self.shape, "add", None, relu, [], None)
        y: Tensor = pointwise(*maps, self.weight, self.bias, *how)
        return y


class Packed:
    """Filters ready to run.

    Args:
        weight: (O, I, height, width), or (O, I, time, height, width).
        bias: (O,).
        is_for_once: They run once, as they are: to have them packed first takes longer than oneDNN
            does itself.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, is_for_once: bool = False) -> None:
        self.weight = _channels_last_weight(weight)
        self.is_for_once = is_for_once
        self.bias = bias
        self._may_read_planes = may_read_planes(self.weight)
        self._ready: dict[tuple[Moves, torch.Size, Ending], tuple[Convolve, int]] = {}
        self._packed: dict[tuple[Moves, torch.Size, Columns], _Filters] = {}
        self._planes: dict[tuple[Moves, torch.Size], Planes] = {}

    def ready(self, x_THWC: Tensor, moves: Moves, ending: Ending) -> tuple[Convolve, int]:
        """Return what convolves maps of a shape, and its multiply-adds."""
        key = (moves, x_THWC.shape, ending)
        ready = self._ready.get(key)
        if ready is None:
            macs = _macs(x_THWC.shape, self.weight.shape, moves)
            ready = self._make_ready(x_THWC, moves, ending), macs
            if ending.scale == 1.0:  # others are new with each clip
                self._ready[key] = ready
        return ready

    def _make_ready(self, x_THWC: Tensor, moves: Moves, ending: Ending) -> Convolve:
        may_read = self._may_read_planes and not ending.adds and moves.is_plain
        if may_read and moves_over_planes(x_THWC.dtype, moves.stride):
            planes = self._planes_of(x_THWC.shape, moves)
            return partial(_by_planes, planes, _scaled(self.bias, ending), ending.relu)
        if _packs(x_THWC):
            return _Fused(self._for_onednn(x_THWC, moves, adds=ending.adds), ending)
        return partial(self._plain, moves, ending)

    def _planes_of(self, shape: torch.Size, moves: Moves) -> Planes:
        key = (moves, shape)
        if key not in self._planes:
            self._planes[key] = Planes(self.weight, shape, moves.stride, moves.padding)
        return self._planes[key]

    def _plain(self, moves: Moves, ending: Ending, x_THWC: Tensor, add: Tensor | None) -> Tensor:
        """Convolve as PyTorch does."""
        bias = _scaled(self.bias, ending)
        x = _channels_first(x_THWC, moves.in_time)
        convolve = F.conv3d if moves.in_time else F.conv2d
        y = convolve(
            x, self.weight, bias, moves.stride, moves.padding, moves.dilation, moves.groups
        )
        y_THWC = _channels_last(y, moves.in_time)
        if add is not None and ending.may_write:
            y_THWC = add.add_(y_THWC)
        elif add is not None:
            y_THWC += add
        return rectify(y_THWC) if ending.relu else y_THWC

    def blended(self, blend: Blend) -> tuple[Packed, int]:
        """Return filters of the blended output, and the multiply-adds it took to make them."""
        weight, bias = self.weight.clone(), self.bias.clone()
        blend(bias)
        return Packed(weight, bias, is_for_once=True), blend(weight)

    def _for_onednn(self, x_THWC: Tensor, moves: Moves, *, adds: bool) -> _Filters:
        if self.is_for_once:
            shape = (moves.padding, moves.stride, moves.dilation, moves.groups)
            return _Filters(self.weight, self.bias, SINGLE, shape)
        row = Row(x_THWC.shape[2], self.weight.shape[-1], moves.stride[-1], moves.padding[-1])
        columns = SINGLE
        if not adds and moves.groups == 1 and moves.dilation[-1] == 1:
            columns = columns_of(self.weight, row)
        key = (moves, x_THWC.shape, columns)
        if key not in self._packed:  # with a sum and without may be the same
            self._packed[key] = self._pack(x_THWC, moves, row, columns)
        return self._packed[key]

    def _pack(self, x_THWC: Tensor, moves: Moves, row: Row, columns: Columns) -> _Filters:
        weight, padding, stride = self.weight, moves.padding, moves.stride
        if columns != SINGLE:
            weight = _channels_last_weight(widened(weight, row, columns))
            together = row.together(columns)
            padding = (*padding[:-1], together.padding)
            stride = (*stride[:-1], together.stride)
        shape = (padding, stride, moves.dilation, moves.groups)
        x = _channels_first(_side_by_side(x_THWC, columns.inputs), moves.in_time)
        weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *shape, x.shape)
        return _Filters(weight, self.bias.repeat(columns.outputs), columns, shape)


@lru_cache(maxsize=1024)
def _macs(shape: torch.Size, weight: torch.Size, moves: Moves) -> int:
    """Multiply-adds of filters over a map, (T, H, W, C'), given both shapes."""
    sizes = shape[:3] if moves.in_time else shape[1:3]
    rows = 1 if moves.in_time else shape[0]
    how = zip(sizes, weight[2:], moves.stride, moves.padding, moves.dilation, strict=True)
    outputs = [
        (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for size, taps, stride, padding, dilation in how
    ]
    return rows * math.prod(outputs) * weight.numel()


def _by_planes(
    planes: Planes, bias: Tensor, relu: bool, x_THWC: Tensor, _: Tensor | None
) -> Tensor:
    return planes(x_THWC, bias, relu=relu)


def _scaled(bias: Tensor, ending: Ending) -> Tensor:
    """A bias for an output that is left divided by a scale."""
    return bias if ending.scale == 1.0 else bias / ending.scale


def _side_by_side(x_THWC: Tensor, columns: int) -> Tensor:
    """Neighbouring columns as channels of one: (T, H, W / columns, columns x C)."""
    if columns == 1:
        return x_THWC
    num_frames, height, width, channels = x_THWC.shape
    return x_THWC.view(num_frames, height, width // columns, columns * channels)


def rectify(x: Tensor) -> Tensor:
    """ReLU in place.

    What is negative in bfloat16 is so as an integer, and PyTorch compares those more than twice as
    fast (measured on 100,000 to 6 million numbers).
    """
    (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).relu_()
    return x


def _channels_last_weight(weight: Tensor) -> Tensor:
    in_time = weight.dim() == 5
    return weight.contiguous(
        memory_format=torch.channels_last_3d if in_time else torch.channels_last
    )


def _channels_first(x_THWC: Tensor, in_time: bool) -> Tensor:
    """A view as PyTorch's convolutions want it: (T, C, H, W), or (1, C, T, H, W)."""
    return x_THWC.permute(3, 0, 1, 2)[None] if in_time else x_THWC.permute(0, 3, 1, 2)


def _channels_last(y: Tensor, in_time: bool) -> Tensor:
    y = y[0].permute(1, 2, 3, 0) if in_time else y.permute(0, 2, 3, 1)
    return y.contiguous()


def _packs(x: Tensor) -> bool:
    """Whether oneDNN's fused convolutions, which PyTorch's compiler uses too, are at hand."""
    return x.device.type == "cpu" and x.dtype in _PACKED_DTYPES


def _packed_dtypes() -> set[torch.dtype]:
    """Data types that oneDNN packs filters in here: bfloat16 on some processors alone."""
    operators: Any = torch.ops.mkldnn
    names = (
        "_convolution_pointwise",
        "_convolution_pointwise_",
        "_reorder_convolution_weight",
    )
    is_available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not is_available or not all(hasattr(operators, name) for name in names):
        return set()
    has_bfloat16 = operators._is_mkldnn_bf16_supported()
    return {torch.float32, torch.bfloat16} if has_bfloat16 else {torch.float32}


_PACKED_DTYPES = _packed_dtypes()
