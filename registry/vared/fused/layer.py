"""What follows a convolution in training as one operation of autograd, its gate's decision too.

A gate has a dozen operations on a few numbers, and as many in the backward; at desk scale they cost
their calls and hardly any arithmetic. Here a layer has two, there and back. Compiled for the
processor and float32; PyTorch's own operations do it elsewhere: see `gate` and `copies`. Maps may
be contiguous, or have their channels last.

Shape legend: as in `told`; T frames, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from ctypes import byref
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..copies import CopyPlan
from ..gate import ALL_OFF_WEIGHT, Gate
from ..team import team_size
from .blend import blend_of
from .passes import backward_pass, forward_pass
from .told import NUM_GATE_PARAMETERS, Told, addresses

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
TIMES_READ = 4
"""How often a pass goes through a map, about: work that a team of threads may be worth."""


def is_fused(x: Tensor, norm: Any, act: nn.Module | None, plan: CopyPlan) -> bool:
    """Return whether a layer, its map and the machine are such that this is for them.

    Args:
        x: What is normalised, or any other map of the layer.
        norm: Its batch normalisation, None where there is none.
        act: Its activation, likewise.
        plan: Of its blend.
    """
    if not (norm is None or type(norm) in NORMS) or not (act is None or type(act) is nn.ReLU):
        return False
    counts = norm is None or (
        norm.training and norm.affine and norm.track_running_stats and norm.momentum
    )
    is_plain = x.device.type == "cpu" and x.dtype == torch.float32
    is_plain = is_plain and not torch.is_autocast_enabled("cpu")
    # a single row may be a single number, of which PyTorch's normalisation says what is wrong
    return bool(counts) and is_plain and len(x) > 1 and plan.has_groups


def is_fused_gate(gate: Gate) -> bool:
    """Return whether a gate is such that its decision can be part of it: as by default."""
    return isinstance(gate.norm, nn.LayerNorm) and not gate.normalise


def normalise_and_blend(
    u: Tensor,
    norm: Any,
    act: nn.Module | None,
    plan: CopyPlan,
    weights: tuple[Tensor, Tensor],
) -> Tensor | None:
    """Return what batch normalisation, ReLU and `blend_copies` do to a layer in training.

    Args:
        u: What its convolution makes, (N*T, C, H, W) or (N, C, T, H, W).
        norm: Its batch normalisation, None where there is none.
        act: Its activation, likewise.
        plan: Of its blend.
        weights: (N, S_channel) and (N, S_time).

    Returns:
        None where it is not for them: see `is_fused`.
    """
    if not is_fused(u, norm, act, plan):
        return None
    options = _Options(norm, act is not None, plan)
    channel, time = (weight.to(u).contiguous() for weight in weights)
    y: Tensor = _NormaliseAndBlend.apply(  # type: ignore[no-untyped-call]
        _plain(u, plan), *_parameters(norm, plan), channel, time, options
    )
    return y


def decide_and_blend(
    x: Tensor,
    u: Tensor,
    gate: Gate,
    norm: Any,
    act: nn.Module | None,
    plan: CopyPlan,
    stride: int,
    *,
    learns: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do what `normalise_and_blend` does, with weights that a gate decides on first.

    Args:
        x: What the gate sees, (N*T, C, H, W) or (N, C, T, H, W).
        u: See `normalise_and_blend`, as for the next three.
        gate: For which `is_fused_gate`.
        norm: For which `is_fused`.
        act: See above.
        plan: See above.
        stride: From which row and column of `x` to the next the gate looks.
        learns: Whether the gate has gradients.

    Returns:
        The blend, and what `Gate.forward` does.
    """
    options = _Options(norm, act is not None, plan, gate, stride, learns)
    layers: tuple[Any, ...] = (gate.squeeze, gate.norm, gate.excite)
    of_gate = (p.contiguous() for layer in layers for p in (layer.weight, layer.bias))
    u = _plain(u, plan)
    done: tuple[Tensor, Tensor, Tensor, Tensor] = _DecideAndBlend.apply(  # type: ignore[no-untyped-call]
        x.contiguous(memory_format=_format_of(u)), u, *_parameters(norm, plan), *of_gate, options
    )
    return done


