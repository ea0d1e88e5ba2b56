"""The teacher is the dense recognizer, and no part of the one it teaches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from registry.recognizers.forward import recognizer_forward
from registry.vared.controller import BudgetHook
from registry.vared.distillation import Teacher
from registry.vared.recognizer import adapt
from registry.vared.settings import LossSettings, TrainingSettings, VaRedSettings

Make = Callable[[str], tuple[nn.Module, Tensor]]


def adapted(make: Make, name: str, **loss: Any) -> tuple[nn.Module, Any, Tensor]:
    """A dense recognizer, its adaptive twin, and a batch of clips."""
    dense, example = make(name)
    recognizer = copy.deepcopy(dense)
    adapt(recognizer, VaRedSettings(), example, LossSettings(**loss))
    torch.manual_seed(1)
    return dense, recognizer, torch.randn(3, *example.shape[1:])


@pytest.mark.parametrize("name", ["tsn", "r2plus1d"])
def test_the_student_is_as_far_off_as_its_scores_are_from_the_dense_ones(
    make_recognizer: Make, name: str
) -> None:
    dense, recognizer, clips = adapted(make_recognizer, name)
    scores = recognizer_forward(recognizer, clips)  # by its gates' routes, with a graph
    teacher = Teacher(recognizer)
    with torch.no_grad():
        expected = recognizer_forward(dense, clips).softmax(1)
        for parameter in recognizer.parameters():
            parameter.zero_()
    off = teacher.divergence(clips, scores)
    by_hand = (expected * (expected.log() - scores.log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(off, by_hand)
    (slope,) = torch.autograd.grad(off, scores)
    torch.testing.assert_close(slope, (scores.detach().softmax(1) - expected) / len(clips))
    assert float(teacher.divergence(clips, expected.log())) == pytest.approx(0, abs=1e-6)


def test_the_teacher_is_no_part_of_the_recognizer(make_recognizer: Make) -> None:
    _, recognizer, clips = adapted(make_recognizer, "tsn", distil=1.0)
    keys = list(recognizer.state_dict())
    num_parameters = len(list(recognizer.parameters()))
    recognizer.loss.take_up_teacher(recognizer.state_dict())
    assert list(recognizer.state_dict()) == keys
    assert len(list(recognizer.parameters())) == num_parameters
    taught = recognizer.loss.teacher.recognizer
    assert not any(parameter.requires_grad for parameter in taught.parameters())
    ran = []
    taught.register_forward_hook(lambda *_: ran.append(True))
    recognizer_forward(recognizer.eval(), clips)
    assert not ran


MESSAGE = "`warmup` must be > 0, but got 0"


def test_a_teacher_without_a_warm_up_is_a_mistake(make_recognizer: Make) -> None:
    with pytest.raises(ValidationError, match=MESSAGE):
        TrainingSettings(distil=0.5, warmup=0)
    _, recognizer, _ = adapted(make_recognizer, "tsn", distil=0.5)
    with pytest.raises(ValueError, match=MESSAGE):
        BudgetHook(0.7, {"warmup": 0}).before_train(SimpleNamespace(model=recognizer))
