"""What follows a convolution in training as one operation of autograd, its gate's decision too.

A gate has a dozen operations on a few numbers, and as many in the backward; at desk scale they cost
their calls and hardly any arithmetic. Here a layer has a few. Compiled for the processor, float32
and contiguous maps, and for few threads, since it has one of its own; PyTorch's own operations do
it elsewhere: see `gate` and `copies`.

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

from ..compiled import Array
from ..copies import CopyPlan
from ..gate import ALL_OFF_WEIGHT, Gate
from . import blend
from .gate import decide, learn, look

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
FEW_THREADS = 2
"""With up to so many, steps take less than by PyTorch's operations (benchmarks/step_cost/table.md);
more were not measured."""


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
    are_few = torch.get_num_threads() <= FEW_THREADS and not torch.is_autocast_enabled("cpu")
    # a single row may be a single number, of which PyTorch's normalisation says what is wrong
    return bool(counts) and is_plain and are_few and len(x) > 1 and plan.has_groups


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

    @property
    def least(self) -> np.float32:
        """The least that the activation gives."""
        return np.float32(0 if self.has_relu else -np.inf)


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
        weights = _array(channel.contiguous()), _array(time.contiguous())
        y, ctx.kept = _blended(u, (_array(weight), _array(bias)), weights, options)
        # parameters so that autograd sees whether they were changed before the backward
        ctx.save_for_backward(u, weight, bias)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        u, *_ = ctx.saved_tensors
        learns = any(ctx.needs_input_grad[3:5])
        du, *gradients = _unblended(u, ctx.kept, dy, learns=learns)
        d_weight, d_bias, *of_gate = _tensors(gradients)
        return du, d_weight, d_bias, *(of_gate if learns else (None, None)), None


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
        gate, affine = options.gate, (_array(weight), _array(bias))
        parameters = tuple(map(_array, (squeeze, squeeze_bias, scale, shift, excite, excite_bias)))
        seen, count = look(_places(x), options.stride, options.num_clips(u))
        how = (gate.norm.eps, ALL_OFF_WEIGHT, gate.num_branches[0])
        channel, time, u_NS, *units = decide(seen, *parameters, *how)
        y, ctx.kept = _blended(u, affine, (channel, time), options)
        # parameters so that autograd sees whether they were changed before the backward
        ctx.save_for_backward(u, weight, bias, squeeze, scale, excite)
        ctx.decided = seen, count, *parameters[::2], u_NS, *units, gate.leaks, len(x)
        ctx.learns, ctx.shape, ctx.stride = options.learns, x.shape, options.stride
        decided = _tensors((channel, time, u_NS))
        ctx.mark_non_differentiable(*decided[2 if options.learns else 0 :])
        return y, *decided

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, *_ = ctx.saved_tensors
        du, *of_norm, d_channel, d_time = _unblended(u, ctx.kept, dy, learns=ctx.learns)
        if not ctx.learns:
            return None, du, *_tensors(of_norm), *(None,) * 7
        for gradient, other in zip((d_channel, d_time), grads, strict=False):
            gradient += other.numpy()  # the loss uses the weights too
        d_places, *of_gate = learn(d_channel, d_time, *ctx.decided)
        dx = _spread(d_places, ctx.shape, ctx.stride) if ctx.needs_input_grad[0] else None
        return dx, du, *_tensors((*of_norm, *of_gate)), None


def _blended(
    u: Tensor, affine: tuple[Array, Array], weights: tuple[Array, Array], options: _Options
) -> tuple[Tensor, tuple[Any, ...]]:
    """Return the blend, and what its gradients need beside the map."""
    y = torch.empty_like(u)
    blending = (*affine, options.least, *weights, *blend.blend_of(options.plan, u.shape))
    found, mix = blend.normalise_and_blend(_rows(u), *blending, *options.running(*affine), _rows(y))
    return y, (*blending, options.norm is not None, found, mix)


def _unblended(u: Tensor, kept: tuple[Any, ...], dy: Tensor, *, learns: bool) -> tuple[Any, ...]:
    """Return the gradient of the map, and, as arrays, of the normalisation and the weights."""
    du = torch.empty_like(u)
    gradients = blend.unblend_and_unnormalise(
        _rows(u), *kept, _rows(dy.contiguous()), learns, _rows(du)
    )
    return du, *gradients


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
