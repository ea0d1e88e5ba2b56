"""Gates stand where halving saves time, axis by axis; the loss can be of that time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from registry.interfaces import Prepared
from registry.recognizers.build import example_input
from registry.recognizers.forward import recognizer_forward
from registry.tables import METHODS, RECOGNIZERS
from registry.vared.cost import CostTable, LayerCost
from registry.vared.engine import accelerate
from registry.vared.loss import AdaptiveLoss
from registry.vared.policy import Decision, Policy
from registry.vared.recognizer import adapt
from registry.vared.settings import AxisLayers, LossSettings, VaRedSettings
from registry.vared.times import MachineTimes, MeasuredLayer, TimeTable, along

Make = Callable[[str], tuple[nn.Module, Tensor]]
WHERE = {
    "processor": "Test 1",
    "num_threads": 1,
    "dtype": "float32",
    "num_rounds": 9,
    "num_cores": 2,
    "load": 1.0,
}


def machine(layers: list[MeasuredLayer]) -> MachineTimes:
    return MachineTimes(layers=tuple(layers), **WHERE)


def measured(name: str, *idle: str, **more: Any) -> MeasuredLayer:
    ms = {"full_ms": 4.0, "channels_ms": 3.0, "frames_ms": 2.0, "both_ms": 1.0}
    return MeasuredLayer(layer=name, idle=idle, **(ms | more))


# Which layers, axis by axis


def factors_of(recognizer: Any) -> dict[str, tuple[int, int]]:
    """Branches of the channel and the time axis of every gated layer."""
    return {
        cost.name: (len(cost.channel_factors), len(cost.time_factors))
        for cost in recognizer.vared.costs.layers
    }


def test_gates_reduce_the_axes_they_are_named_for(make_recognizer: Make) -> None:
    dense, example = make_recognizer("tsm")
    adaptive = copy.deepcopy(dense)
    named = AxisLayers(channel=("layer3", "layer4"), time=("layer2", "layer3"))
    surgery = adapt(adaptive, VaRedSettings(gate_layers=named), example)
    found = factors_of(adaptive)
    for name, branches in found.items():
        wanted = [any(part in name for part in parts) for parts in (named.channel, named.time)]
        assert branches == tuple(1 + reduces for reduces in wanted)
    assert {name.split(".")[1] for name in found} == {"layer2", "layer3", "layer4"}
    assert all("layer1" in n or "layer" not in n for n in surgery.left if n.startswith("back"))


def test_an_axis_left_out_has_gates_everywhere(make_recognizer: Make) -> None:
    dense, example = make_recognizer("tsn")
    adapt(dense, VaRedSettings(gate_layers={"channel": ["layer4"]}), example)
    for name, branches in factors_of(dense).items():
        assert branches == (1 + ("layer4" in name), 2)


def test_a_whole_path_means_one_layer(make_recognizer: Make) -> None:
    dense, example = make_recognizer("slowfast")
    everywhere = copy.deepcopy(dense)
    names = adapt(everywhere, VaRedSettings(), example).converted
    surgery = adapt(dense, VaRedSettings(gate_layers=names[:1]), example)
    assert surgery.converted == names[:1]


def test_lists_of_one_axis_are_checked(make_recognizer: Make) -> None:
    dense, example = make_recognizer("tsn")
    with pytest.raises(ValueError, match=r"no layer's name contains 'layer7' of `gate_layers`"):
        adapt(dense, VaRedSettings(gate_layers={"time": ["layer7"]}), example)
    with pytest.raises(ValidationError, match=r"got 'chanel'. Did you mean 'channel'\?"):
        VaRedSettings(gate_layers={"chanel": []})
    with pytest.raises(ValidationError, match=r"`time` must be all or a list of names, but got 3"):
        VaRedSettings(gate_layers={"time": 3})
    with pytest.raises(ValidationError, match=r"got 'aut'. Did you mean 'auto'\?"):
        VaRedSettings(gate_layers="aut")


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_the_engine_agrees_where_gates_have_one_axis(make_recognizer: Make, name: str) -> None:
    dense, example = make_recognizer(name)
    names = list(factors_of(adapted(dense, example, VaRedSettings())))
    halves = AxisLayers(channel=tuple(names[::2]), time=tuple(names[::3]))
    recognizer = adapted(dense, example, VaRedSettings(gate_layers=halves, weights="hard"))
    policy = recognizer.vared
    assert set(factors_of(recognizer)) <= {*names[::2], *names[::3]}
    torch.manual_seed(3)
    clips = torch.randn(2, *example.shape[1:])
    policy.routes = torch.randint(0, 2, (2, len(policy.costs), 2))
    with torch.no_grad():
        policy.skip = False
        expected = recognizer_forward(recognizer, clips)
        fast = accelerate(recognizer)
        scores = recognizer_forward(fast, clips)
    assert float((scores - expected).abs().max() / expected.abs().max()) < 1e-5
    gated = [layer for layer in fast.engine.layers.values() if layer.dynamic is not None]
    assert len(gated) == len(policy.costs)


def adapted(dense: nn.Module, example: Tensor, vared: VaRedSettings) -> Any:
    recognizer: Any = copy.deepcopy(dense)
    adapt(recognizer, vared, example)
    return recognizer


# What times decide


@given(idle=st.lists(st.sets(st.sampled_from(["channel", "time"])), min_size=1, max_size=6))
def test_a_gate_stands_where_halving_pays(idle: list[set[str]]) -> None:
    layers = [measured(f"layer{i}", *sorted(axes)) for i, axes in enumerate(idle)]
    wanted = {
        axis: tuple(f"layer{i}" for i, axes in enumerate(idle) if axis not in axes)
        for axis in ("channel", "time")
    }
    if any(wanted.values()):
        assert machine(layers).gated() == AxisLayers(**wanted)
    else:
        with pytest.raises(ValueError, match=r"none of the .*\(Test 1, 1 thread\)"):
            machine(layers).gated()


def test_what_was_not_measured_or_is_uncertain() -> None:
    still = measured("still", frames_ms=None, both_ms=None)
    unsure = measured("unsure", undecided=("channel", "time"))
    wanted = AxisLayers(channel=("still", "unsure"), time=("unsure",))
    assert machine([still, unsure]).gated() == wanted
    with pytest.raises(ValueError, match="none of the 1 layers"):
        machine([still]).gated(["time"])


def prepared(times: MachineTimes | None, **vared: Any) -> Prepared:
    recognizer, method = RECOGNIZERS.load("tsn"), METHODS.load("vared")
    config = recognizer.config(scale="desk", num_classes=3, num_frames=4, dropout=0.0)
    method = method if times is None else method.with_times(times)
    settings = method.settings_type(**vared)
    return method.prepare(config, example_input("NCHW", 4, 32), 0.7, settings)


def tsn_times(*idle: set[str], undecided: tuple[str, ...] = ()) -> MachineTimes:
    """Of desk TSN: the first layers have these idle axes, all others none."""
    names = list(factors_of(prepared(None).model))
    axes = [*idle, *[set()] * (len(names) - len(idle))]
    more = {"undecided": undecided}
    return machine([measured(n, *sorted(a), **more) for n, a in zip(names, axes, strict=True)])


def test_auto_leaves_out_what_does_not_pay_and_says_so() -> None:
    times = tsn_times({"channel", "time"}, {"channel"}, {"time"})
    dense, no_channels, no_frames, *others = [layer.layer for layer in times.layers]
    ready = prepared(times, gate_layers="auto")
    found = factors_of(ready.model)
    assert dense not in found
    assert (found[no_channels], found[no_frames]) == ((1, 2), (2, 1))
    assert all(found[name] == (2, 2) for name in others)
    notes = "\n".join(ready.notes)
    assert f"{dense} stays dense: halving it saves too little time (Test 1, 1 thread)" in notes
    for what, name in (("channels", no_channels), ("frames", no_frames)):
        (note,) = [text for text in ready.notes if f"no gate on the {what} of 1 layers" in text]
        assert note.endswith(f": {name}")
    assert not any("uncertain" in note or "busy" in note for note in ready.notes)
    busy = prepared(times.model_copy(update={"load": 2.5}), gate_layers="auto")
    assert any("on a busy machine, load 2.5 on 2 cores" in note for note in busy.notes)
    unsure = prepared(tsn_times(undecided=("time",)), gate_layers="auto")
    assert any("halving the frames of 20 layers" in n and "uncertain" in n for n in unsure.notes)


def test_the_same_times_take_the_same_weights_and_other_ones_do_not() -> None:
    times = tsn_times({"channel", "time"}, {"channel"})
    state = prepared(times, gate_layers="auto").model.state_dict()
    read = MachineTimes.model_validate_json(times.model_dump_json())
    prepared(read, gate_layers="auto").model.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"vared"):
        prepared(tsn_times(), gate_layers="auto").model.load_state_dict(state)


def test_times_are_only_wanted_where_they_count() -> None:
    method = METHODS.load("vared")
    for wanted, given_ in [
        (False, {}),
        (False, {"gate_layers": ["layer2"]}),
        (True, {"gate_layers": "auto"}),
        (True, {"training": {"cost": "time"}}),
    ]:
        assert method.needs_times(method.settings_type(**given_)) is wanted
    dense = METHODS.load("dense")
    assert not dense.needs_times(dense.settings_type())


@pytest.mark.parametrize(
    ("vared", "said"),
    [
        ({"gate_layers": "auto"}, "gate_layers: auto"),
        ({"training": {"cost": "time"}}, "cost: time"),
    ],
)
def test_without_times_it_says_so(vared: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"`{said}` needs the times .* which a sweep measures"):
        prepared(None, **vared)


# The loss of time


@given(
    full=st.floats(0.01, 100),
    half=st.floats(0.01, 100),
    size=st.integers(4, 512),
)
def test_a_quarter_lies_on_the_line_through_full_and_half(
    full: float, half: float, size: int
) -> None:
    kept = [size, -(-size // 2), -(-size // 4)]
    found = along(kept, full, half)
    assert found[:2] == (full, half)
    line = full - (full - half) * (size - kept[2]) / (size - kept[1])
    assert found[2] == pytest.approx(max(line, half * kept[2] / kept[1]))
    assert found[2] > 0
    assert along(kept, full, None) == (full,) * 3


def cost(name: str, channel_factors: tuple[int, ...], time_factors: tuple[int, ...]) -> LayerCost:
    return LayerCost(
        name=name,
        macs_per_element=9,
        norm_per_element=2,
        norm_is_full=False,
        num_channels=8,
        num_frames=4,
        area=6,
        channel_factors=channel_factors,
        time_factors=time_factors,
        gate=5,
        cheap_per_element=0,
        unit_weights=True,
    )


COSTS = CostTable([cost("a", (1, 2, 4), (1, 2)), cost("b", (1,), (1, 2))], dense=10_000)
A = {"full_ms": 8.0, "channels_ms": 5.0, "frames_ms": 4.0, "both_ms": 3.0}
B = {"full_ms": 2.0, "channels_ms": None, "frames_ms": 1.5, "both_ms": None}
TIMES = machine([measured("a", **A), measured("b", **B), measured("dense", full_ms=6.0)])
ALONG_A = [[8.0, 4.0], [5.0, 3.0], [3.5, 2.5]]
ALONG_B = [2.0, 1.5]


@settings(deadline=None)
@given(channel=st.integers(0, 2), time_a=st.integers(0, 1), time_b=st.integers(0, 1))
def test_the_share_of_a_route_is_its_measured_time(channel: int, time_a: int, time_b: int) -> None:
    weights = [torch.zeros(1, 2, 3), torch.zeros(1, 2, 2)]
    weights[0][0, 0, channel:] = 0.3  # smaller branches may live too
    weights[0][0, 1, 0] = 1.0
    weights[1][0, 0, time_a:] = 0.9
    weights[1][0, 1, time_b:] = 0.9
    expected = (ALONG_A[channel][time_a] + ALONG_B[time_b] + 6.0) / 16.0
    assert float(TimeTable(TIMES, COSTS).share(*weights)) == pytest.approx(expected)


def test_the_gradient_is_that_of_the_weighted_mean() -> None:
    channel = torch.tensor([[[0.6, 0.2, 0.2], [1.0, 0.0, 0.0]]], requires_grad=True)
    time = torch.tensor([[[0.5, 0.5], [0.0, 0.7]]])
    (slope,) = torch.autograd.grad(TimeTable(TIMES, COSTS).share(channel, time).sum(), channel)
    shares = torch.tensor([row[0] for row in ALONG_A]) / 16.0  # the largest live one: all frames
    mean = (torch.tensor([0.6, 0.2, 0.2]) * shares).sum()
    torch.testing.assert_close(slope[0, 0], shares - mean)


def test_times_of_another_recognizer_are_told() -> None:
    with pytest.raises(ValueError, match=r"lack 1 of them, such as 'b'"):
        TimeTable(machine([measured("a")]), COSTS)


@pytest.mark.parametrize("square", [True, False])
def test_the_loss_is_of_time_and_the_report_of_multiply_adds(square: bool) -> None:
    policy = Policy(COSTS, efficiency_weight=2.0)
    one = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    policy.decisions = {
        0: Decision(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0]])),
        1: Decision(*one),
    }
    policy.scores = torch.tensor([[2.0, 1.0]])
    model = SimpleNamespace(loss=lambda inputs, samples: {"loss_cls": torch.tensor(1.0)})
    samples = [SimpleNamespace(gt_label=torch.tensor([0]))]
    losses = {
        priced: AdaptiveLoss(model, policy, LossSettings(cost=priced, square=square), TIMES)(
            None, samples
        )
        for priced in ("macs", "time")
    }
    shares = {"macs": float(policy.share()), "time": (3.0 + 2.0 + 6.0) / 16.0}
    for priced, found in losses.items():
        paid = shares[priced] ** 2 if square else shares[priced]
        assert float(found["loss_efficiency"]) == pytest.approx(2.0 * paid)
        assert float(found["macs_share"]) == pytest.approx(shares["macs"])