def _plain(u: Tensor, plan: CopyPlan) -> Tensor:
    """Return a map that lies as passes read it: channels last, if they do already, or contiguous.

    Channels that lie last must make whole groups, whose numbers are at the same distance then.
    """
    if plan.num_missing:
        return u.contiguous()
    return u.contiguous(memory_format=_format_of(u))


def _format_of(u: Tensor) -> torch.memory_format:
    """Return channels last if a map is contiguous so, but not otherwise; else contiguous."""
    last = torch.channels_last if u.dim() == 4 else torch.channels_last_3d
    is_last = u.is_contiguous(memory_format=last) and not u.is_contiguous()
    return last if is_last else torch.contiguous_format


def _parameters(norm: Any, plan: CopyPlan) -> tuple[Tensor, Tensor]:
    if norm is None:
        return _neutral(plan.num_channels)
    return norm.weight, norm.bias


@lru_cache(maxsize=64)
def _neutral(num_channels: int) -> tuple[Tensor, Tensor]:
    """Scale and shift that leave what they are for as it is."""
    return torch.ones(num_channels), torch.zeros(num_channels)


@dataclass(frozen=True)
class _Options:
    """What an operation is told that has no gradient: see `decide_and_blend`."""

    norm: Any
    has_relu: bool
    plan: CopyPlan
    gate: Any = None
    stride: int = 1
    learns: bool = False

    def told(self, u: Tensor) -> Told:
        """What passes over a map are told so far. The normalisation counts it as a step."""
        is_last = _format_of(u) != torch.contiguous_format
        blend = blend_of(self.plan, u.shape, is_last=is_last).told
        return Told(**blend, **self._normalisation())

    def _normalisation(self) -> dict[str, Any]:
        """How to normalise and activate: see `told.Told`."""
        least = 0.0 if self.has_relu else -math.inf
        norm = self.norm
        if norm is None:
            return {"normalises": 0, "least": least}
        norm.num_batches_tracked.add_(1)
        return {
            "normalises": 1,
            "running_mean": norm.running_mean.data_ptr(),
            "running_variance": norm.running_var.data_ptr(),
            "momentum": norm.momentum,
            "eps": norm.eps,
            "least": least,
        }


class _NormaliseAndBlend(torch.autograd.Function):
    """Batch normalisation, ReLU, and both axes of the blend."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        weight: Tensor,
        bias: Tensor,
        channel: Tensor,
        time: Tensor,
        options: _Options,
    ) -> Tensor:
        y, told = torch.empty_like(u), options.told(u)
        ctx.made = _forward(told, u, y, (weight, bias), (channel, time))
        ctx.told = told
        # so that autograd sees whether they were changed before the backward
        ctx.save_for_backward(u, weight, bias, channel, time)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, weight, bias, *weights = ctx.saved_tensors
        ctx.told.learns = any(ctx.needs_input_grad[3:5])
        return *_backward(ctx.told, u, dy, (weight, bias), weights), None


class _DecideAndBlend(torch.autograd.Function):
    """A gate, batch normalisation, ReLU, and both axes of the blend."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, u: Tensor, weight: Tensor, bias: Tensor, *rest: Any
    ) -> tuple[Tensor, ...]:
        *parameters, options = rest
        gate, y = options.gate, torch.empty_like(u)
        told = options.told(u)
        num_clips, num_hidden = told.num_clips, len(parameters[1])
        _look_at(told, x, options.stride)
        told.num_hidden, told.leaks = num_hidden, gate.leaks
        told.gate_eps, told.all_off = gate.norm.eps, ALL_OFF_WEIGHT
        told.parameters = addresses(parameters)
        channel, time = (u.new_empty(num_clips, num) for num in gate.num_branches)
        before = u.new_empty(num_clips, sum(gate.num_branches))
        seen = u.new_empty(num_clips, told.num_seen)
        units, inverse_std = u.new_empty(2, num_clips, num_hidden), u.new_empty(num_clips)
        of_gate = (before, seen, units, inverse_std)
        told.before, told.seen, told.units, told.inverse_std = addresses(of_gate)
        ctx.made = _forward(told, u, y, (weight, bias), (channel, time)), seen, units, inverse_std
        ctx.told, ctx.shape, ctx.learns = told, x.shape, options.learns
        decided = channel, time, before
        # so that autograd sees whether they were changed before the backward
        ctx.save_for_backward(u, weight, bias, *decided, *parameters)
        ctx.mark_non_differentiable(*decided[2 if options.learns else 0 :])
        return y, *decided

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        u, weight, bias, channel, time, before, *parameters = ctx.saved_tensors
        told = ctx.told
        told.learns, told.before = ctx.learns, before.data_ptr()
        if not ctx.learns:
            du, d_weight, d_bias, *_ = _backward(told, u, dy, (weight, bias), (channel, time))
            return None, du, d_weight, d_bias, *(None,) * (NUM_GATE_PARAMETERS + 1)
        # the loss uses the weights too
        of_others = [gradient.contiguous() for gradient in others[:2]]
        told.others_channel, told.others_time = addresses(of_others)
        d_parameters = [torch.empty_like(parameter) for parameter in parameters]
        d_places = u.new_empty(ctx.shape[:2])
        told.parameters, told.d_parameters = addresses(parameters), addresses(d_parameters)
        told.d_places = d_places.data_ptr()
        du, d_weight, d_bias, *_ = _backward(told, u, dy, (weight, bias), (channel, time))
        dx = None
        if ctx.needs_input_grad[0]:
            dx = _spread(d_places, ctx.shape, told.stride, _format_of(u))
        return dx, du, d_weight, d_bias, *d_parameters, None


