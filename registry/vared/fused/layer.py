"""What follows a convolution in training as one operation of autograd, its gate's decision too.

A gate has a dozen operations on a few numbers, and as many in the backward; at desk scale they cost
their calls and hardly any arithmetic. Here a layer has two calls. Compiled for one thread, the
processor, float32 and contiguous maps; PyTorch's own operations do it elsewhere: see `gate` and
`copies`.

Shape legend: N clips, T frames, R rows of a map, N * T or N; C channels, H height, W width; S
branches of both axes of a gate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..compiled import Array, compiled
from ..copies import CopyPlan
from ..gate import ALL_OFF_WEIGHT, Gate
from . import blend
from .gate import decide, learn, look

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


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
    is_plain = x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous()
    is_one = torch.get_num_threads() == 1 and not torch.is_autocast_enabled("cpu")
    return bool(counts) and is_plain and is_one and plan.has_groups


def is_fused_gate(gate: Gate) -> bool:
    """Return whether a gate is such that its decision can be part of it: as by default."""
    return isinstance(gate.norm, nn.LayerNorm) and gate.standard is None and not gate.normalise


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
    y: Tensor = _Weighed.apply(  # type: ignore[no-untyped-call]
        u, *_parameters(norm, plan), *weights, options
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
    squeeze, within, excite = gate.squeeze, gate.norm, gate.excite
    parameters = (squeeze.weight, squeeze.bias, within.weight, within.bias)
    done: tuple[Tensor, Tensor, Tensor, Tensor] = _Decided.apply(  # type: ignore[no-untyped-call]
        x,
        u.contiguous(),
        *_parameters(norm, plan),
        *parameters,
        excite.weight,
        excite.bias,
        options,
    )
    return done


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

    def num_clips(self, u: Tensor) -> int:
        """Of a map whose rows are frames, or clips."""
        return len(u) if u.dim() == 5 else len(u) // self.plan.num_frames

    def running(self, weight: Array, bias: Array) -> tuple[Any, ...]:
        """What the normalisation goes by beside its weight and bias: see `blend`."""
        norm = self.norm
        if norm is None:
            return False, weight, bias, 0.0, 0.0
        norm.num_batches_tracked.add_(1)
        return True, norm.running_mean.numpy(), norm.running_var.numpy(), norm.momentum, norm.eps

    def blending(self, u: Tensor) -> tuple[Any, ...]:
        """What the activation and the blend go by: see `blend`."""
        least = np.float32(0 if self.has_relu else -np.inf)
        return least, *blend.blend_of(self.plan, u.shape)


class _Weighed(torch.autograd.Function):
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
        y = torch.empty_like(u)
        affine = _array(weight), _array(bias)
        weights = _array(channel.contiguous()), _array(time.contiguous())
        running, (least, *places) = options.running(*affine), options.blending(u)
        found, mix = blend.normalise_and_blend(
            _rows(u), *affine, *running, least, *weights, *places, _rows(y)
        )
        ctx.save_for_backward(u, weight, bias)
        ctx.kept = *affine, found, mix, least, *weights, *places, options.norm is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, *_ = ctx.saved_tensors
        du, learns = torch.empty_like(u), any(ctx.needs_input_grad[3:5])
        gradients = blend.unblend_and_unnormalise(
            _rows(u), *ctx.kept, _rows(dy.contiguous()), learns, _rows(du)
        )
        of_norm, of_gate = map(_tensors, (gradients[:2], gradients[2:]))
        return du, *of_norm, *(of_gate if learns else (None, None)), None


class _Decided(torch.autograd.Function):
    """A gate, batch normalisation, ReLU, and both axes of the blend."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        u: Tensor,
        weight: Tensor,
        bias: Tensor,
        squeeze: Tensor,
        squeeze_bias: Tensor,
        scale: Tensor,
        shift: Tensor,
        excite: Tensor,
        excite_bias: Tensor,
        options: _Options,
    ) -> tuple[Tensor, ...]:
        y, gate = torch.empty_like(u), options.gate
        affine = _array(weight), _array(bias)
        parameters = tuple(map(_array, (squeeze, squeeze_bias, scale, shift, excite, excite_bias)))
        running, (least, *places) = options.running(*affine), options.blending(u)
        seen = (_places(x), options.stride, options.num_clips(u))
        how = (gate.norm.eps, ALL_OFF_WEIGHT, gate.num_branches[0])
        channel, time, u_NS, of_gate, found, mix = _decide_and_blend(
            *seen, *parameters, *how, _rows(u), *affine, *running, least, *places, _rows(y)
        )
        ctx.save_for_backward(u, weight, bias, squeeze, scale, excite)
        ctx.kept = *affine, found, mix, least, channel, time, *places, options.norm is not None
        ctx.of_gate = *of_gate[:2], *parameters[::2], u_NS, *of_gate[2:], gate.leaks
        ctx.learns, ctx.shape, ctx.stride = options.learns, x.shape, options.stride
        decided = _tensors((channel, time, u_NS))
        ctx.mark_non_differentiable(*decided[2 if options.learns else 0 :])
        return y, *decided

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, *_ = ctx.saved_tensors
        du, learns = torch.empty_like(u), ctx.learns
        of_map = (_rows(u), *ctx.kept, _rows(dy.contiguous()))
        if not learns:
            of_norm = blend.unblend_and_unnormalise(*of_map, learns, _rows(du))[:2]
            return None, du, *_tensors(of_norm), *(None,) * 7
        others = (grads[0].contiguous().numpy(), grads[1].contiguous().numpy())
        d_places, *gradients = _unblend_and_learn(
            *of_map, _rows(du), *others, *ctx.of_gate, ctx.shape[0]
        )
        dx = _spread(d_places, ctx.shape, ctx.stride) if ctx.needs_input_grad[0] else None
        return dx, du, *_tensors(gradients), None


