"""The path that skips computes what the masked one does, and costs what it is priced at."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from registry.macs import count
from registry.recognizers.forward import recognizer_forward
from registry.tables import RECOGNIZERS
from registry.vared.gate import Gate, Look
from registry.vared.pooling import pool, pooling_stride
from registry.vared.recognizer import adapt
from registry.vared.settings import SEEN_SIDE, VaRedSettings
from registry.vared.standard import Standard

Make = Callable[[str], tuple[nn.Module, Tensor]]
TOLERANCE = 1e-5

SETTINGS = {
    "default": VaRedSettings(),
    "before": VaRedSettings(placement="before"),
    "scale-3": VaRedSettings(cheap="scale", search_space=3),
    "depthwise": VaRedSettings(cheap="depthwise"),
    "block": VaRedSettings(gate_sees="block"),
    "stride": VaRedSettings(gate_stride=3),
    "normalised": VaRedSettings(normalise=True),
    "hard": VaRedSettings(weights="hard", keep="first"),
    "time": VaRedSettings(axes=("time",)),
    "channel": VaRedSettings(axes=("channel",), gate_norm="batch", gate_input="frames"),
    "motion": VaRedSettings(gate_input="motion"),
    "running": VaRedSettings(gate_norm="running", gate_input="motion", gate_stride=2),
}


def adapted(make: Make, name: str, vared: VaRedSettings) -> tuple[nn.Module, nn.Module, Tensor]:
    """A dense recognizer, its adaptive twin, and a batch of clips."""
    dense, example = make(name)
    recognizer = copy.deepcopy(dense)
    adapt(recognizer, vared, example)
    for module in recognizer.modules():
        if isinstance(module, Gate):  # gates that disagree from clip to clip
            nn.init.normal_(module.excite.weight, std=1.0)
            nn.init.normal_(module.excite.bias, mean=0.3, std=0.6)
        if isinstance(module, Standard):
            nn.init.normal_(module.mean, mean=0.5)
            nn.init.uniform_(module.variance, 0.1, 2)
    torch.manual_seed(1)
    contrast = torch.tensor([0.1, 1.0, 5.0]).view(-1, *[1] * (example.dim() - 1))
    # not centred at 0: a gate sees means
    return dense, recognizer.eval(), contrast * (0.5 + torch.randn(3, *example.shape[1:]))


def both_paths(recognizer: nn.Module, clips: Tensor) -> tuple[Tensor, Tensor]:
    outputs = []
    for skip in (False, True):
        recognizer.vared.skip = skip
        with torch.no_grad():
            outputs.append(recognizer_forward(recognizer, clips))
    return outputs[0], outputs[1]


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max().clamp_min(1)


@pytest.mark.parametrize("vared", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("name", ["tsm", "r2plus1d"])  # time folded into the batch, and an axis
def test_learnt_routes_skip_to_the_masked_output(
    make_recognizer: Make, name: str, vared: VaRedSettings
) -> None:
    _, recognizer, clips = adapted(make_recognizer, name, vared)
    masked, skipped = both_paths(recognizer, clips)
    assert_close(skipped, masked)


@pytest.mark.parametrize("name", RECOGNIZERS)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_mix_of_routes_skips_to_the_masked_output(
    make_recognizer: Make, name: str, data: st.DataObject
) -> None:
    _, recognizer, clips = adapted(make_recognizer, name, VaRedSettings(search_space=3))
    seed = data.draw(st.integers(0, 2**20))
    size = (len(clips), len(recognizer.vared.costs), 2)
    recognizer.vared.routes = torch.randint(
        0, 3, size, generator=torch.Generator().manual_seed(seed)
    )
    masked, skipped = both_paths(recognizer, clips)
    assert_close(skipped, masked)


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_full_gates_give_the_dense_output_to_the_bit(make_recognizer: Make, name: str) -> None:
    dense, recognizer, clips = adapted(make_recognizer, name, VaRedSettings())
    with torch.no_grad():
        expected = recognizer_forward(dense, clips)
        recognizer.vared.full = True
        assert torch.equal(recognizer_forward(recognizer, clips), expected)
        recognizer.vared.full = False
        recognizer.vared.routes = torch.zeros(1, len(recognizer.vared.costs), 2)
        assert torch.equal(recognizer_forward(recognizer, clips), expected)


def num_watched(recognizer: nn.Module) -> set[int]:
    """How many batches the statistics of each gate have seen."""
    standards = (m for m in recognizer.modules() if isinstance(m, Standard))
    return {int(standard.num_batches) for standard in standards}


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_full_gates_watch_and_training_stays_the_dense_one_to_the_bit(
    make_recognizer: Make, name: str
) -> None:
    dense, recognizer, clips = adapted(make_recognizer, name, VaRedSettings(gate_norm="running"))
    recognizer.vared.full = True
    for model in (dense, recognizer):
        recognizer_forward(model.train(), clips).square().sum().backward()
    assert num_watched(recognizer) == {1}
    trained = dict(recognizer.named_parameters())
    for path, parameter in dense.named_parameters():
        assert torch.equal(trained[path].grad, parameter.grad)
    for path, buffer in dense.named_buffers():
        assert torch.equal(recognizer.get_buffer(path), buffer)


def test_statistics_move_while_gates_learn_and_rest_when_they_do(make_recognizer: Make) -> None:
    _, recognizer, clips = adapted(make_recognizer, "tsm", VaRedSettings(gate_norm="running"))
    recognizer_forward(recognizer, clips)
    assert num_watched(recognizer) == {0}
    recognizer_forward(recognizer.train(), clips).sum().backward()
    assert num_watched(recognizer) == {1}
    recognizer.vared.frozen = True
    recognizer_forward(recognizer, clips)
    assert num_watched(recognizer) == {1}


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_only_gates_and_cheap_operations_are_new_in_the_state(
    make_recognizer: Make, name: str
) -> None:
    dense, recognizer, _ = adapted(make_recognizer, name, VaRedSettings(cheap="scale"))
    missing, unexpected = recognizer.load_state_dict(dense.state_dict(), strict=False)
    assert unexpected == []
    assert missing
    assert all(".vared." in key for key in missing)


@pytest.mark.parametrize("route", [(0, 0), (1, 0), (0, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("name", RECOGNIZERS)
def test_a_route_costs_what_two_counters_see(
    make_recognizer: Make, name: str, route: tuple[int, int]
) -> None:
    dense, recognizer, clips = adapted(make_recognizer, name, VaRedSettings())
    policy = recognizer.vared
    policy.routes = torch.tensor(route).expand(1, len(policy.costs), 2)
    ledger = count(recognizer, clips[:1], recognizer_forward)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        recognizer_forward(recognizer, clips[:1])
    assert counter.get_total_flops() == 2 * ledger.flop_counter_macs
    executed, columns = policy.executed(), ledger.by_column()
    layers = sum(columns[column] for column in ("conv", "linear", "norm", "pool"))
    assert int(executed.layer.sum()) + executed.static == layers
    assert columns["rebuild"] == pytest.approx(int(executed.rebuild.sum()), rel=0.01)
    assert not ledger.unknown
    if route == (0, 0):
        assert layers == count(dense, clips[:1], recognizer_forward).total


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"gate_input": "motion", "gate_norm": "running"},
        {"gate_stride": 4},
        {"gate_sees": "block"},
    ],
)
@pytest.mark.parametrize("name", RECOGNIZERS)
def test_learnt_routes_cost_what_runs(
    make_recognizer: Make, name: str, choices: dict[str, Any]
) -> None:
    _, recognizer, clips = adapted(make_recognizer, name, VaRedSettings(**choices))
    ledgers = [count(recognizer, clip[None], recognizer_forward) for clip in clips]
    both_paths(recognizer, clips)
    executed = recognizer.vared.executed()
    priced = executed.total().tolist()
    assert priced == pytest.approx([ledger.total for ledger in ledgers], rel=1e-4)
    assert len(set(priced)) > 1  # the routes did differ
    gates = [ledger.by_column()["gate"] for ledger in ledgers]
    assert executed.gate.sum(1).tolist() == pytest.approx(gates, rel=0.01)


@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_a_gate_reads_few_rows_of_a_large_map_and_all_of_a_small_one(
    height: int, width: int
) -> None:
    stride = pooling_stride("auto", 8, height, width)
    for side in (height, width):
        assert len(range(0, side, stride)) >= min(side, SEEN_SIDE)
    assert len(range(0, min(height, width), stride)) < 2 * SEEN_SIDE
    assert pooling_stride(3, 8, height, width) == 3
    assert pooling_stride("auto", 3, height, width) == 1  # a clip itself


@pytest.mark.parametrize("stride", [0, 1.5, True, "atuo"])
def test_a_stride_that_is_none_is_refused(stride: Any) -> None:
    with pytest.raises(ValueError, match=r"must be auto or a whole number from 1, but got"):
        VaRedSettings(gate_stride=stride)


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_gates_of_a_block_look_once_at_what_comes_into_it(make_recognizer: Make, name: str) -> None:
    _, recognizer, clips = adapted(make_recognizer, name, VaRedSettings(gate_sees="block"))
    inputs: dict[str, Tensor] = {}
    looks: list[str] = []
    for path, module in recognizer.named_modules():
        if hasattr(module, "downsample"):
            module.register_forward_pre_hook(lambda _, x, p=path: inputs.update({p: x[0]}))
        if isinstance(module, Look):
            module.register_forward_hook(lambda _, x, __, p=path: looks.append(p))
    recognizer_forward(recognizer, clips[:1])
    blocks = {path: [p for p in looks if p.startswith(f"{path}.")] for path in inputs}
    assert {len(those) for those in blocks.values()} == {1}
    outside = [p for p in looks if not any(p.startswith(f"{path}.") for path in inputs)]
    gates = [path for path, module in recognizer.named_modules() if isinstance(module, Gate)]
    alone = [p for p in gates if not any(p.startswith(f"{path}.") for path in inputs)]
    assert len(outside) == len(alone)
    for path, (look,) in blocks.items():
        first = recognizer.get_submodule(look.removesuffix(".look"))
        x = inputs[path]
        whole = x if x.dim() == 5 else x[None].transpose(1, 2)
        torch.testing.assert_close(recognizer.vared.looks[first.index], pool(whole, "mean"))


def test_both_halves_of_a_split_convolution_have_gates(make_recognizer: Make) -> None:
    _, recognizer, _ = adapted(make_recognizer, "r2plus1d", VaRedSettings())
    names = [layer.name for layer in recognizer.vared.costs.layers]
    spatial = [name for name in names if name.endswith("conv_s")]
    temporal = [name for name in names if name.endswith("conv_t")]
    assert len(spatial) == len(temporal) == len(names) / 2


def test_both_pathways_have_gates(make_recognizer: Make) -> None:
    _, recognizer, _ = adapted(make_recognizer, "slowfast", VaRedSettings())
    names = [layer.name for layer in recognizer.vared.costs.layers]
    for pathway in ("slow_path", "fast_path"):
        assert any(pathway in name for name in names)


def test_what_stays_dense_is_listed_with_its_reason(make_recognizer: Make) -> None:
    dense, example = make_recognizer("r2plus1d")
    surgery = adapt(copy.deepcopy(dense), VaRedSettings(exclude=("conv_t",)), example)
    assert surgery.left
    assert set(surgery.left.values()) == {"excluded by the settings"}
    assert all(name.endswith("conv_t") for name in surgery.left)
    assert all(name.endswith("conv_s") for name in surgery.converted)


def test_gates_stand_where_they_are_named(make_recognizer: Make) -> None:
    dense, example = make_recognizer("tsm")
    names = ("layer2.0", "layer4")
    everywhere = adapt(copy.deepcopy(dense), VaRedSettings(), example)
    surgery = adapt(copy.deepcopy(dense), VaRedSettings(gate_layers=names), example)
    wanted = tuple(path for path in everywhere.converted if any(n in path for n in names))
    assert surgery.converted == wanted
    left = {path for path, reason in surgery.left.items() if "`gate_layers`" in reason}
    assert left == set(everywhere.converted) - set(wanted)
    with pytest.raises(ValueError, match=r"no layer's name contains 'layer9' of `gate_layers`"):
        adapt(copy.deepcopy(dense), VaRedSettings(gate_layers=("layer2", "layer9")), example)
    with pytest.raises(ValueError, match=r"must be all, auto, a list .* got 'some'"):
        VaRedSettings(gate_layers="some")


def test_a_recognizer_without_a_gated_layer_is_an_error(make_recognizer: Make) -> None:
    dense, example = make_recognizer("tsn")
    with pytest.raises(ValueError, match="no convolution"):
        adapt(dense, VaRedSettings(exclude=("backbone",)), example)


def backwards_differs_by(recognizer: nn.Module, clips: Tensor) -> float:
    """How far the scores of a clip and of the same clip played backwards lie apart."""
    with torch.no_grad():
        scores = [recognizer_forward(recognizer, x) for x in (clips, clips.flip(1))]
    return float((scores[0] - scores[1]).abs().max() / scores[0].abs().max())


def test_tsn_cannot_tell_a_clip_from_its_reverse(make_recognizer: Make) -> None:
    # what moves in a clip moves in its reverse too
    vared = VaRedSettings(gate_input="motion")
    dense, adaptive, clips = adapted(make_recognizer, "tsn", vared)
    assert backwards_differs_by(dense, clips) < TOLERANCE
    assert backwards_differs_by(adaptive, clips) < TOLERANCE
    routes = torch.ones(1, len(adaptive.vared.costs), 2)
    adaptive.vared.routes = routes
    assert backwards_differs_by(adaptive, clips) < TOLERANCE
    _, strided, _ = adapted(make_recognizer, "tsn", VaRedSettings(keep="first"))
    strided.vared.routes = routes
    # frames 0, 2, 4, ... are kept: played backwards, these are others
    assert backwards_differs_by(strided, clips) > TOLERANCE


@pytest.mark.parametrize("name", ["tsm", "r2plus1d"])
def test_hard_weights_run_the_largest_live_branch_alone(make_recognizer: Make, name: str) -> None:
    _, recognizer, clips = adapted(make_recognizer, name, VaRedSettings(weights="hard"))
    _, soft, _ = adapted(make_recognizer, name, VaRedSettings())
    soft.load_state_dict(recognizer.state_dict())
    with torch.no_grad():
        ours = recognizer_forward(recognizer, clips)
        first = recognizer.vared.decisions[0]
        recognizer_forward(soft, clips)
    live = soft.vared.decisions[0]
    for weights, blended in ((first.channel, live.channel), (first.time, live.time)):
        assert torch.equal(weights.argmax(1), (blended > 0).float().argmax(1))
        assert torch.equal(weights.sum(1), torch.ones(len(clips)))
    # the same routes forced, without gates, give the same output
    channel, time = recognizer.vared.stacked()
    recognizer.vared.routes = torch.stack([channel.argmax(2), time.argmax(2)], 2)
    with torch.no_grad():
        assert_close(recognizer_forward(recognizer, clips), ours)


def test_hard_weights_stay_soft_while_gates_learn(make_recognizer: Make) -> None:
    _, recognizer, clips = adapted(make_recognizer, "tsm", VaRedSettings(weights="hard"))
    recognizer.train()
    recognizer_forward(recognizer, clips)
    assert any((d.channel > 0).all(1).any() for d in recognizer.vared.decisions.values())
    recognizer.vared.frozen = True
    recognizer_forward(recognizer, clips)
    for decision in recognizer.vared.decisions.values():
        assert ((decision.channel > 0).sum(1) == 1).all()
