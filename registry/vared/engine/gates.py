"""Gates of one clip without the overhead of a dozen small tensor operations. Ours.

Shape legend: T frames, C channels, D hidden units, S branches of an axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..gate import ALL_OFF_WEIGHT, Gate
from .filters import affine

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Route:
    """Weight of each branch of the channel axis and of the time axis; 0 is not live."""

    channel: tuple[float, ...]
    time: tuple[float, ...]


class ClipGate:
    """A trained `Gate`, for one clip, in numpy.

    Args:
        gate: Trained; its weights are copied.
        hardens: Keep the largest live branch alone, at 1.
    """

    def __init__(self, gate: Gate, hardens: bool) -> None:
        self.num_branches = gate.num_branches
        self.keeps_time = gate.keeps_time
        self.normalises = gate.normalise
        self.hardens = hardens
        self.squeeze = _arrays(gate.squeeze)
        self.excite = _arrays(gate.excite)
        self.layer_norm: tuple[Array, Array, float] | None = None
        if isinstance(gate.norm, nn.LayerNorm):
            self.layer_norm = (*_arrays(gate.norm), gate.norm.eps)
        if isinstance(gate.norm, nn.BatchNorm1d):
            scale, shift = (_array(t) for t in affine(gate.norm))
            weight, bias = self.squeeze
            self.squeeze = (weight * scale[:, None], bias * scale + shift)

    def __call__(self, pooled_TC: torch.Tensor) -> Route:
        """Return the weights for a clip whose input has these means over space."""
        means = pooled_TC.T.reshape(-1) if self.keeps_time else pooled_TC.mean(0)
        weight, bias = self.squeeze
        hidden = weight @ means.cpu().numpy() + bias
        if self.layer_norm is not None:
            hidden = _layer_norm(hidden, *self.layer_norm)
        weight, bias = self.excite
        u = np.maximum(np.tanh(weight @ np.tanh(hidden) + bias), 0)
        num_channel = self.num_branches[0]
        return Route(self._finish(u[:num_channel]), self._finish(u[num_channel:]))

    def _finish(self, weights: Array) -> tuple[float, ...]:
        if len(weights) == 1:
            return (1.0,)
        values = weights.tolist()
        if max(values) <= 0:
            values[-1] = ALL_OFF_WEIGHT
        if self.hardens:
            first = next(i for i, value in enumerate(values) if value > 0)
            return tuple(float(i == first) for i in range(len(values)))
        if self.normalises:
            total = sum(values)
            return tuple(value / total for value in values)
        return tuple(values)


def _layer_norm(hidden: Array, weight: Array, bias: Array, eps: float) -> Array:
    centred = hidden - hidden.mean()
    normal: Array = centred / np.sqrt((centred * centred).mean() + eps)
    return normal * weight + bias


def _arrays(linear: nn.Linear | nn.LayerNorm) -> tuple[Array, Array]:
    return _array(linear.weight), _array(linear.bias)


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().float().cpu().numpy().copy()
    return array
