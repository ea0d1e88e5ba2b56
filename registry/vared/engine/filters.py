"""Convolutions with their normalisation folded in, cut and folded for what a route computes. Ours.

Where a convolution's input channels are copies of computed ones, its filters for a copy are added
to those for the original, so that it reads the computed channels alone: exact, since both are
linear. Each variant is made once and kept.

Shape legend: as in `values`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.batchnorm import _BatchNorm

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
        self._cut: dict[tuple[Any, ...], Tensor] = {}
        self._packed: dict[tuple[Any, ...], Tensor] = {}

    @property
    def num_channels(self) -> int:
        """Output channels, all of them."""
        return len(self.weight)

    def macs_per_element(self, copies: Copies | None) -> int:
        """Return the multiply-adds for one output element, from computed channels alone."""
        num_inputs = self.weight.shape[1] if copies is None else copies.num_computed
        return num_inputs * self.weight[0, 0].numel()

    def output_frames(self, num_frames: int) -> int:
        """Return the frames of the full output."""
        if not self.in_time:
            return -(-num_frames // self.time_stride)
        padding, dilation = self.time
        span = dilation * (self.weight.shape[2] - 1) + 1
        return (num_frames + 2 * padding - span) // self.time_stride + 1

    def __call__(
        self,
        x_THWC: Tensor,
        kept: int,
        copies: Copies | None = None,
        *,
        step: int = 1,
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
            scale: What the input is to be multiplied by; the output is divided by it.
            relu: Apply ReLU at the end.
            add: Add this, of the output's shape, before that.

        Returns:
            (T, H, W, kept), contiguous.
        """
        weight = self._weight(kept, copies)
        bias = self.bias[:kept]
        if scale != 1.0:
            bias = bias / scale
        stride = (self.time_stride * step, *self.stride) if self.in_time else self.stride
        x, add = (t if t is None else _channels_first(t, self.in_time) for t in (x_THWC, add))
        assert x is not None
        key = (kept, copies and copies.key, stride, x.shape)
        y = self._convolve(x, weight, bias, stride, key, relu, add)
        return _channels_last(y, self.in_time)

    def _convolve(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: tuple[int, ...],
        key: tuple[Any, ...],
        relu: bool,
        add: Tensor | None,
    ) -> Tensor:
        padding = (self.time[0], *self.padding) if self.in_time else self.padding
        dilation = (self.time[1], *self.dilation) if self.in_time else self.dilation
        shape = (padding, stride, dilation, self.groups)
        if not _packs(x):
            convolve = F.conv3d if self.in_time else F.conv2d
            y = convolve(x, weight, bias, stride, padding, dilation, self.groups)
            if add is not None:
                y += add
            return y.relu_() if relu else y
        packed = self._packed.get(key)
        if packed is None:
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *shape, x.shape)
            self._packed[key] = packed
        pointwise = torch.ops.mkldnn._convolution_pointwise
        if add is None:
            return pointwise(x, packed, bias, *shape, "relu" if relu else "none", [], "")  # type: ignore[no-any-return]
        unary = "relu" if relu else None
        return pointwise(x, add, packed, bias, *shape, "add", None, unary, [], None)  # type: ignore[no-any-return]

    def _weight(self, kept: int, copies: Copies | None) -> Tensor:
        key = (kept, copies and copies.key)
        weight = self._cut.get(key)
        if weight is None:
            weight = self.weight[:kept]
            if copies is not None:
                weight = _fold_copies(weight, copies).to(weight.dtype)
            weight = self._cut[key] = weight.contiguous(memory_format=_format(self.in_time))
        return weight


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
    weight = weight.float()
    if copies.factor is not None:
        weight = weight * copies.factor.view(1, -1, *[1] * (weight.dim() - 2))
    folded = weight.new_zeros(len(weight), copies.num_computed, *weight.shape[2:])
    return folded.index_add_(1, copies.source, weight)


def _spatial(sizes: Sequence[int]) -> tuple[int, int]:
    return (sizes[-2], sizes[-1])


def _format(in_time: bool) -> torch.memory_format:
    return torch.channels_last_3d if in_time else torch.channels_last


def _channels_first(x_THWC: Tensor, in_time: bool) -> Tensor:
    """A view as PyTorch's convolutions want it: (T, C, H, W), or (1, C, T, H, W)."""
    return x_THWC.permute(3, 0, 1, 2)[None] if in_time else x_THWC.permute(0, 3, 1, 2)


def _channels_last(y: Tensor, in_time: bool) -> Tensor:
    y = y[0].permute(1, 2, 3, 0) if in_time else y.permute(0, 2, 3, 1)
    return y.contiguous()


def _packs(x: Tensor) -> bool:
    """Whether oneDNN's fused convolutions, which PyTorch's compiler uses too, are at hand."""
    return x.device.type == "cpu" and _HAS_POINTWISE


_HAS_POINTWISE = torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
    hasattr(torch.ops.mkldnn, name)
    for name in ("_convolution_pointwise", "_reorder_convolution_weight")
)
