"""The soft modulation gate: V = max(tanh(W2 tanh(norm(W1 pool(X))) + beta), 0).

Shape legend: N clips, C channels, T frames, D hidden units, S branches of one axis.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .cost import gate_inputs
from .settings import GateInput, VaRedSettings
from .standard import Standard

ALL_OFF_WEIGHT = 0.1
"""Weight of the cheapest branch where a gate closes all of them (ours; the paper's is unknown)."""


class _LeakyGateActivation(torch.autograd.Function):
    """max(tanh(u), 0) forward; backward the slope of tanh everywhere.

    The forward is the recalled one, exact zeros included. With its own gradient a closed branch has
    none and can never open again; lending it the slope of tanh is ours.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        tanh_u = torch.tanh(u)
        ctx.save_for_backward(tanh_u)
        return tanh_u.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (tanh_u,) = ctx.saved_tensors
        slope: Tensor = 1 - tanh_u * tanh_u
        return grads[0] * slope


class Gate(nn.Module):
    """Decides for each clip how much every branch of one convolution weighs.

    Recalled: the two fully connected layers, tanh, normalisation, beta and max(tanh, 0); no
    sampling. Ours: the settings' defaults.

    Args:
        num_channels: Channels of the convolution's input.
        num_frames: Frames of that input.
        num_branches: Branches of the channel axis and of the time axis, at least 1 each.
        settings: Of the method.
    """

    macs_column = "gate"
    _rescue: Tensor

    def __init__(
        self,
        num_channels: int,
        num_frames: int,
        num_branches: tuple[int, int],
        settings: VaRedSettings,
    ) -> None:
        super().__init__()
        self.num_branches = num_branches
        self.input = settings.gate_input
        self.stride = settings.gate_stride
        self.normalise = settings.normalise
        num_inputs = gate_inputs(self.input, num_channels, num_frames)
        self.standard = Standard(num_inputs) if settings.gate_norm == "running" else None
        self.squeeze = nn.Linear(num_inputs, settings.gate_width)
        self.norm = _gate_norm(settings)
        self.excite = nn.Linear(settings.gate_width, sum(num_branches))
        self.activation = (
            _LeakyGateActivation.apply if settings.activation == "leak" else _exact_activation
        )
        rescue = torch.zeros(max(num_branches))
        rescue[-1] = ALL_OFF_WEIGHT
        self.register_buffer("_rescue", rescue, persistent=False)
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

    def forward(self, x_NCTHW: Tensor, watches: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights (N, S_channel) and (N, S_time), and the pre-activations of both (N, S).

        An axis with a single branch always weighs 1.

        Args:
            x_NCTHW: The layer's input.
            watches: Also take these clips into the statistics that later ones are judged by.
        """
        seen = self._standardised(pool(self._sampled(x_NCTHW), self.input), watches)
        hidden = torch.tanh(self.norm(self.squeeze(seen)))
        u = self.excite(hidden)
        weights = self.activation(u)
        channel, time = weights.split(self.num_branches, dim=1)
        return self._finish(channel), self._finish(time), u

    def watch(self, x_NCTHW: Tensor) -> None:
        """Take clips into the statistics and decide nothing; nothing at all without statistics."""
        if self.standard is not None:
            self.standard.watch(pool(self._sampled(x_NCTHW.detach()), self.input))

    def _standardised(self, seen: Tensor, watches: bool) -> Tensor:
        if self.standard is None:
            return seen
        standardised: Tensor = self.standard(seen)
        if watches:
            self.standard.watch(seen)
        return standardised

    def _sampled(self, x: Tensor) -> Tensor:
        # a slice of all would cost a copy of the gradient
        return x if self.stride == 1 else x[..., :: self.stride, :: self.stride]

    def _finish(self, weights: Tensor) -> Tensor:
        if weights.shape[1] == 1:
            return torch.ones_like(weights)
        closed = weights.detach().amax(1, keepdim=True) <= 0
        # added, not put in place: the gradient still reaches what closed
        weights = weights + closed * self._rescue[-weights.shape[1] :]
        return weights / weights.sum(1, keepdim=True) if self.normalise else weights


def pool(x_NCTHW: Tensor, gate_input: GateInput) -> Tensor:
    """Return what a gate sees of its layer's input, (N, `gate_inputs`)."""
    if gate_input == "frames":
        return x_NCTHW.mean((3, 4)).flatten(1)
    mean_NC = x_NCTHW.mean((2, 3, 4))
    return torch.cat([mean_NC, _motion(x_NCTHW)], 1) if gate_input == "motion" else mean_NC


def _motion(x_NCTHW: Tensor) -> Tensor:
    """Mean over space and time of |x_t - x_(t-1)|, (N, C); the same for a clip and its reverse."""
    if x_NCTHW.shape[2] == 1:
        return x_NCTHW.new_zeros(x_NCTHW.shape[:2])
    return (x_NCTHW[:, :, 1:] - x_NCTHW[:, :, :-1]).abs().mean((2, 3, 4))


def _exact_activation(u: Tensor) -> Tensor:
    return torch.tanh(u).clamp_min(0)


def _gate_norm(settings: VaRedSettings) -> nn.Module:
    if settings.gate_norm == "layer":
        return nn.LayerNorm(settings.gate_width)
    if settings.gate_norm == "batch":
        return nn.BatchNorm1d(settings.gate_width)
    return nn.Identity()
