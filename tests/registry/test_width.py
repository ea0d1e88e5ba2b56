"""Width scaling: one surgery for every MMAction2 backbone."""

from __future__ import annotations

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn

from registry._mmaction import build_recognizer, init_weights, zoo_model
from registry.recognizers.build import build, example_input
from registry.recognizers.forward import recognizer_forward
from registry.recognizers.width import scale_width, scaled_channels
from registry.tables import RECOGNIZERS

ZOO = {
    "tsn": ("tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb.py", 2, 32),
    "tsm": ("tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py", 8, 32),
    "slowfast": ("slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py", 16, 32),
    "r2plus1d": ("r2plus1d/r2plus1d_r34_8xb8-8x8x1-180e_kinetics400-rgb.py", 8, 32),
    "i3d": ("i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb.py", 16, 32),
    "i3d-nonlocal": (
        "i3d/i3d_imagenet-pretrained-r50-nl-dot-product_8xb8-32x2x1-100e_kinetics400-rgb.py",
        16,
        64,
    ),
    "slowonly": ("slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb.py", 4, 32),
    "c2d": ("c2d/c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb.py", 8, 64),
    "c3d": ("c3d/c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb.py", 16, 112),
    "x3d": ("x3d/x3d_s_13x6x1_facebook-kinetics400-rgb.py", 4, 32),
}


def zoo_recognizer(name, device):
    path, num_frames, size = ZOO[name]
    model = zoo_model(f"recognition/{path}")
    packing = "NCHW" if model["type"] == "Recognizer2D" else "NCTHW"
    example = example_input(packing, num_frames, size, device=device)
    return model, example


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("width", [0.3, 1.5])
def test_scales_every_channel_number_by_one_rounding(name, width):
    model, example = zoo_recognizer(name, "meta")
    nominal = dict(build(model, example).named_modules())
    scaled = build(model | {"width": width}, example)
    for path, layer in scaled.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            expected = scaled_channels(width, nominal[path].out_channels)
            assert layer.out_channels == layer.weight.shape[0] == expected, path
    num_classes = model["cls_head"]["num_classes"]
    assert recognizer_forward(scaled.eval(), example).shape == (1, num_classes)


@pytest.mark.parametrize("name", ["slowonly", "x3d"])
def test_scaled_weights_initialise_and_run(name):
    model, example = zoo_recognizer(name, "cpu")
    recognizer = build(model | {"width": 0.25}, example)
    init_weights(recognizer)
    assert recognizer_forward(recognizer.eval(), example).isfinite().all()


def test_initial_weights_are_mmaction2s():
    """Kaiming in the backbone: the variance follows the scaled fan-out."""
    model, example = zoo_recognizer("tsn", "cpu")
    recognizer = build(model | {"width": 0.5}, example)
    init_weights(recognizer)
    conv = recognizer.backbone.layer4[0].conv2.conv
    fan_out = conv.out_channels * 3 * 3
    assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
    assert recognizer.cls_head.fc_cls.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_composed_modules_know_their_channels():
    recognizer = RECOGNIZERS.load("r2plus1d")
    config = recognizer.config(scale="desk", num_classes=3, num_frames=8, dropout=0.0)
    built = build(config, example_input("NCTHW", 8, 32, device="meta"))
    composed = [module for module in built.modules() if isinstance(module, ConvModule)]
    assert composed
    for module in composed:
        split = module.conv
        assert module.in_channels == split.in_channels == split.conv_s.in_channels
        assert module.out_channels == split.out_channels == split.conv_t.out_channels
        assert split.bn_s.num_features == split.conv_s.out_channels
    assert built.cls_head.in_channels == built.cls_head.fc_cls.in_features


def test_depthwise_convolutions_stay_depthwise():
    model, example = zoo_recognizer("x3d", "meta")
    scaled = build(model | {"width": 0.5}, example)
    conv = scaled.backbone.layer1[0].conv2.conv
    assert conv.groups == conv.in_channels == conv.out_channels == scaled_channels(0.5, 54)


