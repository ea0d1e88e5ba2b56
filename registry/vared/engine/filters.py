"""Convolutions with their normalisation folded in, cut and folded for what a route computes. Ours.

Where a convolution's input channels are copies of computed ones, its filters for a copy are added
to those for the original, so that it reads the computed channels alone; where its frames repeat,
its taps likewise. Exact, since all of it is linear. Each variant is made once and kept.

Shape legend: as in `values`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .packed import Blend, Convolve, Ending, Moves, Packed, rectify
from .taps import Part, Taps, group_stride, parts
from .values import Copies


@dataclass(frozen=True)
class Cut:
    """What of a convolution is computed.

    Args:
        kept: Output channels to compute, the first ones.
        copies: What the input's other channels are copies of.
        written: What the output's other channels are copies of, where they are to be written down.
        blend: How the output's channels are to be blended, by filters made for this call alone.
    """

    kept: int
    copies: Copies | None = None
    written: Copies | None = None
    blend: Blend | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What filters cut so are known by before they are blended."""
        return self.kept, self.copies and self.copies.key, self.written and self.written.key


class Filters:
    """One convolution of an engine.

    Args:
        conv: Conv2d or Conv3d.
        norm: The batch normalisation behind it, to be folded in; None where there is none.
        dtype: What to compute in.
    """

    def __init__(self, conv: Any, norm: nn.Module | None, dtype: torch.dtype) -> None:
        weight, bias = _folded(conv, norm)
        self.weight, self.bias = weight.to(dtype), bias.to(dtype)
        self.groups: int = conv.groups
        if weight.dim() == 5 and weight.shape[2] == 1 and conv.padding[0] == 0:
            self.weight = self.weight[:, :, 0]  # a convolution in space: frames are a batch
        self.reads = self.weight[0].numel()
        """Numbers that each output is made of, where all of the input is read."""
        self.in_time = self.weight.dim() == 5
        self.time_stride: int = conv.stride[0] if weight.dim() == 5 else 1
        self.stride = _spatial(conv.stride)
        self.padding = _spatial(conv.padding)
        self.dilation = _spatial(conv.dilation)
        is_point = self.in_time and self.weight.shape[3:] == (1, 1)
        self.in_time_alone = is_point and self.stride == (1, 1) and self.padding == (0, 0)
        """Whether it runs in 2D, a frame as one line of pixels, which oneDNN is faster at."""
        if self.in_time_alone:
            self.weight = self.weight[..., 0]
        self.time = (conv.padding[0], conv.dilation[0]) if self.in_time else (0, 1)
        self._variants: dict[tuple[Any, ...], Packed] = {}
        self._moves: dict[tuple[int, int] | None, Moves] = {}
        self._reading: dict[tuple[int, int], Filters] = {}

    def reading(self, first: int, end: int) -> Filters:
        """Return the filters of some input channels, without a bias."""
        some = self._reading.get((first, end))
        if some is None:
            some = self._reading[first, end] = copy.copy(self)
            some.weight, some.bias = self.weight[:, first:end], torch.zeros_like(self.bias)
            some.reads = some.weight[0].numel()
            some._variants, some._reading = {}, {}
        return some

    @property
    def num_channels(self) -> int:
        """Output channels, all of them."""
        return len(self.weight)

    def output_frames(self, num_frames: int) -> int:
        """Return the frames of the full output."""
        if not self.in_time:
            return -(-num_frames // self.time_stride)
        return self._num_outputs(num_frames, self.time_stride)

    def _num_outputs(self, num_frames: int, stride: int) -> int:
        padding, dilation = self.time
        span = dilation * (self.weight.shape[2] - 1) + 1
        return (num_frames + 2 * padding - span) // stride + 1

    def reads_repeats(self, num_frames: int, repeats: int) -> bool:
        """Return whether it can read frames as groups of equal ones, one frame for each."""
        if not self.in_time:
            return True
        padding, dilation = self.time
        return dilation == 1 and padding < self.weight.shape[2] and num_frames % repeats == 0

    def ready(
        self, x_THWC: Tensor, cut: Cut, ending: Ending, *, step: int = 1, repeats: int = 1
    ) -> tuple[Convolve, int]:
        """Return what convolves maps of a shape, and its multiply-adds.

        Args:
            x_THWC: One of them: computed channels of the input, frames selected where it works in
                space alone.
            cut: What to compute; the output's channels are `kept`, or all where copies are written.
            ending: What to do with the output.
            step: Times the stride in time, where it works in time.
            repeats: Frames that each frame of the input stands for, where it works in time.
        """
        stride = step * self.time_stride
        if self.in_time and repeats > 1:
            return self._over_groups(x_THWC, cut, ending, stride, repeats)
        time = (stride, self.time[0]) if self.in_time else None
        return self._at_once(x_THWC, self._variant(cut), ending, time)

    def _over_groups(
        self, x_THWC: Tensor, cut: Cut, ending: Ending, stride: int, repeats: int
    ) -> tuple[Convolve, int]:
        """Return what convolves in time over frames that stand for equal ones: see `taps`."""
        found = parts(self.weight.shape[2], self.time[0], stride, repeats, len(x_THWC))
        apart, is_whole = group_stride(stride, repeats), len(found) == 1 and not found[0].padding
        inside = ending
        if not is_whole:
            inside = replace(ending, relu=ending.relu and not ending.adds, adds=False)
        convolved = [
            self._at_once(
                x_THWC[part.rows], self._variant(cut, part.taps), inside, (apart, part.padding)
            )
            for part in found
        ]
        if is_whole:
            return convolved[0]
        convolve = partial(_by_parts, found, [convolve for convolve, _ in convolved], ending)
        return convolve, sum(macs for _, macs in convolved)

    def _at_once(
        self,
        x_THWC: Tensor,
        variant: tuple[Packed, int],
        ending: Ending,
        time: tuple[int, int] | None,
    ) -> tuple[Convolve, int]:
        """Return what convolves with a stride and padding in time; None: in space alone."""
        moves = self._moves.get(time)
        if moves is None:
            moves = self._moves[time] = self._moving(time)
        packed, to_blend = variant
        x = _as_lines(x_THWC) if self.in_time_alone else x_THWC
        convolve, macs = packed.ready(x, moves, ending)
        return partial(_by_lines, convolve) if self.in_time_alone else convolve, macs + to_blend

    def _moving(self, time: tuple[int, int] | None) -> Moves:
        if time is None:
            return Moves(self.stride, self.padding, self.dilation, self.groups)
        if self.in_time_alone:
            return Moves((time[0], 1), (time[1], 0), (self.time[1], 1), self.groups)
        return Moves(
            (time[0], *self.stride),
            (time[1], *self.padding),
            (self.time[1], *self.dilation),
            self.groups,
        )

    def _variant(self, cut: Cut, taps: Taps | None = None) -> tuple[Packed, int]:
        """Return filters, and the multiply-adds that it takes to make them for this call alone."""
        key = (*cut.key, taps)
        variant = self._variants.get(key)
        if variant is None:
            weight, bias = self.weight[: cut.kept], self.bias[: cut.kept]
            if cut.written is not None:
                weight, bias = _written(weight, cut.written), _written(bias, cut.written)
            if cut.copies is not None:
                weight = _fold_copies(weight, cut.copies)
            if taps is not None:
                weight = _fold_taps(weight, taps)
            dtype = self.weight.dtype
            variant = self._variants[key] = Packed(weight.to(dtype), bias.to(dtype))
        return (variant, 0) if cut.blend is None else variant.blended(cut.blend)


def _as_lines(x_THWC: Tensor) -> Tensor:
    """A clip as one image that has a frame a line: (1, T, H x W, C)."""
    num_frames, height, width, channels = x_THWC.shape
    return x_THWC.view(1, num_frames, height * width, channels)


def _by_lines(convolve: Convolve, x_THWC: Tensor, add: Tensor | None) -> Tensor:
    """Convolve a clip as `_as_lines`."""
    y = convolve(_as_lines(x_THWC), None if add is None else _as_lines(add))
    return y.view(-1, *x_THWC.shape[1:3], y.shape[3])


def _by_parts(
    found: Sequence[Part],
    convolved: Sequence[Convolve],
    ending: Ending,
    x_THWC: Tensor,
    add: Tensor | None,
) -> Tensor:
    """Convolve each part of a clip by itself, and put all in order."""
    outputs = [
        convolve(x_THWC[part.rows], None)[part.made]
        for part, convolve in zip(found, convolved, strict=True)
    ]
    y = outputs[0].new_empty(sum(map(len, outputs)), *outputs[0].shape[1:])
    for part, output in zip(found, outputs, strict=True):
        into = y[part.outputs]
        if add is None:
            into.copy_(output)
        else:
            torch.add(output, add[part.outputs], out=into)
    return rectify(y) if ending.relu and add is not None else y


def _folded(conv: Any, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    weight = conv.weight.detach()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
    if norm is None:
        return weight, bias
    scale, shift = affine(norm)
    return weight * scale.view(-1, *[1] * (weight.dim() - 1)), bias * scale + shift


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return what a batch normalisation in evaluation multiplies by and adds, (C,) each."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        scale = norm.weight.detach() * scale
    shift = -norm.running_mean * scale
    return scale, shift + norm.bias.detach() if norm.affine else shift


def _fold_copies(weight: Tensor, copies: Copies) -> Tensor:
    """Add the filters for copied input channels to those for what they are copies of."""
    weight = weight.float()
    if copies.factor is not None:
        weight = weight * copies.factor.view(1, -1, *[1] * (weight.dim() - 2))
    folded = weight.new_zeros(len(weight), copies.num_computed, *weight.shape[2:])
    return folded.index_add_(1, copies.source, weight)


def _written(parameter: Tensor, copies: Copies) -> Tensor:
    """Repeat what makes the computed output channels for those that are copies of them."""
    rows = parameter[copies.source]
    if copies.factor is None:
        return rows
    return rows.float() * copies.factor.view(-1, *[1] * (rows.dim() - 1))


def _fold_taps(weight: Tensor, taps: Taps) -> Tensor:
    """Add the taps that meet the same group of frames; leave out those that meet none."""
    met = weight[:, :, taps.first : taps.first + len(taps.groups)].float()
    groups = torch.tensor(taps.groups, device=weight.device)
    folded = met.new_zeros(*met.shape[:2], taps.num_groups, *met.shape[3:])
    return folded.index_add_(2, groups, met)


def _spatial(sizes: Sequence[int]) -> tuple[int, int]:
    return (sizes[-2], sizes[-1])
