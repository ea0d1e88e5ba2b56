"""The soft modulation gate: V = max(tanh(W2 tanh(norm(W1 pool(X))) + beta), 0).

Shape legend: N clips, C channels, T frames, D hidden units, S branches of one axis.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .cost import gate_inputs
from .pooling import pool, pooling_stride
from .settings import VaRedSettings
from .standard import Standard

Axes = tuple[int, int]
"""Branches of the channel axis and of the time axis."""

ALL_OFF_WEIGHT = 0.1
"""Weight of the cheapest branch where a gate closes all of them (ours; the paper's is unknown)."""


class _Weights(torch.autograd.Function):
    """From normalised hidden units to the weights of both axes, with one backward for all of it.

    Written out because a gate is tiny: what it costs in training is the number of calls. The
    forward is the recalled one, exact zeros included. With its own gradient a closed branch has
    none and can never open again; lending it the slope of tanh (`leaks`) is ours.
    """

    @staticmethod
    def forward(
        ctx: Any, units_ND: Tensor, weight_SD: Tensor, bias_S: Tensor, axes: Axes, leaks: bool
    ) -> tuple[Tensor, ...]:
        hidden_ND = torch.tanh(units_ND)
        u_NS = torch.addmm(bias_S, hidden_ND, weight_SD.t())
        tanh_NS = torch.tanh(u_NS)
        ctx.save_for_backward(hidden_ND, weight_SD, tanh_NS)
        ctx.axes, ctx.leaks = axes, leaks
        ctx.mark_non_differentiable(u_NS)
        return *_open(tanh_NS, axes).split(axes, 1), u_NS  # type: ignore[no-untyped-call]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_SD, tanh_NS = ctx.saved_tensors
        du_NS = _slope(torch.cat(grads[:-1], 1), tanh_NS)
        if not ctx.leaks:
            du_NS *= tanh_NS > 0
        if 1 in ctx.axes:
            du_NS *= _choices(ctx.axes, du_NS.dtype, du_NS.device).has_choice_S
        d_units = _slope(du_NS @ weight_SD, hidden_ND)
        return d_units, du_NS.t() @ hidden_ND, du_NS.sum(0), None, None


def _slope(grad: Tensor, tanh: Tensor) -> Tensor:
    product: Tensor = torch.ops.aten.tanh_backward.default(grad, tanh)
    return product


def _open(tanh_NS: Tensor, axes: Axes) -> Tensor:
    """Weights of all branches; the cheapest of an axis opens where all close.

    A single branch always weighs 1.
    """
    choices = _choices(axes, tanh_NS.dtype, tanh_NS.device)
    weights_NS = tanh_NS.clamp_min(0)
    if 1 in axes:
        weights_NS = torch.where(choices.has_choice_S, weights_NS, 1.0)
    is_closed_NA = (weights_NS @ choices.of_axis_SA <= 0).to(weights_NS)
    return weights_NS.addmm_(is_closed_NA, choices.rescue_AS)


@dataclass(frozen=True)
class _Choices:
    """Constants of the branches of both axes.

    Args:
        of_axis_SA: 1 where a branch belongs to an axis.
        rescue_AS: What an axis adds to its cheapest branch where all are closed.
        has_choice_S: False for a single branch.
    """

    of_axis_SA: Tensor
    rescue_AS: Tensor
    has_choice_S: Tensor


@lru_cache(maxsize=64)
def _choices(axes: Axes, dtype: torch.dtype, device: torch.device) -> _Choices:
    of_axis_SA = torch.zeros(sum(axes), 2, dtype=dtype, device=device)
    rescue_AS = torch.zeros(2, sum(axes), dtype=dtype, device=device)
    for axis, start in enumerate((0, axes[0])):
        of_axis_SA[start : start + axes[axis], axis] = 1
        rescue_AS[axis, start + axes[axis] - 1] = ALL_OFF_WEIGHT
    has_choice_S = (of_axis_SA.sum(0) > 1)[of_axis_SA.argmax(1)]
    return _Choices(of_axis_SA, rescue_AS, has_choice_S)


class Look(nn.Module):
    """What gates see of a map: see `pooling.pool`.

    Args:
        settings: Of the method.
    """

    macs_column = "gate"

    def __init__(self, settings: VaRedSettings) -> None:
        super().__init__()
        self.input = settings.gate_input
        self.stride = settings.gate_stride

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """Return (N, `gate_inputs`)."""
        stride = self.stride_of(x_NCTHW)
        # a slice of all would cost a copy of the gradient
        seen = x_NCTHW if stride == 1 else x_NCTHW[..., ::stride, ::stride]
        return pool(seen, self.input)

    def stride_of(self, x: Tensor) -> int:
        """Return from which row and column of a map, (N, C, ..., H, W), to the next it looks."""
        return pooling_stride(self.stride, x.shape[1], *x.shape[-2:])


class Gate(nn.Module):
    """Decides for each clip how much every branch of one convolution weighs.

    Recalled: the two fully connected layers, tanh, normalisation, beta and max(tanh, 0); no
    sampling. Ours: the settings' defaults.

    Args:
        num_channels: Channels of the map that it sees.
        num_frames: Frames of that map.
        num_branches: Branches of the channel axis and of the time axis, at least 1 each.
        settings: Of the method.
    """

    macs_column = "gate"

    def __init__(
        self,
        num_channels: int,
        num_frames: int,
        num_branches: Axes,
        settings: VaRedSettings,
    ) -> None:
        super().__init__()
        self.num_branches = num_branches
        self.normalise = settings.normalise
        num_inputs = gate_inputs(settings.gate_input, num_channels, num_frames)
        self.standard = Standard(num_inputs) if settings.gate_norm == "running" else None
        self.squeeze = nn.Linear(num_inputs, settings.gate_width)
        self.norm = _gate_norm(settings)
        self.excite = nn.Linear(settings.gate_width, sum(num_branches))
        self.leaks = settings.activation == "leak"
        self._start_near_full(settings)

    def _start_near_full(self, settings: VaRedSettings) -> None:
        # noise in the gates at the start is what kills training: all clips begin alike
        nn.init.normal_(self.excite.weight, std=0.01)
        beta = [
            settings.bias_full if branch == 0 else settings.bias_reduced
            for num in self.num_branches
            for branch in range(num)
        ]
        with torch.no_grad():
            self.excite.bias.copy_(torch.tensor(beta))

    def forward(self, seen_NI: Tensor, watches: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights (N, S_channel) and (N, S_time), and the pre-activations of both (N, S).

        An axis with a single branch always weighs 1.

        Args:
            seen_NI: What it sees, as `Look` gives it.
            watches: Also take these clips into the statistics that later ones are judged by.
        """
        squeeze, excite = self.squeeze, self.excite
        with _own_precision(seen_NI.device.type):
            seen = self._standardised(seen_NI.to(squeeze.weight.dtype), watches)
            units = self.norm(linear(seen, squeeze.weight, squeeze.bias))
            channel, time, u = _Weights.apply(  # type: ignore[no-untyped-call]
                units, excite.weight, excite.bias, self.num_branches, self.leaks
            )
        return self._normalised(channel), self._normalised(time), u

    def _standardised(self, seen: Tensor, watches: bool) -> Tensor:
        if self.standard is None:
            return seen
        standardised: Tensor = self.standard(seen)
        if watches:
            self.standard.watch(seen)
        return standardised

    def _normalised(self, weights: Tensor) -> Tensor:
        return weights / weights.sum(1, keepdim=True) if self.normalise else weights


def _own_precision(device_type: str) -> AbstractContextManager[object]:
    """In mixed precision too a gate computes in the type of its weights: it is a few numbers."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _gate_norm(settings: VaRedSettings) -> nn.Module:
    if settings.gate_norm == "layer":
        return nn.LayerNorm(settings.gate_width)
    if settings.gate_norm == "batch":
        return nn.BatchNorm1d(settings.gate_width)
    return nn.Identity()
