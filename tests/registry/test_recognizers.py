"""The recognizers of the table, as MMAction2 builds them at both scales."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from registry._mmaction import build_recognizer, init_weights, without_downloads, zoo_config
from registry.recognizers.build import build, example_input
from registry.recognizers.forward import recognizer_forward
from registry.tables import RECOGNIZERS

NUM_CLASSES = 6
CLIP = {"desk": (8, 56), "paper": (32, 224)}


def built(name, scale, device="meta"):
    num_frames, size = CLIP[scale]
    recognizer = RECOGNIZERS.load(name)
    config = recognizer.config(
        scale=scale, num_classes=NUM_CLASSES, num_frames=num_frames, dropout=0.3
    )
    example = example_input(recognizer.input_format, num_frames, size, device=device)
    return build(config, example), example


@pytest.mark.parametrize("name", RECOGNIZERS)
@pytest.mark.parametrize("scale", CLIP)
class TestEveryRecognizer:
    def test_gives_a_score_for_each_class(self, name, scale):
        recognizer, example = built(name, scale)
        assert recognizer_forward(recognizer.eval(), example).shape == (1, NUM_CLASSES)

    def test_normalises_as_mmaction2_does(self, name, scale):
        num_frames, size = CLIP[scale]
        recognizer, example = built(name, scale, device="cpu" if scale == "desk" else "meta")
        preprocessor = recognizer.data_preprocessor
        axes_after_channels = {"NCHW": 2, "NCTHW": 3}[RECOGNIZERS.load(name).input_format]
        assert preprocessor.mean.dim() == 1 + axes_after_channels
        if scale == "desk":
            torch.testing.assert_close(
                preprocessor.mean.flatten(), torch.tensor([123.675, 116.28, 103.53])
            )

    def test_drops_features_as_told(self, name, scale):
        recognizer, _ = built(name, scale)
        assert recognizer.cls_head.dropout.p == 0.3

    def test_config_downloads_nothing(self, name, scale):
        config = RECOGNIZERS.load(name).config(
            scale=scale, num_classes=NUM_CLASSES, num_frames=CLIP[scale][0], dropout=0.3
        )
        assert "http" not in str(config)
        assert "torchvision://" not in str(config)


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_desk_recognizer_trains(name, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("a recognizer must never download")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    torch.manual_seed(0)
    recognizer, example = built(name, "desk", device="cpu")
    init_weights(recognizer)
    recognizer.train()
    clips = torch.randn(4, *example.shape[1:])
    labels = torch.arange(4)
    optimizer = torch.optim.AdamW(recognizer.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(recognizer_forward(recognizer, clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_desk_slowfast_slow_pathway_keeps_every_second_frame():
    recognizer, example = built("slowfast", "desk", device="cpu")
    slow, fast = recognizer.eval().extract_feat(example, stage="backbone")[0]
    num_frames = CLIP["desk"][0]
    assert (slow.shape[2], fast.shape[2]) == (num_frames // 2, num_frames)


def test_desk_r2plus1d_keeps_time_to_the_end():
    recognizer, example = built("r2plus1d", "desk", device="cpu")
    features = recognizer.eval().extract_feat(example, stage="backbone")[0]
    assert features.shape[2] == CLIP["desk"][0] // 4


def test_tsm_mixes_frames_and_tsn_does_not():
    scores = {}
    for name in ("tsn", "tsm"):
        recognizer, example = built(name, "desk", device="cpu")
        torch.manual_seed(0)
        init_weights(recognizer)
        clip = torch.randn_like(example)
        with torch.no_grad():
            scores[name] = [recognizer_forward(recognizer.eval(), x) for x in (clip, clip.flip(1))]
    torch.testing.assert_close(*scores["tsn"])
    assert not torch.allclose(*scores["tsm"], rtol=1e-3, atol=1e-6)


def test_slowfast_says_which_frames_it_takes():
    with pytest.raises(ValueError, match="slowfast at desk scale takes a multiple of 2 frames.*7"):
        RECOGNIZERS.load("slowfast").config(scale="desk", num_classes=2, num_frames=7, dropout=0)


def test_example_inputs_pack_as_mmaction2_does():
    assert example_input("NCHW", 5, 32).shape == (1, 5, 3, 32, 32)
    assert example_input("NCTHW", 5, 32, num_clips=2).shape == (2, 1, 3, 5, 32, 32)


def test_building_leaves_the_config_alone():
    recognizer = RECOGNIZERS.load("slowfast")
    config = recognizer.config(scale="desk", num_classes=2, num_frames=8, dropout=0.0)
    before = copy.deepcopy(config)
    build(config, example_input("NCTHW", 8, 32, device="meta"))
    assert config == before


def test_synchronised_norms_become_plain_ones():
    config = zoo_config("_base_/models/r2plus1d_r34.py")["model"]
    assert config["backbone"]["norm_cfg"]["type"] == "SyncBN"
    with torch.device("meta"):
        recognizer = build_recognizer(config)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in recognizer.modules())


@pytest.mark.parametrize(
    ("config", "stripped"),
    [
        ({"pretrained": "http://x"}, {}),
        ({"pretrained": None, "depth": 18}, {"pretrained": None, "depth": 18}),
        ({"type": "ResNetTSM"}, {"type": "ResNetTSM", "pretrained2d": False}),
        ({"init_cfg": {"type": "Pretrained", "checkpoint": "x"}}, {}),
        ({"init_cfg": {"type": "Kaiming"}}, {"init_cfg": {"type": "Kaiming"}}),
        ({"a": [{"init_cfg": [{"type": "Pretrained"}]}]}, {"a": [{"init_cfg": []}]}),
    ],
)
def test_nothing_is_left_to_download(config, stripped):
    assert without_downloads(config) == stripped


def test_a_missing_zoo_config_is_named():
    with pytest.raises(ValueError, match="no MMAction2 config at recognition/none.py"):
        zoo_config("recognition/none.py")


def test_reading_the_tables_does_not_import_mmaction():
    program = "import sys, registry.tables; sys.exit('mmaction' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
