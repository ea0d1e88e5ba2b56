"""What goes through each convolution of a recognizer for one clip, found by one dry run."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from ..macs import count
from ..recognizers.forward import recognizer_forward

Convolution = (nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Shapes:
    """What went through a convolution for one clip: input and output as (C, T, H, W), and order."""

    inputs: tuple[int, int, int, int]
    outputs: tuple[int, int, int, int]
    order: int


def dry_run(recognizer: nn.Module, example: Tensor) -> tuple[dict[str, Shapes], int]:
    """Run one clip through a copy without data; return shapes by convolution, and dense MACs."""
    probe = copy.deepcopy(recognizer).to("meta").eval()
    shapes: dict[str, Shapes] = {}

    def note(name: str) -> object:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if name in shapes:
                shapes[name] = Shapes((0, 0, 0, 0), (0, 0, 0, 0), -1)  # runs more than once
            else:
                shapes[name] = Shapes(_cthw(inputs[0]), _cthw(output), len(shapes))

        return hook

    handles = [
        module.register_forward_hook(note(name))  # type: ignore[arg-type]
        for name, module in probe.named_modules()
        if isinstance(module, Convolution)
    ]
    ledger = count(probe, example.to("meta"), recognizer_forward)
    for handle in handles:
        handle.remove()
    return shapes, ledger.total


def _cthw(x: Tensor) -> tuple[int, int, int, int]:
    if x.dim() == 4:  # frames are folded into the batch of one clip
        return (x.shape[1], x.shape[0], x.shape[2], x.shape[3])
    return (x.shape[1], x.shape[2], x.shape[3], x.shape[4])
