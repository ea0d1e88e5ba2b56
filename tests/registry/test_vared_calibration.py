"""Calibration leaves the executed share in its window, however the gates stood before."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from registry.vared.calibration import DEPTH, Shares, calibrate, shifted
from registry.vared.gate import Gate
from registry.vared.recognizer import adapt
from registry.vared.settings import VaRedSettings

MARGIN = 0.015


def batch(example: Tensor) -> dict[str, Any]:
    from mmaction.structures import ActionDataSample

    clips = [torch.randint(0, 255, example.shape[1:], dtype=torch.uint8) for _ in range(6)]
    return {"inputs": clips, "data_samples": [ActionDataSample().set_gt_label(0) for _ in clips]}


@pytest.mark.parametrize("space", [2, 3])
@pytest.mark.parametrize("name", ["tsn", "r2plus1d"])
def test_the_share_ends_in_its_window(
    make_recognizer: Callable[[str], tuple[nn.Module, Tensor]], name: str, space: Any
) -> None:
    dense, example = make_recognizer(name)
    recognizer: Any = copy.deepcopy(dense)
    adapt(recognizer, VaRedSettings(search_space=space), example)
    torch.manual_seed(2)
    for module in recognizer.modules():
        if isinstance(module, Gate):  # gates that stand anywhere
            nn.init.normal_(module.excite.bias, std=0.8)
    shares = Shares(recognizer, [batch(example)])
    for budget in (0.9, 0.7, 0.5):
        reached = calibrate(shares, budget, MARGIN)
        assert budget - MARGIN - DEPTH <= reached <= budget - MARGIN
        assert reached == shares.measure().share


def test_a_budget_below_the_floor_ends_at_the_floor(
    make_recognizer: Callable[[str], tuple[nn.Module, Tensor]],
) -> None:
    dense, example = make_recognizer("tsn")
    recognizer: Any = copy.deepcopy(dense)
    adapt(recognizer, VaRedSettings(), example)
    reached = calibrate(Shares(recognizer, [batch(example)]), 0.1, MARGIN)
    assert reached == pytest.approx(recognizer.vared.costs.floor(), rel=0.01)


@pytest.mark.parametrize("norm", ["layer", "batch", "running"])
def test_gates_are_shifted_for_a_while_and_then_as_before_to_the_bit(
    make_recognizer: Callable[[str], tuple[nn.Module, Tensor]], norm: Any
) -> None:
    dense, example = make_recognizer("tsn")
    recognizer: Any = copy.deepcopy(dense)
    adapt(recognizer, VaRedSettings(gate_norm=norm), example)
    shares = Shares(recognizer, [batch(example)])
    before = copy.deepcopy(recognizer.state_dict())
    share = shares.measure().share
    with shifted(shares, 0.7, MARGIN):
        assert 0.7 - MARGIN - DEPTH <= shares.measure().share <= 0.7 - MARGIN
    with pytest.raises(ZeroDivisionError), shifted(shares, 0.6, MARGIN):
        raise ZeroDivisionError
    after = recognizer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert shares.measure().share == share
