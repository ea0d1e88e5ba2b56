"""The inference engine: each clip by its own route, rebuilding nothing that nothing reads. Ours.

Clips run one after the other, so that a batch of mixed routes costs what its clips cost. What can
be lazy: copied frames, until a convolution in time, TSM's shift or an output needs them; copied or
scaled channels behind an activation, which fold into the next convolution's filters, until a
residual sum, a concatenation, a grouped convolution or an output needs them; a weight of a single
live branch, which passes through convolutions and ReLU as one number. Where the algebra does not
permit it, the map is written down and the step runs as in the backbone.

Shape legend: as in `values`.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..dynamic import DynamicConv
from ..policy import Policy
from .clip import ClipRun, Router
from .gates import ClipGates, Route
from .graph import Conv, Program, trace
from .kernels import channels_last
from .layer import Layer
from .values import Value


def accelerate(recognizer: nn.Module, dtype: torch.dtype = torch.float32) -> Any:
    """Return a twin of a trained recognizer whose backbone runs in the engine.

    It shares the head with the recognizer and takes its place in evaluation, by
    `recognizer_forward` and in MMAction2's own test loops. Weights of the backbone are copied:
    after further training, accelerate again. `twin.engine.executed` holds the multiply-adds that
    each clip of the last forward executed.

    Args:
        recognizer: Of MMAction2, plain or adapted; where it is adapted, forced routes of its policy
            are followed, else its gates decide.
        dtype: float32 or bfloat16; scores are float32 in any case.

    Raises:
        ValueError: The backbone cannot be traced.
    """
    model: Any = recognizer
    engine = Engine(model.backbone, getattr(model, "vared", None), dtype)
    twin = copy.copy(model)
    twin._modules = {**model._modules, "backbone": engine}
    for new, old in ((engine, model.backbone), (twin, model)):
        _take_hooks(new, old)
    twin.engine = engine
    twin.register_forward_pre_hook(_SegmentNoter(engine), with_kwargs=True)
    return twin.eval()


def _take_hooks(new: Any, old: Any) -> None:
    """Let what runs before a module, to make inputs smaller or to draw routes, run here too."""
    for name in ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"):
        setattr(new, name, OrderedDict(getattr(old, name)))


class _SegmentNoter:
    """Tells the engine how many frames of a 2D recognizer's folded batch make a clip."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fixed = getattr(engine.backbone, "num_segments", None)

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs = args[0] if args else kwargs["inputs"]
        self.engine.num_segments = self.fixed or inputs.shape[1]


class Engine(nn.Module):
    """A backbone in evaluation.

    Args:
        backbone: Of MMAction2.
        policy: Of its gates; None where it has none.
        dtype: What to compute in.
    """

    def __init__(self, backbone: nn.Module, policy: Policy | None, dtype: torch.dtype) -> None:
        super().__init__()
        self._backbone = (backbone,)  # in a tuple: its parameters are not the engine's
        self.policy = policy
        self.dtype = dtype
        self.num_segments = 1
        self.executed: list[int] = []
        """Multiply-adds of each clip of the last forward in the backbone, from the shapes that were
        really passed: convolutions, gates and rebuilding. Normalisation is folded away."""
        self.routes: list[dict[int, Route]] = []
        """Each clip's route, by layer, in the last forward."""
        self.program: Program = trace(backbone)
        convs = [step for step in self.program.steps if isinstance(step, Conv)]
        self.layers = {step.output: Layer(step, dtype) for step in convs}
        self.gates = _gates(convs)
        self.read_whole = frozenset(
            step.source for step in convs if not self.layers[step.output].reads_copies
        )

    @property
    def backbone(self) -> nn.Module:
        """The backbone it was made from."""
        return self._backbone[0]

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Any:
        """Return what the backbone returns, for (N*T, C, H, W) or (N, C, T, H, W)."""
        is_3d = x.dim() == 5
        clips = x.unbind() if is_3d else torch.split(x, self.num_segments)
        self.executed, self.routes = [], []
        outputs = []
        for index, clip in enumerate(clips):
            frames_first = clip.transpose(0, 1) if is_3d else clip
            data = channels_last(frames_first, self.dtype)
            router = self._router(index)
            run = ClipRun(self.program, self.layers, self.gates, router, self.read_whole)
            outputs.append(run(Value(data, len(data), is_view=True, is_folded=not is_3d)))
            self.executed.append(run.macs)
            self.routes.append(run.routes)
        joined = tuple(_joined(column).float() for column in zip(*outputs, strict=True))
        return joined if self.program.is_tuple else joined[0]

    def _router(self, clip: int) -> Router:
        """How the layers of one clip come to their routes."""
        policy = self.policy
        if policy is None or policy.full:
            return Router(is_dense=True)
        if policy.routes is None:
            return Router()
        forced = policy.routes[clip if len(policy.routes) > 1 else 0].tolist()
        return Router(forced=forced, runs_gates=policy.runs_gates)


def _joined(clips: Sequence[Tensor]) -> Tensor:
    """Several clips' maps as one; of a single clip, which need not be copied, as it lies."""
    return clips[0] if len(clips) == 1 else torch.cat(list(clips))


def _gates(convs: Sequence[Conv]) -> dict[str, ClipGates]:
    """Gates that see the same, by the value that it is."""
    sources = {conv.layer.index: conv.source for conv in convs if conv.layer is not None}
    together: dict[str, list[DynamicConv]] = {}
    for conv in convs:
        if conv.layer is not None:
            together.setdefault(sources[conv.layer.looks_with], []).append(conv.layer)
    return {source: ClipGates(layers) for source, layers in together.items()}
