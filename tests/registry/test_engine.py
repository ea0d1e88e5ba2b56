"""The inference engine computes what the recognizer does, and runs what it says it runs."""

from __future__ import annotations

import copy
import gc
from collections import Counter
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from registry._mmaction import zoo_config
from registry.macs import count
from registry.recognizers.build import build, example_input
from registry.recognizers.forward import recognizer_forward
from registry.tables import RECOGNIZERS
from registry.vared.engine import accelerate, clip, layer, packed, ways
from registry.vared.engine.engine import Engine
from registry.vared.engine.gate_pass import GatePass
from registry.vared.engine.gates import look_at, pooled
from registry.vared.engine.graph import Pool
from registry.vared.engine.values import Copies, Value
from registry.vared.gate import Gate
from registry.vared.pooling import pool, pooling_stride
from registry.vared.recognizer import adapt
from registry.vared.settings import VaRedSettings
from registry.vared.standard import Standard

Make = Callable[[str], tuple[nn.Module, Tensor]]
TOLERANCE = 1e-5

SETTINGS = {
    "default": VaRedSettings(),
    "hard": VaRedSettings(weights="hard", normalise=True),
    "first-3": VaRedSettings(keep="first", search_space=3),
    "scale-3": VaRedSettings(cheap="scale", search_space=3),
    "before": VaRedSettings(placement="before"),
    "before-scale-3": VaRedSettings(placement="before", cheap="scale", search_space=3),
    "depthwise": VaRedSettings(cheap="depthwise"),
    "block": VaRedSettings(gate_sees="block"),
    "stride": VaRedSettings(gate_stride=3, keep="first"),
    "motion-scale": VaRedSettings(gate_input="motion", cheap="scale"),
    "motion-first-3": VaRedSettings(gate_input="motion", keep="first", search_space=3),
    "running-motion": VaRedSettings(gate_norm="running", gate_input="motion"),
    "running-frames": VaRedSettings(gate_norm="running", gate_input="frames", normalise=True),
    "block-running": VaRedSettings(gate_sees="block", gate_norm="running", gate_input="motion"),
    "batch-frames": VaRedSettings(gate_norm="batch", gate_input="frames", normalise=True),
}


def adapted(make: Make, name: str, vared: VaRedSettings) -> tuple[nn.Module, Tensor]:
    """An adaptive recognizer with gates and cheap operations far from their start, and clips."""
    recognizer, example = make(name)
    adapt(recognizer, vared, example)
    torch.manual_seed(1)
    for path, parameter in recognizer.named_parameters():
        if ".cheap." in path:  # of either sign: a maximum must not be lazy then
            nn.init.normal_(parameter, std=0.7)
    for module in recognizer.modules():
        if isinstance(module, Gate):
            nn.init.normal_(module.excite.weight, std=1.0)
            nn.init.normal_(module.excite.bias, mean=0.3, std=0.6)
        if isinstance(module, Standard):
            nn.init.normal_(module.mean, mean=0.5)
            nn.init.uniform_(module.variance, 0.1, 2)
    contrast = torch.tensor([0.1, 1.0, 5.0]).view(-1, *[1] * (example.dim() - 1))
    return recognizer.eval(), contrast * (0.5 + torch.randn(3, *example.shape[1:]))


def reference(recognizer: nn.Module, clips: Tensor) -> Tensor:
    """Everything computed, then masked and rebuilt: the path that training takes."""
    recognizer.vared.skip = False
    with torch.no_grad():
        return recognizer_forward(recognizer, clips)


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    largest = theirs.abs().amax(1, keepdim=True)
    assert ((ours - theirs).abs() <= TOLERANCE * largest).all()


