"""DynamicConv: a convolution that computes some of its frames and channels and rebuilds the rest.

It takes the place of a host module's `forward` and leaves the host's children and parameters where
they are, so that the original state dict loads as it was: only keys with `.vared.` are new.

Shape legend: N clips, T frames, C channels, H height, W width. A 2D recognizer folds frames into
the batch, (N*T, C, H, W); its layers unfold them to NTCHW. A 3D recognizer's layers see NCTHW.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.batchnorm import _BatchNorm

from .copies import CopyPlan, blend_copies
from .frames import kept_frames
from .fused import decide_and_blend, is_fused, is_fused_gate, normalise_and_blend
from .gate import Gate, Look
from .policy import Decision, Policy
from .rebuild import Rebuild
from .settings import VaRedSettings


@dataclass(frozen=True)
class Stage:
    """One convolution with what follows it, as names of modules below their host.

    Args:
        conv: The convolution; "" is the host itself.
        norm: Its batch normalisation, None where there is none.
        act: Its activation, None where there is none.
        shift: TSM's temporal shift around the convolution, None where there is none.
    """

    conv: str
    norm: str | None = None
    act: str | None = None
    shift: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All that are there."""
        every = (self.conv, self.norm, self.act, self.shift)
        return tuple(name for name in every if name is not None)


