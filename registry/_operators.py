"""What one ATen operator costs, in the convention of MMAction2's model zoo.

The convention is that of MMEngine's FlopAnalyzer: a multiply-add is 1, an affine batch norm in
evaluation 2 an element, AdaptiveAvgPool2d 1 an input element (its 3D sister nothing), taps on
padding count as work, biases do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Kind = Literal["conv", "linear", "norm", "pool", "arithmetic", "other", "free", "unknown"]
"""The first four bear MACs. "arithmetic" is sums, products and means, which the zoo leaves out;
"other" moves, compares or squashes; "free" makes views or allocates."""

MAC_KINDS = ("conv", "linear", "norm", "pool")
FLOP_COUNTER_KINDS = ("conv", "linear")
"""What torch's FlopCounterMode knows (it counts two for each multiply-add)."""

aten = torch.ops.aten


@dataclass(frozen=True)
class Cost:
    """What one call costs.

    Args:
        kind: See `Kind`.
        amount: MACs for the kinds that bear them, else elements of the largest tensor involved.
    """

    kind: Kind
    amount: int


def cost_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> Cost:
    """Return the cost of one executed call of an ATen operator."""
    packet = func.overloadpacket
    if packet in _FORMULAS:
        kind, formula = _FORMULAS[packet]
        return Cost(kind, formula(args, out))
    if packet in flop_registry:  # fused attention
        return Cost("linear", flop_registry[packet](*args, **kwargs, out_val=out) // 2)
    if packet is aten.mean and _is_pool2d(args):
        return Cost("pool", args[0].numel())
    return Cost(_plain_kind(func), _elements((args, kwargs, out)))


def _plain_kind(func: Any) -> Kind:
    packet = func.overloadpacket
    if packet in _ARITHMETIC:
        return "arithmetic"
    if func.is_view or packet in _ALLOCATIONS:
        return "free"
    if torch.Tag.pointwise in func.tags or packet in _OTHER:
        return "other"
    return "unknown"


def _elements(values: Any) -> int:
    return max(
        (leaf.numel() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)), default=0
    )


def _is_pool2d(args: Sequence[Any]) -> bool:
    """Recognise the mean that AdaptiveAvgPool2d(1) becomes: the last two axes of four."""
    x, axes = args[0], args[1] if len(args) > 1 else None
    return x.dim() == 4 and axes is not None and {axis % 4 for axis in axes} == {2, 3}


def _conv(args: Sequence[Any], out: Tensor) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    places = x.shape[2:] if transposed else out.shape[2:]
    macs: int = x.shape[0] * prod(places) * prod(weight.shape)
    return macs


def _product(args: Sequence[Any], out: Tensor) -> int:
    return out.numel() * int(args[0].shape[-1])


def _product_and_sum(args: Sequence[Any], out: Tensor) -> int:
    return out.numel() * int(args[1].shape[-1])


def _batch_norm(args: Sequence[Any], out: Sequence[Tensor]) -> int:
    x, weight, uses_batch = args[0], args[1], args[5] is True
    if uses_batch:
        return _norm_by_statistics(x, weight)
    return int(x.numel()) * (1 if weight is None else 2)


def _layer_norm(args: Sequence[Any], out: Sequence[Tensor]) -> int:
    return _norm_by_statistics(args[0], args[2])


def _group_norm(args: Sequence[Any], out: Sequence[Tensor]) -> int:
    return _norm_by_statistics(args[0], args[1])


def _norm_by_statistics(x: Tensor, weight: Tensor | None) -> int:
    return x.numel() * (4 if weight is None else 5)


def _each_input(args: Sequence[Any], out: Tensor) -> int:
    return int(args[0].numel())


def _each_output(args: Sequence[Any], out: Tensor) -> int:
    return out.numel()


def _four_each_output(args: Sequence[Any], out: Tensor) -> int:
    return 4 * out.numel()


Formula = Callable[[Sequence[Any], Any], int]

_FORMULAS: dict[Any, tuple[Kind, Formula]] = {
    aten.convolution: ("conv", _conv),
    aten._convolution: ("conv", _conv),
    aten.mm: ("linear", _product),
    aten.bmm: ("linear", _product),
    aten.addmm: ("linear", _product_and_sum),
    aten.baddbmm: ("linear", _product_and_sum),
    aten.native_batch_norm: ("norm", _batch_norm),
    aten._native_batch_norm_legit: ("norm", _batch_norm),
    aten._native_batch_norm_legit_no_training: ("norm", _batch_norm),
    aten.cudnn_batch_norm: ("norm", _batch_norm),
    aten.native_layer_norm: ("norm", _layer_norm),
    aten.native_group_norm: ("norm", _group_norm),
    aten._adaptive_avg_pool2d: ("pool", _each_input),
    aten.upsample_nearest2d: ("pool", _each_output),
    aten.upsample_bilinear2d: ("pool", _four_each_output),
    aten.grid_sampler_2d: ("pool", _four_each_output),
}

_ARITHMETIC = {
    aten.add,
    aten.add_,
    aten.addcmul,
    aten.sub,
    aten.sub_,
    aten.rsub,
    aten.mul,
    aten.mul_,
    aten.div,
    aten.div_,
    aten.mean,
    aten.sum,
}

_ALLOCATIONS = {
    aten.empty,
    aten.empty_like,
    aten.new_empty,
    aten._unsafe_view,
    aten.resize_,
    aten.set_,
}

_OTHER = {
    aten.cat,
    aten.stack,
    aten.copy_,
    aten._to_copy,
    aten.constant_pad_nd,
    aten.roll,
    aten.flip,
    aten.repeat,
    aten.repeat_interleave,
    aten.gather,
    aten.scatter,
    aten.index,
    aten.index_select,
    aten.index_put_,
    aten.masked_select,
    aten.nonzero,
    aten.zeros,
    aten.zeros_like,
    aten.new_zeros,
    aten.ones,
    aten.ones_like,
    aten.full,
    aten.full_like,
    aten.arange,
    aten.scalar_tensor,
    aten._softmax,
    aten._log_softmax,
    aten.max,
    aten.min,
    aten.amax,
    aten.amin,
    aten.argmax,
    aten.any,
    aten.all,
    aten.topk,
    aten.sort,
    aten._local_scalar_dense,
    aten.max_pool2d_with_indices,
    aten.max_pool3d_with_indices,
    aten.avg_pool2d,
    aten.avg_pool3d,
    aten._adaptive_avg_pool3d,
    aten.adaptive_max_pool2d,
    aten.adaptive_max_pool3d,
    aten._upsample_bilinear2d_aa,
    aten.upsample_nearest1d,
    aten.upsample_nearest3d,
    aten.upsample_linear1d,
    aten.upsample_trilinear3d,
}