@compiled
def _decide_and_blend(
    x: Any,
    stride: int,
    num_clips: int,
    squeeze: Any,
    squeeze_bias: Any,
    scale: Any,
    shift: Any,
    excite: Any,
    excite_bias: Any,
    gate_eps: float,
    all_off: float,
    num_channel: int,
    rows: Any,
    weight: Any,
    bias: Any,
    normalises: bool,
    running_mean: Any,
    running_variance: Any,
    momentum: float,
    eps: float,
    least: Any,
    basis: Any,
    starts: Any,
    lengths: Any,
    run: int,
    next_run: int,
    num_channel_groups: int,
    y: Any,
) -> Any:
    """Call `look`, `decide` and `normalise_and_blend`; one call, since each costs."""
    seen, count = look(x, stride, num_clips)
    channel, time, u, units, inverse_std = decide(
        seen,
        squeeze,
        squeeze_bias,
        scale,
        shift,
        excite,
        excite_bias,
        gate_eps,
        all_off,
        num_channel,
    )
    found, mix = blend.normalise_and_blend(
        rows,
        weight,
        bias,
        normalises,
        running_mean,
        running_variance,
        momentum,
        eps,
        least,
        channel,
        time,
        basis,
        starts,
        lengths,
        run,
        next_run,
        num_channel_groups,
        y,
    )
    return channel, time, u, (seen, count, units, inverse_std), found, mix


@compiled
def _unblend_and_learn(
    rows: Any,
    weight: Any,
    bias: Any,
    found: Any,
    mix: Any,
    least: Any,
    channel: Any,
    time: Any,
    basis: Any,
    starts: Any,
    lengths: Any,
    run: int,
    next_run: int,
    num_channel_groups: int,
    normalises: bool,
    dy: Any,
    du: Any,
    others_channel: Any,
    others_time: Any,
    seen: Any,
    count: int,
    squeeze: Any,
    scale: Any,
    excite: Any,
    u: Any,
    units: Any,
    inverse_std: Any,
    leaks: bool,
    num_rows: int,
) -> Any:
    """Call `unblend_and_unnormalise` and `learn`; weights have gradients from others too."""
    d_weight, d_bias, d_channel, d_time = blend.unblend_and_unnormalise(
        rows,
        weight,
        bias,
        found,
        mix,
        least,
        channel,
        time,
        basis,
        starts,
        lengths,
        run,
        next_run,
        num_channel_groups,
        normalises,
        dy,
        True,
        du,
    )
    of_gate = learn(
        d_channel + others_channel,
        d_time + others_time,
        seen,
        count,
        squeeze,
        scale,
        excite,
        u,
        units,
        inverse_std,
        leaks,
        num_rows,
    )
    return (of_gate[0], d_weight, d_bias) + of_gate[1:]


def _spread(d_places: Array, shape: torch.Size, stride: int) -> Tensor:
    """Return the gradient of a map that a gate sees every so many rows and columns of."""
    each = torch.from_numpy(d_places).view(*shape[:2], *(1,) * (len(shape) - 2)).expand(shape)
    if stride == 1:
        return each
    dx = each.new_zeros(shape)
    dx[..., ::stride, ::stride] = each[..., ::stride, ::stride]
    return dx


def _array(x: Tensor) -> Array:
    array: Array = x.detach().numpy()
    return array


def _tensors(arrays: Iterable[Array]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, arrays))


def _rows(x: Tensor) -> Array:
    array: Array = x.detach().view(len(x), -1).numpy()
    return array


def _places(x: Tensor) -> Array:
    """(R, C, P, H, W), with one place in time where frames are rows."""
    return _array(x) if x.dim() == 5 else _array(x)[:, :, None]
