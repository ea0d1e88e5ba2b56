"""MAC counting: expectations are formulas of each test's own sizes."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.logging import MMLogger
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from registry.macs import count, summarise
from registry.recognizers.build import build, example_input
from registry.recognizers.forward import recognizer_forward
from registry.tables import RECOGNIZERS

N, C, H, W = 2, 6, 8, 10
IMAGE = torch.zeros(N, C, H, W)


def run(model, x):
    return model(x)


def macs_of(model, x, forward=run):
    return count(model, x, forward).total


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(C, 4, 3, padding=1), N * H * W * 4 * C * 3 * 3),
        (nn.Conv2d(C, 4, 3, padding=1, stride=2), N * (H // 2) * (W // 2) * 4 * C * 3 * 3),
        (nn.Conv2d(C, 4, 1, groups=2), N * H * W * 4 * (C // 2)),
        (nn.Conv2d(C, C, 3, padding=1, groups=C), N * H * W * C * 3 * 3),
        (nn.ConvTranspose2d(C, 4, 2, stride=2), N * H * W * C * 4 * 2 * 2),
        (nn.Linear(W, 5), N * C * H * W * 5),
        (nn.Linear(W, 5, bias=False), N * C * H * W * 5),
        (nn.BatchNorm2d(C), N * C * H * W * 2),
        (nn.BatchNorm2d(C, affine=False), N * C * H * W),
        (nn.LayerNorm(W), N * C * H * W * 5),
        (nn.GroupNorm(2, C), N * C * H * W * 5),
        (nn.GroupNorm(2, C, affine=False), N * C * H * W * 4),
        (nn.AdaptiveAvgPool2d(1), N * C * H * W),
        (nn.AdaptiveAvgPool2d(2), N * C * H * W),
        (nn.UpsamplingNearest2d(scale_factor=2), N * C * 2 * H * 2 * W),
        (nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Dropout()), 0),
    ],
    ids=lambda value: str(value)[:40],
)
def test_counts_each_operator_by_its_formula(layer, expected):
    assert macs_of(layer, IMAGE) == expected


@pytest.mark.parametrize("bias", [True, False])
def test_counts_3d_convolutions(bias):
    kernel, features, num_frames = (3, 1, 3), 5, 4
    conv = nn.Conv3d(C, features, kernel, padding=(1, 0, 1), stride=(2, 1, 1), bias=bias)
    clip = torch.zeros(N, C, num_frames, H, W)
    assert macs_of(conv, clip) == N * (num_frames // 2) * H * W * features * C * 3 * 1 * 3


def test_counts_matrix_products():
    a, b = torch.zeros(3, 4, 5), torch.zeros(3, 5, 6)
    ledger = count(nn.Identity(), a, lambda _, x: (x @ b, torch.baddbmm(x @ b, x, b)))
    assert ledger.by_column()["linear"] == ledger.total == 3 * (3 * 4 * 5 * 6)


def test_fused_attention_is_two_matrix_products():
    num_heads, length, features = 2, 16, 8
    q_NHLE = torch.zeros(1, num_heads, length, features, device="meta")
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    ledger = count(nn.Identity(), q_NHLE, lambda _, x: attend(x, x, x, None, False))
    assert ledger.total == ledger.flop_counter_macs == 2 * num_heads * length * length * features


class _Block(nn.Module):
    def __init__(self, claim=None):
        super().__init__()
        self.conv = nn.Conv2d(C, C, 1)
        self.norm = nn.BatchNorm2d(C)
        self.gate = _Gate(claim)

    def forward(self, x_NCHW):
        return self.norm(self.conv(x_NCHW)) * self.gate(x_NCHW)


class _Gate(nn.Module):
    def __init__(self, claim):
        super().__init__()
        if claim:
            self.macs_column = claim
        self.fc = nn.Linear(C, C)

    def forward(self, x_NCHW):
        return torch.relu(self.fc(x_NCHW.mean((2, 3))) + 1)[:, :, None, None]


def test_columns_and_layers_add_up():
    ledger = count(_Block(), IMAGE, run)
    conv, norm, fc, pool = N * H * W * C * C, 2 * N * C * H * W, N * C * C, N * C * H * W
    assert ledger.by_layer() == {
        "conv": {"conv": conv},
        "norm": {"norm": norm},
        "gate": {"pool": pool},
        "gate.fc": {"linear": fc},
    }
    assert ledger.by_column() == {
        "conv": conv,
        "linear": fc,
        "norm": norm,
        "pool": pool,
        "gate": 0,
        "rebuild": 0,
    }
    assert ledger.flop_counter_macs == conv + fc


@pytest.mark.parametrize("claim", ["gate", "rebuild"])
def test_a_claimed_column_holds_all_that_runs_beneath(claim):
    ledger = count(_Block(claim), IMAGE, run)
    mean, fc, plus_one = N * C * H * W, N * C * C, N * C
    assert ledger.by_column()[claim] == mean + fc + plus_one
    assert ledger.by_column()["linear"] == 0
    assert ledger.flop_counter_macs == N * H * W * C * C + fc


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="must be one of gate, rebuild, but got 'conv'"):
        count(_Block("conv"), IMAGE, run)


def test_what_the_convention_leaves_out_is_listed():
    ledger = count(_Block(), IMAGE, run)
    assert ledger.uncounted == {
        "aten.add": N * C,
        "aten.relu": N * C,
        "aten.mul": N * C * H * W,
    }
    assert not ledger.unknown


def test_views_cost_nothing():
    ledger = count(nn.Identity(), IMAGE, lambda _, x: x.flatten(2).transpose(1, 2)[:, ::2])
    assert (ledger.total, ledger.uncounted, ledger.unknown) == (0, {}, {})


def test_an_operator_of_unknown_cost_is_never_dropped():
    ledger = count(nn.Identity(), IMAGE, lambda _, x: torch.fft.rfft(x))
    assert list(ledger.unknown) == ["aten._fft_r2c"]


def test_skipped_work_is_not_counted():
    conv = nn.Conv2d(C, C, 1)
    half = count(conv, IMAGE, lambda model, x: model(x[: N // 2]))
    assert half.total == macs_of(conv, IMAGE) // 2


def test_leaves_training_mode_and_hooks_as_they_were():
    block = _Block().train()
    statistics = block.norm.running_mean.clone()
    count(block, IMAGE + 1, run)
    assert block.training
    assert torch.equal(block.norm.running_mean, statistics)
    assert not any(module._forward_hooks for module in block.modules())


class _ToScores(nn.Module):
    """MMEngine's analyzer calls `forward(inputs)` and would stop before the head."""

    def __init__(self, recognizer):
        super().__init__()
        self.recognizer = recognizer

    def forward(self, inputs):
        return recognizer_forward(self.recognizer, inputs)


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_agrees_with_two_independent_counters(name):
    recognizer = RECOGNIZERS.load(name)
    config = recognizer.config(scale="desk", num_classes=6, num_frames=8, dropout=0.2)
    example = example_input(recognizer.input_format, 8, 56)
    model = build(config, example).eval()
    ledger = count(model, example)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        recognizer_forward(model, example)
    assert ledger.flop_counter_macs == counter.get_total_flops() // 2
    assert ledger.total == _mmengine_macs(model, example)
    assert not ledger.unknown