class DynamicConv(nn.Module):
    """One convolution under the control of a gate.

    Stated: fewer frames (temporal stride times R) and fewer channels (the first r*C), per layer and
    per clip; the output keeps its shape. Recalled: the order, channels inside time; one full
    computation in training with every branch a slice of it; at inference only live branches run.

    Args:
        host: The module whose children the stage names.
        stage: Names of the convolution and what follows it.
        index: Number of this layer in the policy.
        policy: Shared by all layers of the recognizer.
        gate: None where the layer has a single route.
        rebuild_channel: Blends the channel axis.
        rebuild_time: Blends the time axis.
        settings: Of the method.
        looks_with: Number of the layer whose input its gate sees; None: it sees its own.
    """

    def __init__(
        self,
        host: nn.Module,
        stage: Stage,
        index: int,
        policy: Policy,
        gate: Gate,
        rebuild_channel: Rebuild,
        rebuild_time: Rebuild,
        settings: VaRedSettings,
        looks_with: int | None = None,
    ) -> None:
        super().__init__()
        self._host = (host,)  # in a tuple: not a child, or its keys would appear twice
        self.stage = stage
        self._parts = {name: name.split(".") if name else [] for name in stage.names}
        self.index = index
        self.policy = policy
        self.look = Look(settings)
        self.looks_with = index if looks_with is None else looks_with
        self.gate = gate
        self.rebuild_channel = rebuild_channel
        self.rebuild_time = rebuild_time
        self.rebuilds_after = settings.placement == "after"
        self.hardens = settings.weights == "hard"
        self.shares_looks = settings.gate_sees == "block"
        self._plan: CopyPlan | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output in full shape, blended or skipped by each clip's route."""
        if self.training and self._decides_alone:
            done = self._at_once(x)
            if done is not None:
                return done
        decision = self._decide(x)
        self.policy.decisions[self.index] = decision
        if self.policy.full:
            return self._follow(self._compute(x, 0, 0))
        if self.training or not self.policy.skip:
            return self._run(x, decision, *(tuple(range(n)) for n in self.gate.num_branches))
        return self._skip(x, decision)

    @property
    def _decides_alone(self) -> bool:
        """Whether the gate's weights are all that there is to a decision."""
        policy = self.policy
        is_hardened = self.hardens and policy.frozen
        return not (policy.full or policy.routes is not None or self.shares_looks or is_hardened)

    def _at_once(self, x: Tensor) -> Tensor | None:
        """Decide, and do all that follows the convolution, in one pass, where there is one."""
        if not (self._blends_copies and self.look.input == "mean" and is_fused_gate(self.gate)):
            return None
        num_clips = len(x) if x.dim() == 5 else self.policy.num_clips
        norm, act = self._norm, self._activation
        plan = self._copy_plan(self._output_frames(x, num_clips))
        if not is_fused(x, norm, act, plan):
            return None
        z = self._compute(x, 0, 0)
        stride, learns = self.look.stride_of(x), not self.policy.frozen
        y, *weights = decide_and_blend(x, z, self.gate, norm, act, plan, stride, learns=learns)
        self.policy.decisions[self.index] = Decision(*weights)
        return y

    def _decide(self, x: Tensor) -> Decision:
        # clips that gates at rest see are judged by what was seen before
        watches = self.training and not self.policy.frozen
        forced = self.policy.forced(self.index, self.gate.num_branches)
        if forced is not None:
            if watches and self.gate.standard is not None:
                self.gate.standard.watch(self._seen(x.detach()))
            if self.policy.runs_gates:
                self.gate(self._seen(x))
            return Decision(forced.channel.to(x), forced.time.to(x))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.policy.frozen):
            decision = Decision(*self.gate(self._seen(x), watches))
        # while gates learn, every branch needs its gradient
        if self.hardens and (self.policy.frozen or not self.training):
            return decision.hardened()
        return decision

    def _seen(self, x: Tensor) -> Tensor:
        if self.looks_with != self.index:
            return self.policy.looks[self.looks_with]
        seen: Tensor = self.look(self._clips_first(x))
        self.policy.looks[self.index] = seen
        return seen

    def _skip(self, x: Tensor, decision: Decision) -> Tensor:
        """Run each group of clips that share their live branches by itself."""
        groups: dict[tuple[bool, ...], list[int]] = {}
        for clip, row in enumerate((torch.cat([decision.channel, decision.time], 1) > 0).tolist()):
            groups.setdefault(tuple(row), []).append(clip)
        if len(groups) == 1:
            return self._run(x, decision, *self._branches(next(iter(groups))))
        outputs, order = [], []
        clips = self._unfold(x)
        for live, chosen in groups.items():
            part = Decision(decision.channel[chosen], decision.time[chosen])
            y = self._run(self._fold(clips[chosen]), part, *self._branches(live))
            outputs.append(self._unfold(y, len(chosen)))
            order += chosen
        return self._fold(torch.cat(outputs)[torch.tensor(order).argsort()])

    def _branches(self, live: tuple[bool, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Indices of live branches of the channel and the time axis, from one clip's booleans."""
        num_channel = self.gate.num_branches[0]
        channel, time = live[:num_channel], live[num_channel:]
        return tuple(i for i, on in enumerate(channel) if on), tuple(
            i for i, on in enumerate(time) if on
        )

    def _run(
        self, x: Tensor, decision: Decision, channel: tuple[int, ...], time: tuple[int, ...]
    ) -> Tensor:
        """Compute the largest of the given branches of each axis, blend in the smaller ones."""
        num_clips = len(decision.channel)
        z = self._compute(x, channel[0], time[0], num_clips)
        num_frames = self._output_frames(x, num_clips)
        if self.rebuilds_after:
            done = self._follow_and_blend(z, decision, num_frames)
            if done is not None:
                return done
            z = self._follow(z)
        y = self._fold(self._blend(self._unfold(z, num_clips), decision, channel, time, num_frames))
        return y if self.rebuilds_after else self._follow(y)

    def _blend(
        self,
        clips: Tensor,
        decision: Decision,
        channel: tuple[int, ...],
        time: tuple[int, ...],
        num_frames: int,
    ) -> Tensor:
        conv = self._conv
        axis = 1 if conv.weight.dim() == 5 else 2
        if self.training and self.rebuild_channel.kind == "copy":
            plan = self._copy_plan(num_frames)
            blended = blend_copies(clips, plan, (decision.channel, decision.time), axis)
            if blended is not None:
                return blended
        clips = self.rebuild_channel(
            clips, decision.channel, channel_axis=axis, size=conv.out_channels, live=channel
        )
        rebuilt: Tensor = self.rebuild_time(
            clips, decision.time, channel_axis=axis, size=num_frames, live=time
        )
        return rebuilt

    def _follow_and_blend(self, z: Tensor, decision: Decision, num_frames: int) -> Tensor | None:
        """Do all that follows the convolution in one pass, where there is one."""
        if not (self.training and self._blends_copies):
            return None
        return normalise_and_blend(
            z,
            self._norm,
            self._activation,
            self._copy_plan(num_frames),
            (decision.channel, decision.time),
        )

    @property
    def _blends_copies(self) -> bool:
        """Whether what is normalised and activated is blended, and by copies."""
        return self.rebuild_channel.kind == "copy" and self.rebuilds_after

    @property
    def _norm(self) -> Any:
        return None if self.stage.norm is None else self._module(self.stage.norm)

    @property
    def _activation(self) -> Any:
        return None if self.stage.act is None else self._module(self.stage.act)

    def _copy_plan(self, num_frames: int) -> CopyPlan:
        if self._plan is None or self._plan.num_frames != num_frames:
            channel, time = self.rebuild_channel, self.rebuild_time
            self._plan = CopyPlan(
                channel.factors,
                time.factors,
                self._conv.out_channels,
                num_frames,
                time.mirrors(num_frames),
            )
        return self._plan

    def _compute(self, x: Tensor, channel: int, time: int, num_clips: int | None = None) -> Tensor:
        """Convolve: the first channels of branch `channel`, the frames of branch `time`."""
        conv = self._conv
        if self.stage.shift is not None:
            shift = self._module(self.stage.shift)
            x = shift.shift(x, shift.num_segments, shift_div=shift.shift_div)
        if channel == 0 and time == 0:
            full: Tensor = conv._conv_forward(x, conv.weight, conv.bias)
            return full
        kept = -(-conv.out_channels // self.rebuild_channel.factors[channel])
        weight, bias = conv.weight[:kept], None if conv.bias is None else conv.bias[:kept]
        x, stride = self._kept_inputs(x, self.rebuild_time.factors[time], num_clips)
        convolve = F.conv3d if conv.weight.dim() == 5 else F.conv2d
        return convolve(x, weight, bias, stride, conv.padding, conv.dilation, conv.groups)

    def _kept_inputs(
        self, x: Tensor, step: int, num_clips: int | None
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Return what is convolved for every `step`-th output frame, and the stride to use."""
        conv, rebuild = self._conv, self.rebuild_time
        if step == 1:
            return x, conv.stride
        if x.dim() == 5 and not rebuild.mirrored:
            return x, (conv.stride[0] * step, *conv.stride[1:])
        axis = 2 if x.dim() == 5 else 1
        clips = self._unfold(x, num_clips)
        kept = kept_frames(clips.shape[axis], step, rebuild.factors[-1], rebuild.mirrored)
        return self._fold(clips.index_select(axis, torch.tensor(kept).to(x.device))), conv.stride

    def _follow(self, z: Tensor) -> Tensor:
        """Apply normalisation (sliced to the channels there are) and activation."""
        norm, act = self._norm, self._activation
        z = z if norm is None else _sliced_norm(norm, z)
        return z if act is None else act(z)

    def _module(self, name: str) -> Any:
        # looked up at each call: SyncBN conversion and the like replace modules after surgery
        module: Any = self._host[0]
        for part in self._parts[name]:
            module = module._modules[part]
        return module

    @property
    def _conv(self) -> Any:
        return self._module(self.stage.conv)

    def _output_frames(self, x: Tensor, num_clips: int) -> int:
        if x.dim() == 4:
            return x.shape[0] // num_clips
        conv = self._conv
        span = conv.dilation[0] * (conv.kernel_size[0] - 1) + 1
        return int((x.shape[2] + 2 * conv.padding[0] - span) // conv.stride[0] + 1)

    def _unfold(self, x: Tensor, num_clips: int | None = None) -> Tensor:
        if x.dim() == 5:
            return x
        num_clips = num_clips or self.policy.num_clips
        return x.view(num_clips, -1, *x.shape[1:])

    def _fold(self, clips: Tensor) -> Tensor:
        return clips if self._conv.weight.dim() == 5 else clips.flatten(0, 1)

    def _clips_first(self, x: Tensor) -> Tensor:
        return x if x.dim() == 5 else self._unfold(x).transpose(1, 2)


class DenseStage(nn.Module):
    """A convolution that stays dense beside a dynamic one of the same host. It owns nothing."""

    def __init__(self, host: nn.Module, stage: Stage) -> None:
        super().__init__()
        self._host = (host,)
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        """Return convolution, normalisation and activation, as in the host."""
        for name in (self.stage.shift or self.stage.conv, self.stage.norm, self.stage.act):
            if name is not None:
                x = self._host[0].get_submodule(name)(x)
        return x


class DynamicChain(nn.ModuleList):
    """The convolutions of one host, run one after the other in place of its `forward`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return what the host would, each convolution by its own route."""
        for layer in self:
            x = layer(x)
        return x


def _sliced_norm(norm: nn.Module, z: Tensor) -> Tensor:
    channels = z.shape[1]
    if not isinstance(norm, _BatchNorm) or norm.num_features == channels:
        full: Tensor = norm(z)
        return full
    mean, variance, weight, bias = (
        p if p is None else p[:channels]
        for p in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return F.batch_norm(z, mean, variance, weight, bias, training=False, eps=norm.eps)
