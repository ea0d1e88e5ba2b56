"""Runner: a recognizer made ready to be timed. And how PyTorch alone makes some.

All runners take float32 clips and return float32 scores, so what conversion costs is in the time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..recognizers.forward import recognizer_forward
from ..vared.policy import Policy

_Conv = (nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Runner:
    """One variant of one recognizer, for one shape of inputs.

    Args:
        run: From float32 clips to float32 scores (N, classes), without gradients.
        policy: Where an adaptive variant looks its routes up, None for dense ones.
        executed: Multiply-adds of each clip of the last call, where the variant counts them.
    """

    run: Callable[[Tensor], Tensor]
    policy: Policy | None = None
    executed: Callable[[], list[int]] | None = None


class Scores(nn.Module):
    """A recognizer as a plain module: clips in, scores out. What exporters and compilers take."""

    def __init__(self, recognizer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.dtype = dtype

    def forward(self, inputs: Tensor) -> Tensor:
        """Return float32 scores (N, classes) of float32 inputs."""
        return recognizer_forward(self.recognizer, inputs.to(self.dtype)).float()


def without_gradients(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return `forward` as it runs in evaluation."""

    def run(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return forward(inputs)

    return run


def eager(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """MMAction2 as it is, in the data type."""
    return _runner(copy.deepcopy(recognizer), dtype)


def channels_last(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """Weights channels-last; activations follow."""
    return _runner(_channels_last(copy.deepcopy(recognizer)), dtype)


def folded(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """Batch norms folded into the convolutions before them."""
    return _runner(fold(recognizer, example), dtype)


def folded_channels_last(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """Both."""
    return _runner(_channels_last(fold(recognizer, example)), dtype)


def onednn(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """Both, and every convolution by oneDNN where PyTorch's own choice may be a slower one."""
    forced = _channels_last(fold(recognizer, example))
    for module in forced.modules():
        if isinstance(module, _Conv):
            convolution: Any = module
            convolution._conv_forward = partial(_by_onednn, module)
    return _runner(forced, dtype)


def autocast(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """MMAction2 as it is under `torch.autocast`."""
    scores = Scores(copy.deepcopy(recognizer), torch.float32)

    def forward(inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype):
            found: Tensor = scores(inputs)
        return found

    return Runner(without_gradients(forward))


def skipping(recognizer: nn.Module, example: Tensor, dtype: torch.dtype) -> Runner:
    """The adaptive recognizer's own forward: skips layer by layer, rebuilds at once."""
    adaptive: Any = copy.deepcopy(recognizer).to(dtype)
    policy: Policy = adaptive.vared
    policy.runs_gates = True
    run = without_gradients(Scores(adaptive, dtype))
    return Runner(run, policy, lambda: [int(macs) for macs in policy.executed().total()])


def fold(recognizer: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy whose batch norms are folded into the convolutions they directly follow."""
    copied = copy.deepcopy(recognizer)
    for conv_path, norm_path in _followed(recognizer, example):
        conv: Any = copied.get_submodule(conv_path)
        norm: Any = copied.get_submodule(norm_path)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        host, _, name = norm_path.rpartition(".")
        setattr(copied.get_submodule(host), name, nn.Identity())
    return copied


def _followed(recognizer: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Paths of each convolution whose output goes into a batch norm, and of that norm."""
    shapes = copy.deepcopy(recognizer).to("meta")
    outputs: list[tuple[str, Any]] = []
    pairs: list[tuple[str, str]] = []

    def left(path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        outputs.append((path, output))  # kept, so that no other tensor is taken for it

    def entered(path: str, module: nn.Module, inputs: Any) -> None:
        pairs.extend((conv, path) for conv, output in outputs if output is inputs[0])

    for path, module in shapes.named_modules():
        if isinstance(module, _Conv):
            module.register_forward_hook(partial(left, path))
        elif isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(partial(entered, path))
    with torch.no_grad():
        recognizer_forward(shapes, torch.empty_like(example, device="meta"))
    return pairs


def _runner(recognizer: nn.Module, dtype: torch.dtype) -> Runner:
    return Runner(without_gradients(Scores(recognizer.to(dtype), dtype)))


def _channels_last(recognizer: nn.Module) -> nn.Module:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in recognizer.parameters():
        if parameter.dim() in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.dim()])
    return recognizer


def _by_onednn(conv: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    convolved: Tensor = torch.mkldnn_convolution(
        x, weight, bias, conv.padding, conv.stride, conv.dilation, conv.groups
    )
    return convolved
