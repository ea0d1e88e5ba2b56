"""Convolutions with their normalisation folded in, cut and folded for what a route computes. Ours.

Where a convolution's input channels are copies of computed ones, its filters for a copy are added
to those for the original, so that it reads the computed channels alone; where its frames repeat,
its taps likewise. Exact, since all of it is linear. Each variant is made once and kept.

Shape legend: as in `values`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .packed import Ending, Moves, Packed, rectify
from .taps import Place, group_stride, places
from .values import Copies


@dataclass(frozen=True)
class Cut:
    """What of a convolution is computed.

    Args:
        kept: Output channels to compute, the first ones.
        copies: What the input's other channels are copies of.
        written: What the output's other channels are copies of, where they are to be written down.
    """

    kept: int
    copies: Copies | None = None
    written: Copies | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What filters cut so are known by."""
        return self.kept, self.copies and self.copies.key, self.written and self.written.key


NOTHING = Ending()


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
        self.macs = 0
        """Multiply-adds since it was last set, from the shapes that were really passed."""
        self._variants: dict[tuple[Any, ...], Packed] = {}
        self._moves: dict[tuple[int, int] | None, Moves] = {}

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
        return not self.in_time or (self.time[1] == 1 and num_frames % repeats == 0)

    def __call__(
        self,
        x_THWC: Tensor,
        cut: Cut,
        ending: Ending = NOTHING,
        *,
        step: int = 1,
        repeats: int = 1,
    ) -> Tensor:
        """Convolve.

        Args:
            x_THWC: Computed channels of the input, frames selected where it works in space alone.
            cut: What to compute.
            ending: What to do with the output.
            step: Times the stride in time, where it works in time.
            repeats: Frames that each frame of the input stands for, where it works in time.

        Returns:
            (T, H, W, O), contiguous; O is `kept`, or all where copies are written down.
        """
        if self.in_time and repeats > 1:
            return self._over_groups(x_THWC, cut, ending, step * self.time_stride, repeats)
        time = (step * self.time_stride, self.time[0]) if self.in_time else None
        return self._run(x_THWC, self._variant(cut), time, ending)

    def _over_groups(
        self,
        x_THWC: Tensor,
        cut: Cut,
        ending: Ending,
        stride: int,
        repeats: int,
    ) -> Tensor:
        """Convolve in time over frames that stand for `repeats` equal ones each: see `taps`."""
        num_outputs = self._num_outputs(len(x_THWC) * repeats, stride)
        # where outputs are fewer than places, each lies in one of its own
        found = places(self.weight.shape[2], self.time[0], stride, repeats)[:num_outputs]
        apart = group_stride(stride, repeats)
        inside = ending
        if len(found) > 1:
            inside = replace(ending, relu=ending.relu and ending.add is None, add=None)
        parts = [
            self._run(rows, self._variant(cut, place), (apart, 0), inside)
            for place, rows in _read(x_THWC, found, num_outputs, apart)
        ]
        return parts[0] if len(parts) == 1 else _interleaved(parts, num_outputs, ending)

    def _run(
        self,
        x_THWC: Tensor,
        variant: Packed,
        time: tuple[int, int] | None,
        ending: Ending,
    ) -> Tensor:
        """Convolve with a stride and padding in time; None: in space alone."""
        moves = self._moves.get(time)
        if moves is None:
            moves = self._moves[time] = self._moving(time)
        if self.in_time_alone:
            add = ending.add if ending.add is None else _as_lines(ending.add)
            lines = variant(_as_lines(x_THWC), moves, replace(ending, add=add))
            y = lines.view(-1, *x_THWC.shape[1:3], lines.shape[3])
        else:
            y = variant(x_THWC, moves, ending)
        self.macs += y.numel() * variant.reads
        return y

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

    def _variant(self, cut: Cut, place: Place | None = None) -> Packed:
        key = (*cut.key, place and place.taps)
        variant = self._variants.get(key)
        if variant is None:
            weight, bias = self.weight[: cut.kept], self.bias[: cut.kept]
            if cut.written is not None:
                weight, bias = _written(weight, cut.written), _written(bias, cut.written)
            if cut.copies is not None:
                weight = _fold_copies(weight, cut.copies)
            if place is not None:
                weight = _fold_taps(weight, place)
            dtype = self.weight.dtype
            variant = self._variants[key] = Packed(weight.to(dtype), bias.to(dtype))
        return variant


def _as_lines(x_THWC: Tensor) -> Tensor:
    """A clip as one image that has a frame a line: (1, T, H x W, C)."""
    return x_THWC.flatten(1, 2)[None]


def _read(
    x_THWC: Tensor, found: Sequence[Place], num_outputs: int, apart: int
) -> Iterator[tuple[Place, Tensor]]:
    """What the outputs of each place read, padding written down as frames of zeros."""
    spans = []
    for n, place in enumerate(found):
        count = len(range(n, num_outputs, len(found)))
        if count:
            spans.append((place, place.first, place.first + (count - 1) * apart + place.num_taps))
    before = max(0, -min(first for _, first, _ in spans))
    after = max(0, max(end for *_, end in spans) - len(x_THWC))
    if before or after:
        x_THWC = _between_zeros(x_THWC, before, after)
    for place, first, end in spans:
        yield place, x_THWC[before + first : before + end]


def _between_zeros(x_THWC: Tensor, before: int, after: int) -> Tensor:
    """Write zero frames down on either side; `pad` would fill the rest with zeros, too."""
    y = x_THWC.new_empty(before + len(x_THWC) + after, *x_THWC.shape[1:])
    y[:before].zero_()
    y[before : before + len(x_THWC)] = x_THWC
    y[before + len(x_THWC) :].zero_()
    return y


def _interleaved(parts: Sequence[Tensor], num_outputs: int, ending: Ending) -> Tensor:
    """Outputs of all places in the order of their frames."""
    y = parts[0].new_empty(num_outputs, *parts[0].shape[1:])
    for n, part in enumerate(parts):
        into = y[n :: len(parts)]
        if ending.add is None:
            into.copy_(part)
        else:
            torch.add(part, ending.add[n :: len(parts)], out=into)
    return rectify(y) if ending.relu and ending.add is not None else y


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


def _fold_taps(weight: Tensor, place: Place) -> Tensor:
    """Add the taps that meet the same group of frames."""
    shape = (*weight.shape[:2], place.num_taps, *weight.shape[3:])
    taps = torch.tensor(place.taps, device=weight.device)
    return weight.new_zeros(shape, dtype=torch.float32).index_add_(2, taps, weight.float())


def _spatial(sizes: Sequence[int]) -> tuple[int, int]:
    return (sizes[-2], sizes[-1])
