from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from registry.recognizers.build import build, example_input
from registry.tables import RECOGNIZERS

NUM_CLASSES = 5
NUM_FRAMES = 8
SIZE = 32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several test processes on one machine wait for one another otherwise."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def make_recognizer() -> Callable[[str], tuple[nn.Module, Tensor]]:
    """Desk recognizers with statistics and affine parameters far from their neutral start."""

    def make(name: str) -> tuple[nn.Module, Tensor]:
        entry = RECOGNIZERS.load(name)
        config = entry.config(
            scale="desk", num_classes=NUM_CLASSES, num_frames=NUM_FRAMES, dropout=0.0
        )
        example = example_input(entry.input_format, NUM_FRAMES, SIZE)
        torch.manual_seed(0)
        recognizer = build(config, example)
        for module in recognizer.modules():
            if isinstance(module, _BatchNorm):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
        return recognizer.eval(), example

    return make