@pytest.mark.parametrize("vared", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("name", ["tsm", "r2plus1d", "slowfast"])
@pytest.mark.parametrize("blends", ["by the map", "filters"])
def test_learnt_routes_give_the_masked_output(
    make_recognizer: Make, name: str, vared: VaRedSettings, blends: str
) -> None:
    recognizer, clips = adapted(make_recognizer, name, vared)
    worth = layer.PIXELS_WORTH_FILTERS if blends == "by the map" else 0
    with patch.object(layer, "PIXELS_WORTH_FILTERS", worth):
        ours = recognizer_forward(accelerate(recognizer), clips)
    assert_close(ours, reference(recognizer, clips))


@pytest.mark.parametrize("name", ["tsm", "slowfast"])
def test_what_is_kept_for_the_next_clip_does_not_grow_with_weights(
    make_recognizer: Make, name: str
) -> None:
    """Soft weights are new with each clip, as are the scales of maps behind them."""
    recognizer, clips = adapted(make_recognizer, name, VaRedSettings())
    for module in recognizer.modules():
        if isinstance(module, Gate):  # a single branch is live, and weighs what the clip says
            nn.init.normal_(module.excite.weight, std=0.01)
            module.excite.bias.data = torch.tensor([0.5, -9.0] * 2)[: len(module.excite.bias)]
    fast = accelerate(recognizer)
    kept = []
    for contrast in (1.0, 0.5, 2.0):
        recognizer_forward(fast, clips * contrast)
        assert_close(recognizer_forward(fast, clips), reference(recognizer, clips))
        living = Counter(map(type, gc.get_objects()))
        kept.append([living[kind] for kind in (packed._Fused, ways.Way, GatePass)])
    assert kept[0] == kept[1] == kept[2]


@pytest.mark.parametrize("name", ["tsn", "tsm"])  # their blocks end in space alone
@pytest.mark.parametrize(
    "live",
    [
        (1.0, -1.0, 1.0, -1.0),
        (1.0, 0.5, 1.0, -1.0),
        (0.3, 0.5, 0.2, 0.4),
        (1.0, -1.0, -1.0, 1.0),
        (0.3, 0.5, -1.0, 0.4),
    ],
)
def test_sums_of_what_is_computed_in_full_are_inside_convolutions(
    make_recognizer: Make, name: str, live: tuple[float, ...]
) -> None:
    """Whatever it weighs, though both branches of an axis are blended, or frames are copies."""
    recognizer, clips = adapted(make_recognizer, name, VaRedSettings())
    for module in recognizer.modules():
        if isinstance(module, Gate):
            nn.init.zeros_(module.excite.weight)
            channel, time = module.num_branches
            both = live[: min(channel, 2)] + live[2 : 2 + min(time, 2)]
            module.excite.bias.data = torch.tensor(both)
    with (
        patch.object(layer, "PIXELS_WORTH_FILTERS", 0),
        patch.object(clip, "summed", side_effect=AssertionError("a pass of its own")),
    ):
        ours = recognizer_forward(accelerate(recognizer), clips)
    assert_close(ours, reference(recognizer, clips))


@pytest.mark.parametrize("name", RECOGNIZERS)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_mix_of_routes_gives_the_masked_output(
    make_recognizer: Make, name: str, data: st.DataObject
) -> None:
    choice = data.draw(st.sampled_from(sorted(SETTINGS)))
    recognizer, clips = adapted(make_recognizer, name, SETTINGS[choice])
    seed = data.draw(st.integers(0, 2**20))
    recognizer.vared.routes = torch.randint(
        0,
        3,
        (len(clips), len(recognizer.vared.costs), 2),
        generator=torch.Generator().manual_seed(seed),
    )
    few = data.draw(st.sampled_from([0, layer.FEW_CHANNELS]))  # desk recognizers have no more
    fast = accelerate(recognizer)
    with patch.object(layer, "FEW_CHANNELS", few):
        ours = recognizer_forward(fast, clips)
    assert_close(ours, reference(recognizer, clips))
    # a layer repeats what it did for an input of the same kind, if only its own route is the same
    executed, recognizer.vared.routes = fast.engine.executed, recognizer.vared.routes.roll(1, 0)
    recognizer.vared.routes[:, ::2] = recognizer.vared.routes[:, ::2].roll(-1, 0)
    assert_close(recognizer_forward(fast, clips), reference(recognizer, clips))
    recognizer.vared.routes[:, 1::2] = recognizer.vared.routes[:, 1::2].roll(-1, 0)
    assert torch.equal(recognizer_forward(fast, clips), ours)
    assert fast.engine.executed == executed


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ("recognition/i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb.py", 32),
        ("recognition/slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb.py", 32),
        ("recognition/x3d/x3d_s_13x6x1_facebook-kinetics400-rgb.py", 32),
        ("recognition/c2d/c2d_r50-in1k-pre_8xb32-8x8x1-100e_kinetics400-rgb.py", 32),
    ],
)
def test_recognizers_beyond_the_table_run_too(config: str, size: int) -> None:
    model = zoo_config(config)["model"]
    model["backbone"]["pretrained"] = None
    input_format = "NCTHW" if "3D" in model["type"] else "NCHW"
    example = example_input(input_format, 8, size)
    torch.manual_seed(0)
    recognizer = build(model, example).eval()
    adapt(recognizer, VaRedSettings(), example)
    clips = torch.randn_like(example)
    recognizer.vared.routes = torch.randint(0, 2, (1, len(recognizer.vared.costs), 2))
    assert_close(recognizer_forward(accelerate(recognizer), clips), reference(recognizer, clips))


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_a_recognizer_without_gates_runs_too_and_counts_what_the_plain_path_does(
    make_recognizer: Make, name: str
) -> None:
    dense, example = make_recognizer(name)
    clips = torch.randn(2, *example.shape[1:])
    fast = accelerate(dense.eval())
    with torch.no_grad():
        assert_close(recognizer_forward(fast, clips), recognizer_forward(dense, clips))
    ledger = count(dense, clips[:1], recognizer_forward)
    columns = ledger.by_layer()
    backbone = {name: row for name, row in columns.items() if name.startswith("backbone")}
    plain = sum(row.get("conv", 0) for row in backbone.values())
    assert fast.engine.executed == [plain, plain]


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_lazy_rebuilding_never_runs_more_than_the_route_allows(
    make_recognizer: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "FEW_CHANNELS", 0)  # so that no copies are computed
    recognizer, clips = adapted(make_recognizer, name, VaRedSettings())
    fast, policy = accelerate(recognizer), recognizer.vared
    torch.manual_seed(2)
    routes = policy.routes = torch.randint(0, 2, (len(clips), len(policy.costs), 2))
    recognizer_forward(fast, clips)
    policy.skip = True
    with torch.no_grad():
        plain = [
            count(recognizer, one[None], recognizer_forward).by_column()
            for one, policy.routes in zip(clips, routes.split(1), strict=True)
        ]
    without_gates = fast.engine.executed
    for executed, columns in zip(without_gates, plain, strict=True):
        assert executed <= columns["conv"] + columns["rebuild"]
    policy.runs_gates, policy.routes = True, routes
    recognizer_forward(fast, clips)
    gates = int(policy.costs.executed(*(w > 0 for w in policy.stacked())).gate[0].sum())
    for with_gates, without in zip(fast.engine.executed, without_gates, strict=True):
        # on what was computed alone, and once for convolutions that read the same map
        assert 0 < with_gates - without <= gates


