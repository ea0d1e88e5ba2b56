"""One group of parameters for each combination of settings, and the same updates."""

from __future__ import annotations

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn

from registry.optimiser import merged, optimiser_settings


def test_groups_of_the_same_settings_become_one_in_order() -> None:
    groups = [
        {"params": [1]},
        {"params": [2], "weight_decay": 0.0},
        {"params": [3], "weight_decay": 0.0, "lr": 0.1},
        {"params": [4]},
        {"params": [5], "weight_decay": 0.0},
    ]
    assert merged(groups) == [
        {"params": [1, 4]},
        {"params": [2, 5], "weight_decay": 0.0},
        {"params": [3], "weight_decay": 0.0, "lr": 0.1},
    ]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))


def test_grouped_parameters_are_updated_as_one_by_one_to_the_bit() -> None:
    grouped = optimiser_settings(0.1, 0.05, {"3.weight": {"lr_mult": 10.0}})
    plain = {name: value for name, value in grouped.items() if name != "constructor"}
    models = [network(), network()]
    wrappers = [
        build_optim_wrapper(model, settings)
        for model, settings in zip(models, (grouped, plain), strict=True)
    ]
    num_groups = [len(wrapper.optimizer.param_groups) for wrapper in wrappers]
    assert num_groups == [3, 6]
    clips = torch.randn(5, 4)
    for _ in range(3):
        for model, wrapper in zip(models, wrappers, strict=True):
            wrapper.update_params(model(clips).square().mean())
    for ours, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_no_parameter_is_told_about_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, "callHandlers", lambda record: said.append(record.getMessage()))
    model = network()
    model[3].requires_grad_(False)  # MMEngine warns of each that is left out
    settings = optimiser_settings(0.1, 0.05, {"0.weight": {"lr_mult": 10.0}})
    build_optim_wrapper(model, settings)
    assert not [line for line in said if "3.weight" in line]
    build_optim_wrapper(model, {**settings, "constructor": "DefaultOptimWrapperConstructor"})
    assert [line for line in said if "3.weight" in line]  # or there was nothing to be silent about