def _look_at(told: Told, x: Tensor, stride: int) -> None:
    """Tell a pass of what its gate sees, (N*T, C', H, W) or (N, C', T, H, W)."""
    told.x, told.stride = x.data_ptr(), stride
    told.num_seen, told.height, told.width = x.shape[1], *x.shape[-2:]
    told.places = x.shape[2] if x.dim() == 5 else 1
    seen_pixels = -(-told.height // stride) * -(-told.width // stride)
    told.num_averaged = len(x) // told.num_clips * told.places * seen_pixels


def _forward(
    told: Told,
    u: Tensor,
    y: Tensor,
    affine: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """Put the blend into `y`; return what its gradients need, which `told` has the addresses of."""
    found, mix, room = u.new_empty(3, told.num_channels), _matrices(told, u), _room(told, u)
    told.u, told.y, told.found, told.mix, told.affine = addresses((u, y, found, mix, room))
    told.weight, told.bias, told.channel, told.time = addresses((*affine, *weights))
    forward_pass()(byref(told), team_size(TIMES_READ * u.numel()))
    return found, mix


def _backward(
    told: Told,
    u: Tensor,
    dy: Tensor,
    affine: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """Return the gradients of `u`, of the normalisation, and of the weights."""
    dy, du = dy.contiguous(memory_format=_format_of(u)), torch.empty_like(u)
    of_norm = [torch.empty_like(parameter) for parameter in affine]
    of_weights = [torch.empty_like(weight) for weight in weights]
    products, room = _matrices(told, u), _room(told, u)
    told.u, told.dy, told.du, told.products, told.affine = addresses((u, dy, du, products, room))
    told.weight, told.bias, told.channel, told.time = addresses((*affine, *weights))
    told.d_weight, told.d_bias, told.d_channel, told.d_time = addresses((*of_norm, *of_weights))
    backward_pass()(byref(told), team_size(TIMES_READ * u.numel()))
    nothing = (None, None)
    return (
        du,
        *(of_norm if told.normalises else nothing),
        *(of_weights if told.learns else nothing),
    )


def _matrices(told: Told, u: Tensor) -> Tensor:
    """Room for the matrices of a blend, or their gradient."""
    return u.new_empty(told.num_periods, told.num_groups, told.num_groups)


def _room(told: Told, u: Tensor) -> Tensor:
    """Room for scale and shift of each number of a period, while a pass runs."""
    return u.new_empty(2, told.num_channel_groups, told.group_size)


def _spread(
    d_places: Tensor, shape: torch.Size, stride: int, memory_format: torch.memory_format
) -> Tensor:
    """Return the gradient of a map that a gate sees every so many rows and columns of."""
    each = d_places.view(*shape[:2], *(1,) * (len(shape) - 2)).expand(shape)
    if stride == 1:
        return each
    dx = torch.empty(shape, dtype=each.dtype, memory_format=memory_format).zero_()
    dx[..., ::stride, ::stride] = each[..., ::stride, ::stride]
    return dx
