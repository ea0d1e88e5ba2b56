"""Convolutions with their normalisation folded in, cut and folded for what a route computes. Ours.

Where a convolution's input channels are copies of computed ones, its filters for a copy are added
to those for the original, so that it reads the computed channels alone; where its frames repeat,
its taps likewise. Exact, since all of it is linear. Each variant is made once and kept.

Shape legend: as in `values`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.batchnorm import _BatchNorm

from .packed import Ending, Moves, Packed
from .taps import Place, group_stride, places
from .values import Copies


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
        self.in_time = self.weight.dim() == 5
        self.time_stride: int = conv.stride[0] if weight.dim() == 5 else 1
        self.stride = _spatial(conv.stride)
        self.padding = _spatial(conv.padding)
        self.dilation = _spatial(conv.dilation)
        self.time = (conv.padding[0], conv.dilation[0]) if self.in_time else (0, 1)
        self.macs = 0
        """Multiply-adds since it was last set, from the shapes that were really passed."""
        self._variants: dict[tuple[Any, ...], Packed] = {}

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
        kept: int,
        copies: Copies | None = None,
        *,
        step: int = 1,
        repeats: int = 1,
        scale: float = 1.0,
        relu: bool = False,
        add: Tensor | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x_THWC: Computed channels of the input, frames selected where it works in space alone.
            kept: Output channels to compute, the first ones.
            copies: What the input's other channels are copies of.
            step: Times the stride in time, where it works in time.
            repeats: Frames that each frame of the input stands for, where it works in time.
            scale: What the input is to be multiplied by; the output is divided by it.
            relu: Apply ReLU at the end.
            add: Add this, of the output's shape, before that.

        Returns:
            (T, H, W, kept), contiguous.
        """
        bias = self.bias[:kept]
        if scale != 1.0:
            bias = bias / scale
        ending = Ending(relu, add)
        if self.in_time and repeats > 1:
            return self._over_groups(
                x_THWC, kept, copies, bias, step * self.time_stride, repeats, ending
            )
        time = (step * self.time_stride, self.time[0]) if self.in_time else None
        return self._run(x_THWC, self._variant(kept, copies), bias, time, ending)

    def _over_groups(
        self,
        x_THWC: Tensor,
        kept: int,
        copies: Copies | None,
        bias: Tensor,
        stride: int,
        repeats: int,
        ending: Ending,
    ) -> Tensor:
        """Convolve in time over frames that stand for `repeats` equal ones each: see `taps`."""
        found = places(self.weight.shape[2], self.time[0], stride, repeats)
        num_outputs = self._num_outputs(len(x_THWC) * repeats, stride)
        apart = group_stride(stride, repeats)
        inside = ending if len(found) == 1 else Ending(ending.relu and ending.add is None)
        parts = [
            self._run(rows, self._variant(kept, copies, place), bias, (apart, 0), inside)
            for place, rows in _read(x_THWC, found, num_outputs, apart)
        ]
        return parts[0] if len(parts) == 1 else _interleaved(parts, num_outputs, ending)

    def _run(
        self,
        x_THWC: Tensor,
        variant: Packed,
        bias: Tensor,
        time: tuple[int, int] | None,
        ending: Ending,
    ) -> Tensor:
        """Convolve with a stride and padding in time; None: in space alone."""
        moves = Moves(self.stride, self.padding, self.dilation, self.groups)
        if time is not None:
            moves = Moves(
                (time[0], *self.stride),
                (time[1], *self.padding),
                (self.time[1], *self.dilation),
                self.groups,
            )
        y = variant(x_THWC, bias, moves, ending)
        self.macs += y.numel() * variant.weight[0].numel()
        return y

    def _variant(self, kept: int, copies: Copies | None, place: Place | None = None) -> Packed:
        key = (kept, copies and copies.key, place and place.taps)
        variant = self._variants.get(key)
        if variant is None:
            weight = self.weight[:kept]
            if copies is not None:
                weight = _fold_copies(weight, copies)
            if place is not None:
                weight = _fold_taps(weight, place)
            variant = self._variants[key] = Packed(weight.to(self.weight.dtype))
        return variant


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
        x_THWC = F.pad(x_THWC, (0, 0, 0, 0, 0, 0, before, after))
    for place, first, end in spans:
        yield place, x_THWC[before + first : before + end]


def _interleaved(parts: Sequence[Tensor], num_outputs: int, ending: Ending) -> Tensor:
    """Outputs of all places in the order of their frames."""
    y = parts[0].new_empty(num_outputs, *parts[0].shape[1:])
    for n, part in enumerate(parts):
        into = y[n :: len(parts)]
        if ending.add is None:
            into.copy_(part)
        else:
            torch.add(part, ending.add[n :: len(parts)], out=into)
    return y.relu_() if ending.relu and ending.add is not None else y


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


def _fold_taps(weight: Tensor, place: Place) -> Tensor:
    """Add the taps that meet the same group of frames."""
    shape = (*weight.shape[:2], place.num_taps, *weight.shape[3:])
    taps = torch.tensor(place.taps, device=weight.device)
    return weight.new_zeros(shape, dtype=torch.float32).index_add_(2, taps, weight.float())


def _spatial(sizes: Sequence[int]) -> tuple[int, int]:
    return (sizes[-2], sizes[-1])