def _mmengine_macs(model, example):
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return get_model_complexity_info(
            _ToScores(model), inputs=(example,), show_table=False, show_arch=False
        )["flops"]
    finally:
        logger.setLevel(level)


def test_shapes_alone_give_the_same_count():
    recognizer = RECOGNIZERS.load("slowfast")
    config = recognizer.config(scale="desk", num_classes=6, num_frames=8, dropout=0.2)
    examples = [example_input("NCTHW", 8, 56, device=device) for device in ("cpu", "meta")]
    assert len({count(build(config, example), example).total for example in examples}) == 1


ZOO = {
    "tsn": "recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb.py",
    "tsm": "recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py",
    "slowfast": "recognition/slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py",
    "r2plus1d": "recognition/r2plus1d/r2plus1d_r34_8xb8-8x8x1-180e_kinetics400-rgb.py",
    "c3d": "recognition/c3d/c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb.py",
    "i3d": "recognition/i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb.py",
}


@pytest.mark.parametrize(
    ("name", "size", "frames", "published_gmacs"),
    [
        ("tsn", None, None, "102.7"),  # 25 frames at 224
        ("tsn", 224, 8, "32.88"),
        ("tsm", None, None, "32.88"),
        ("slowfast", 224, None, "27.82"),
        ("slowfast", None, None, "36.3"),  # its test clip is 256 x 256
        ("r2plus1d", 224, None, "40.69"),
        ("r2plus1d", None, None, "53.1"),
        ("c3d", None, None, "38.5"),
        ("i3d", None, None, "43.5"),
    ],
)
def test_model_zoo_figures_come_out_to_the_printed_digit(name, size, frames, published_gmacs):
    summary = summarise(ZOO[name], size=size, frames=frames)
    decimals = len(published_gmacs.partition(".")[2])
    assert f"{summary['dense_gmacs']:.{decimals}f}" == published_gmacs
    assert not summary["unknown"]


@pytest.mark.parametrize(
    ("name", "gmacs", "million_params"),
    [
        ("tsn", "32.88", "24.33"),
        ("tsm", "32.88", "24.33"),
        ("slowfast", "27.82", "34.48"),
        ("r2plus1d", "40.69", "63.76"),
    ],
)
def test_paper_scale_is_the_published_recognizer(name, gmacs, million_params):
    summary = summarise(name)
    assert f"{summary['dense_gmacs']:.2f}" == gmacs
    assert f"{summary['params'] / 1e6:.2f}" == million_params


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_desk_scale_is_small(name):
    summary = summarise(name, "desk", num_classes=6)
    assert 0.05 < summary["dense_gmacs"] < 0.15
    assert sum(row["macs"] for row in summary["layers"]) == round(1e9 * summary["dense_gmacs"])
    assert summary["gmacs_conv_linear"] < summary["dense_gmacs"]


def test_summary_says_what_is_wrong():
    with pytest.raises(LookupError, match="Did you mean 'tsm'"):
        summarise("tsmm")
    with pytest.raises(ValueError, match="no MMAction2 config at none.py"):
        summarise("none.py")
    with pytest.raises(ValueError, match="does not take clips of shape"):
        summarise(ZOO["tsm"], frames=5)