def test_the_engine_reports_the_routes_it_took(make_recognizer: Make) -> None:
    recognizer, clips = adapted(make_recognizer, "tsm", VaRedSettings())
    fast = accelerate(recognizer)
    recognizer_forward(fast, clips)
    reference(recognizer, clips)
    for index, decision in recognizer.vared.decisions.items():
        for number, routes in enumerate(fast.engine.routes):
            # gates drawn far from their start magnify what float32 rounds
            channel, time = decision.channel[number].tolist(), decision.time[number].tolist()
            assert routes[index].channel == pytest.approx(channel, abs=1e-4)
            assert routes[index].time == pytest.approx(time, abs=1e-4)


@settings(deadline=None)
@given(data=st.data())
def test_a_gate_sees_of_a_lazy_map_what_it_sees_of_the_whole(data: st.DataObject) -> None:
    computed, channels, frames = (data.draw(st.integers(1, n)) for n in (20, 40, 7))
    repeats = data.draw(st.sampled_from([1, 2, 4]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    factor = data.draw(st.sampled_from([None, torch.randn(channels)]))
    copies = Copies((0, 1), computed, torch.arange(channels) % computed, factor)
    height, width = data.draw(st.sampled_from([(3, 2), (30, 45)]))
    gate_stride = data.draw(st.sampled_from([1, 2, "auto"]))
    rows = torch.randn(-(-frames // repeats), height, width, computed)
    value = Value(rows, frames, repeats, copies if computed < channels else None, scale=0.7)
    stride = pooling_stride(gate_stride, value.num_channels, height, width)
    whole = value.whole().data.permute(3, 0, 1, 2)[None, ..., ::stride, ::stride]
    for gate_input in ("mean", "frames", "motion"):
        seen = torch.from_numpy(pooled(value, gate_input, look_at(value, gate_stride)))
        flat = (seen.T if gate_input == "frames" else seen).reshape(1, -1)
        torch.testing.assert_close(flat, pool(whole, gate_input))


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_bfloat16_stays_near(make_recognizer: Make, name: str) -> None:
    recognizer, clips = adapted(make_recognizer, name, VaRedSettings())
    recognizer.vared.routes = torch.randint(0, 2, (1, len(recognizer.vared.costs), 2))
    scores = recognizer_forward(accelerate(recognizer, torch.bfloat16), clips)
    expected = reference(recognizer, clips)
    assert scores.dtype == torch.float32
    # eight bits of mantissa through some twenty layers
    assert (scores - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize(
    ("setting", "none_negative"), [("default", True), ("before", True), ("scale-3", False)]
)
def test_a_stem_whose_copies_may_be_negative_says_so(
    make_recognizer: Make, setting: str, none_negative: bool
) -> None:
    """What pools it may not take its numbers for integers then."""
    recognizer, _ = adapted(make_recognizer, "slowfast", SETTINGS[setting])
    engine = accelerate(recognizer, torch.bfloat16).engine
    pools = [step for step in engine.program.steps if isinstance(step, Pool)]
    assert pools
    assert all(engine.layers[step.source].none_negative == none_negative for step in pools)


def test_the_recognizer_is_left_as_it_was(make_recognizer: Make) -> None:
    recognizer, clips = adapted(make_recognizer, "slowfast", VaRedSettings())
    before = copy.deepcopy(recognizer.state_dict())
    expected = reference(recognizer, clips)
    recognizer_forward(accelerate(recognizer), clips)
    assert before.keys() == recognizer.state_dict().keys()
    assert torch.equal(reference(recognizer, clips), expected)


def test_frames_that_are_all_picked_outlive_what_they_were_picked_from() -> None:
    class Picked(nn.Module):
        """Picks all frames of a map that ends as what a convolution is added to."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = (
                ConvModule(3, 3, 1, conv_cfg={"type": "Conv3d"}, act_cfg=None) for _ in range(3)
            )

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            kept = self.first(x)
            picked = F.interpolate(kept, mode="nearest", scale_factor=(1.0, 1.0, 1.0))
            return self.third(self.second(kept)) + kept, picked

    backbone, clips = Picked().eval(), torch.randn(2, 3, 4, 5, 5)
    with torch.no_grad():
        for ours, theirs in zip(
            Engine(backbone, None, torch.float32)(clips), backbone(clips), strict=True
        ):
            torch.testing.assert_close(ours, theirs)


def test_a_backbone_that_cannot_be_traced_is_named(make_recognizer: Make) -> None:
    class Undecided(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.mean() > 0 else -x

    recognizer, _ = make_recognizer("tsn")
    recognizer.backbone = Undecided()
    with pytest.raises(ValueError, match="Undecided cannot be traced"):
        accelerate(recognizer)
