"""VA-RED2 the way an MMAction2 user meets it: a config, MMEngine's Runner, and other backbones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from registry._mmaction import build_recognizer, import_mmaction, zoo_model
from registry.recognizers.build import build, example_input
from registry.recognizers.forward import recognizer_forward
from registry.vared.recognizer import adapt
from registry.vared.settings import VaRedSettings

FRAMES, SIZE, CLASSES = 4, 32, 3
TSM = "recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py"


def tsm_config() -> dict[str, Any]:
    model = zoo_model(TSM)
    model["backbone"] |= {"depth": 18, "num_segments": FRAMES}
    model["cls_head"] |= {"num_classes": CLASSES, "in_channels": 512, "num_segments": FRAMES}
    return model


class Clips(torch.utils.data.Dataset[dict[str, Any]]):
    """Brightness tells the class: enough to train on, nothing to read."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Any]:
        import_mmaction()
        from mmaction.structures import ActionDataSample

        label = index % CLASSES
        clip = torch.full((FRAMES, 3, SIZE, SIZE), 40 + 60 * label, dtype=torch.uint8)
        return {"inputs": clip, "data_samples": ActionDataSample().set_gt_label(label)}


def run_config(model: dict[str, Any], folder: Path, epochs: int = 2) -> dict[str, Any]:
    """What a user would write, but for the data."""
    return {
        "custom_imports": {"imports": ["registry.vared.plugin"]},
        "model": model,
        "work_dir": str(folder),
        "train_dataloader": {
            "dataset": Clips(),
            "batch_size": 4,
            "num_workers": 0,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "pseudo_collate"},
        },
        "train_cfg": {"by_epoch": True, "max_epochs": epochs},
        "optim_wrapper": {
            "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.01},
            "paramwise_cfg": {"custom_keys": {"vared": {"lr_mult": 10, "decay_mult": 0}}},
        },
        "custom_hooks": [{"type": "BudgetHook", "budget": 0.8}],
        "default_hooks": {"logger": None, "timer": None},
        "default_scope": "mmaction",
        "log_level": "WARNING",
        "experiment_name": folder.name,
    }


def test_a_plain_config_trains_to_its_budget_and_saves(tmp_path: Path) -> None:
    import_mmaction()
    from mmengine.runner import Runner
    from mmengine.utils import import_modules_from_strings

    model = tsm_config() | {
        "type": "AdaptiveRecognizer2D",
        "vared": {"num_frames": FRAMES, "size": SIZE},
    }
    config = run_config(model, tmp_path)
    import_modules_from_strings(**config.pop("custom_imports"))  # as `Config.fromfile` does
    runner = Runner(**config)
    runner.train()
    policy = runner.model.vared
    assert not policy.full
    assert policy.executed().total().double().mean() / policy.costs.dense <= 0.8
    saved = torch.load(tmp_path / "epoch_2.pth", map_location="cpu", weights_only=False)
    assert set(saved["vared_controller"]) >= {"integral", "efficiency_weight", "frozen"}
    assert any(".vared." in key for key in saved["state_dict"])


def test_a_dense_checkpoint_loads_into_the_adaptive_recognizer() -> None:
    dense = build_recognizer(tsm_config()).eval()
    import registry.vared.plugin  # noqa: F401  (registers the adaptive recognizers)

    adaptive = build_recognizer(
        tsm_config()
        | {"type": "AdaptiveRecognizer2D", "vared": {"num_frames": FRAMES, "size": SIZE}}
    ).eval()
    missing, unexpected = adaptive.load_state_dict(dense.state_dict(), strict=False)
    assert unexpected == []
    assert all(".vared." in key for key in missing)
    adaptive.vared.full = True
    clip = torch.randn(2, FRAMES, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(
            recognizer_forward(adaptive, clip), recognizer_forward(dense, clip), rtol=0, atol=1e-6
        )


OTHERS = {
    "i3d": (
        "recognition/i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb.py",
        "NCTHW",
    ),
    "slowonly": ("recognition/slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb.py", "NCTHW"),
    "x3d": ("recognition/x3d/x3d_s_13x6x1_facebook-kinetics400-rgb.py", "NCTHW"),
    "c2d": ("recognition/c2d/c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb.py", "NCTHW"),
}


@pytest.mark.parametrize(("path", "layout"), OTHERS.values(), ids=OTHERS.keys())
def test_other_recognizers_of_mmaction2_skip_to_the_masked_output(path: str, layout: Any) -> None:
    example = example_input(layout, 8, SIZE)
    dense = build(zoo_model(path) | {"width": 0.25}, example).eval()
    recognizer: nn.Module = copy.deepcopy(dense)
    surgery = adapt(recognizer, VaRedSettings(), example)
    assert len(surgery.converted) > 10
    torch.manual_seed(0)
    policy = recognizer.eval().vared
    clips = torch.randn(2, *example.shape[1:])
    policy.routes = torch.randint(0, 2, (2, len(policy.costs), 2))
    outputs = []
    with torch.no_grad():
        for policy.skip in (False, True):
            outputs.append(recognizer_forward(recognizer, clips))
    scale = outputs[0].abs().max().clamp_min(1)
    assert (outputs[0] - outputs[1]).abs().max() <= 1e-5 * scale
    policy.routes = torch.zeros(1, len(policy.costs), 2)
    with torch.no_grad():
        torch.testing.assert_close(
            recognizer_forward(recognizer, clips),
            recognizer_forward(dense, clips),
            rtol=0,
            atol=1e-5,
        )


@pytest.mark.parametrize("name", ["tsm", "r2plus1d"])
@pytest.mark.parametrize("cheap", ["copy", "scale"])
def test_every_parameter_learns_in_mixed_precision(
    make_recognizer: Callable[[str], tuple[nn.Module, torch.Tensor]], name: str, cheap: str
) -> None:
    """As `AmpOptimWrapper` does it, for those who train on a GPU."""
    import_mmaction()
    from mmaction.structures import ActionDataSample

    recognizer, example = make_recognizer(name)
    adapt(recognizer, VaRedSettings(cheap=cheap), example)
    recognizer.train()
    recognizer.vared.efficiency_weight = 1.0
    clips = torch.randn(2, *example.shape[1:])
    samples = [ActionDataSample().set_gt_label(label) for label in (0, 1)]
    with torch.autocast("cpu", torch.float16):
        losses = recognizer.loss(clips, samples)
    loss = sum(value for key, value in losses.items() if "loss" in key)
    loss.backward()
    assert loss.isfinite()
    for key, parameter in recognizer.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.dtype == parameter.dtype