def test_full_width_leaves_the_weights_alone():
    model, example = zoo_recognizer("tsn", "cpu")
    recognizer = build_recognizer(model)
    before = recognizer.backbone.conv1.conv.weight
    scale_width(recognizer, 1.0, example)
    assert recognizer.backbone.conv1.conv.weight is before


def test_training_mode_and_hooks_are_put_back():
    model, example = zoo_recognizer("tsn", "meta")
    recognizer = build(model | {"width": 0.5}, example)
    assert recognizer.training
    assert not any(module._forward_pre_hooks for module in recognizer.modules())


class _Head(nn.Module):
    num_classes = 2

    def __init__(self, features):
        super().__init__()
        self.fc_cls = nn.Linear(features, self.num_classes)

    def forward(self, x_NCHW):
        return self.fc_cls(x_NCHW.mean((2, 3)))


class _Tiny(nn.Module):
    """The shape of a recognizer, around any body."""

    def __init__(self, body, features):
        super().__init__()
        self.body = body
        self.cls_head = _Head(features)

    def forward(self, x_NCHW, stage):
        return self.cls_head(self.body(x_NCHW))


class _Concatenates(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 10, 1)
        self.after = nn.Conv2d(16, 8, 1)

    def forward(self, x_NCHW):
        return self.after(torch.cat([self.left(x_NCHW), self.right(x_NCHW)], 1))


IMAGE = torch.zeros(1, 3, 8, 8)


def test_concatenations_add_up():
    body = _Concatenates()
    scale_width(_Tiny(body, 8), 0.25, IMAGE)
    assert body.after.in_channels == scaled_channels(0.25, 6) + scaled_channels(0.25, 10)


def test_groups_keep_their_number():
    conv = nn.Conv2d(8, 16, 3, groups=4)
    scale_width(_Tiny(nn.Sequential(nn.Conv2d(3, 8, 1), conv), 16), 0.5, IMAGE)
    assert (conv.in_channels, conv.out_channels, conv.groups) == (4, 8, 4)


def test_no_layer_vanishes():
    conv = nn.Conv2d(3, 8, 1)
    scale_width(_Tiny(conv, 8), 0.001, IMAGE)
    assert conv.out_channels == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8)), r"'body.1' \(GroupNorm\)"),
        (nn.ConvTranspose2d(3, 8, 2), r"'body' \(ConvTranspose2d\)"),
        (
            nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=4)),
            "'body.1': 4 groups do not divide 2 input",
        ),
    ],
    ids=["group norm", "transposed", "groups"],
)
def test_names_what_it_cannot_scale(body, message):
    with pytest.raises(ValueError, match=message):
        scale_width(_Tiny(body, 8), 0.25, IMAGE)


def test_refuses_to_leave_an_unreached_layer_behind():
    tiny = _Tiny(nn.Conv2d(3, 8, 1), 8)
    tiny.spare = nn.Conv2d(8, 8, 1)
    with pytest.raises(ValueError, match="no data reaches: spare"):
        scale_width(tiny, 0.5, IMAGE)


def test_says_where_shapes_stop_fitting():
    class Reshapes(nn.Module):
        def forward(self, x_NCHW):
            return x_NCHW.reshape(1, 8, 8, 8)

    with pytest.raises(ValueError, match=r"after 'body.1' \(Reshapes\)"):
        scale_width(_Tiny(nn.Sequential(nn.Conv2d(3, 8, 1), Reshapes()), 8), 0.5, IMAGE)


@pytest.mark.parametrize("width", [0.0, -1.0])
def test_width_is_positive(width):
    with pytest.raises(ValueError, match="`width` must be > 0"):
        scale_width(_Tiny(nn.Conv2d(3, 8, 1), 8), width, IMAGE)
