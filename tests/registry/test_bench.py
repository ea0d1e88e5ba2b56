"""Routes meet their saving, figures follow their formulas, and what disagrees is not timed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from registry.bench import peers, runners
from registry.bench.bench import bench
from registry.bench.bout import TOLERANCES, Options, difference
from registry.bench.headline import Measured, headline, rho, spread, why_not
from registry.bench.layers import WORTH, Half, LayerTime, layer_table
from registry.bench.measured import Question, answer, question, times_of
from registry.bench.memory import keep_freed_memory, peak_mb
from registry.bench.result import Result
from registry.bench.routes import AXES, TOLERANCE, draw, most_saving, nominal_macs
from registry.bench.runners import Runner
from registry.bench.subject import Subject, at_scale, random_subject
from registry.bench.timing import Pace, interleave
from registry.bench.variants import DTYPES, VARIANTS, Variant, chosen
from registry.macs import count
from registry.recognizers.forward import recognizer_forward
from registry.tables import RECOGNIZERS
from registry.vared.cost import CostTable
from registry.vared.settings import VaRedSettings
from results.speed import layer_rows

SIZE = 32
EAGER = ("channels-last", "folded", "folded-channels-last", "onednn")
EXPORTED = ("openvino", "onnxruntime")


@cache
def subject_of(name: str) -> Subject:
    return random_subject(name, "desk", size=SIZE)


@cache
def costs_of(name: str) -> CostTable:
    settings = VaRedSettings(search_space=3, weights="hard")
    return random_subject(name, "desk", size=SIZE, settings=settings).policy.costs


def run(subject: Subject, *names: str, extra: tuple[Variant, ...] = (), **change: Any) -> Result:
    options = Options(num_routes=2, variants=(*chosen(names), *extra), pace=Pace(2, 1))
    return bench(subject, dataclasses.replace(options, **change))


# Routes


@pytest.mark.parametrize("name", RECOGNIZERS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_drawn_route_saves_what_is_wanted(name: str, data: st.DataObject) -> None:
    costs = costs_of(name)
    axes = data.draw(st.sampled_from(AXES))
    saving = data.draw(st.floats(0.3, 0.9)) * most_saving(costs, axes)
    seed = data.draw(st.integers(0, 2**20))
    route = draw(costs, saving, axes, seed)
    cost = float(costs.dense)
    for layer, (channel, time) in zip(costs.layers, route.tolist(), strict=True):
        channels = math.ceil(layer.num_channels / layer.channel_factors[channel])
        frames = math.ceil(layer.num_frames / layer.time_factors[time])
        lines = layer.macs_per_element * layer.area
        cost += lines * (channels * frames - layer.num_channels * layer.num_frames)
    assert 1 - cost / costs.dense == pytest.approx(saving, rel=TOLERANCE)
    assert nominal_macs(costs, route) == pytest.approx(cost)
    if axes == "channel":
        assert not route[:, 1].any()
    if axes == "time":
        assert not route[:, 0].any()


def test_a_seed_draws_the_same_route_and_another_one_another() -> None:
    costs = costs_of("tsn")
    routes = [draw(costs, 0.35, "both", seed) for seed in (1, 1, 2)]
    assert torch.equal(routes[0], routes[1])
    assert not torch.equal(routes[0], routes[2])


@pytest.mark.parametrize("axes", AXES)
def test_a_saving_out_of_reach_says_what_is_in_reach(axes: Any) -> None:
    costs = costs_of("tsn")
    with pytest.raises(ValueError, match=f"{most_saving(costs, axes):.3f}.*got 0.99"):
        draw(costs, 0.99, axes, 0)


# Figures


def test_rho_by_hand() -> None:
    half, rest = np.array([50.0, 75.0, 100.0, 120.0]), 100.0
    assert rho(half, np.full(4, rest), 50.0, 100.0) == pytest.approx([1.0, 0.5, 0.0, -0.4])
    assert rho(np.array([30.0]), np.array([100.0]), 65.0, 100.0) == pytest.approx([2.0])


def test_spread_by_hand() -> None:
    found = spread(np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]))
    assert (found.median, found.rounds_low, found.rounds_high) == (3.0, 2.5, 3.5)
    assert (found.routes_low, found.routes_high) == (2.0, 4.0)
    assert (found.num_rounds, found.num_routes) == (3, 2)


def steady(label: str, seconds: float, macs: float, num_rounds: int = 8) -> Measured:
    rounds = seconds * (1 + 0.001 * np.arange(num_rounds))
    return Measured(label, rounds[None], np.array([macs]), np.array([0.9 * macs]))


def test_the_headline_compares_with_the_fastest_dense() -> None:
    own, other, stock = (
        steady("ours", 1.0, 100),
        steady("theirs", 0.8, 100),
        steady("stock", 2, 100),
    )
    ours = steady("adaptive", 0.6, 65)
    found = headline(ours, ("adaptive", "float32", 1), [own], [own, other], [stock])
    assert (found.own_dense, found.best_dense, found.why) == ("ours", "theirs", {})
    assert found.rho_engine is not None
    assert found.rho_best is not None
    assert found.rho_executed is not None
    assert found.speedup_stock is not None
    assert found.rho_engine.median == pytest.approx(0.4 / 0.35)
    assert found.rho_best.median == pytest.approx(0.25 / 0.35)
    assert found.rho_executed.median == pytest.approx(0.4 / 0.35)
    assert found.speedup_stock.median == pytest.approx(2 / 0.6)


def test_a_batch_is_compared_with_the_faster_manner() -> None:
    together, loop = steady("dense", 1.0, 100), steady("dense, clip by clip", 0.9, 100)
    ours = steady("adaptive", 0.6, 65)
    found = headline(ours, ("adaptive", "float32", 8), [together, loop], [together, loop], [])
    assert found.own_dense == "dense, clip by clip"
    assert "speedup_stock" in found.why


def test_a_wide_spread_gives_no_headline() -> None:
    dense = steady("dense", 1.0, 100)
    seconds = np.array([[0.3, 0.9, 0.4, 0.8, 0.35, 0.85, 0.6, 0.5]])
    wild = Measured("adaptive", seconds, np.array([65.0]), np.array([60.0]))
    found = headline(wild, ("adaptive", "float32", 1), [dense], [dense], [dense])
    figures = (found.rho_engine, found.rho_best, found.rho_executed, found.speedup_stock)
    assert figures == (None,) * 4
    assert set(found.why) == {"rho_engine", "rho_best", "rho_executed", "speedup_stock"}
    assert "uncertain" in found.why["rho_engine"]
    # the same scatter, often enough, has a certain median
    assert why_not(np.tile(seconds, 400)) == ""


def test_few_rounds_or_no_saving_give_no_headline() -> None:
    assert "4 rounds" in why_not(np.ones((1, 4)))
    dense, same = steady("dense", 1.0, 100), steady("adaptive", 0.9, 99.5)
    found = headline(same, ("adaptive", "float32", 1), [dense], [dense], [])
    assert "less than 1%" in found.why["rho_engine"]


# Timing


def test_every_task_runs_once_a_round_and_warm_rounds_do_not_count() -> None:
    now, ran = [0.0], []

    def task(name: str, seconds: float) -> Callable[[], None]:
        def work() -> None:
            ran.append(name)
            now[0] += seconds * len(ran)

        return work

    rounds: list[int] = []
    tasks = {"a": task("a", 1.0), "b": task("b", 10.0)}
    taken = interleave(tasks, Pace(num_rounds=12, num_warm=2), rounds.append, lambda: now[0])
    pairs = [ran[i : i + 2] for i in range(0, len(ran), 2)]
    assert rounds == list(range(1, 15))
    assert all(sorted(pair) == ["a", "b"] for pair in pairs)
    assert len({tuple(pair) for pair in pairs}) == 2  # in either order
    expected = [2 * i + 1 + pair.index("a") for i, pair in enumerate(pairs)][2:]
    assert taken["a"].tolist() == expected


@given(seed=st.integers(0, 99))
def test_tasks_of_a_group_run_one_after_the_other(seed: int) -> None:
    ran: list[str] = []
    tasks = {name: (lambda name=name: ran.append(name)) for name in ("a1", "a2", "b1", "b2", "b3")}
    interleave(tasks, Pace(num_rounds=2, num_warm=0, seed=seed), group=lambda name: name[0])
    for done in (ran[:5], ran[5:]):
        assert sorted(done) == sorted(tasks)
        assert "".join(name[0] for name in done) in ("aabbb", "bbbaa")


# Memory


@pytest.mark.skipif(peak_mb(lambda: None) is None, reason="the kernel keeps no high-water mark")
def test_peak_memory_is_seen_whoever_freed_before() -> None:
    keep_freed_memory()
    torch.ones(64 * 2**18).sum()  # 64 MiB, freed, and kept in the process
    peak = peak_mb(lambda: torch.ones(32 * 2**18).sum())
    assert peak is not None
    assert 30 < peak < 50


# Variants


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_every_eager_variant_agrees_with_stock(name: str) -> None:
    result = run(subject_of(name), *EAGER, num_routes=1)
    assert [row.variant for row in result.variants] == ["stock", *EAGER]
    assert result.left_out == ()


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_folding_leaves_no_batch_norm(name: str) -> None:
    subject = subject_of(name)
    folded = runners.fold(subject.dense, subject.noise(1, seed=0))
    assert not any(isinstance(module, _BatchNorm) for module in folded.modules())
    assert any(isinstance(module, _BatchNorm) for module in subject.dense.modules())


@pytest.mark.parametrize("variant", EXPORTED)
@pytest.mark.parametrize("name", ["tsm", "r2plus1d"])
def test_exported_variants_agree_with_stock(name: str, variant: str) -> None:
    if reason := VARIANTS[variant].why_not():
        pytest.skip(reason)
    result = run(subject_of(name), variant, num_routes=1)
    assert [row.variant for row in result.variants] == ["stock", variant]


class Tiny(nn.Module):
    """What Inductor compiles in seconds, where a recognizer takes a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, inputs: Tensor, stage: str) -> Tensor:
        assert stage == "head"
        scores: Tensor = self.conv(inputs.flatten(0, 1)).relu().mean((2, 3))
        return scores


def test_inductor_agrees_with_eager() -> None:
    if reason := peers.no_compiler():
        pytest.skip(reason)
    tiny, clips = Tiny().eval(), torch.randn(1, 2, 3, 8, 8)
    fast = peers.inductor(tiny, clips, torch.float32)
    with torch.no_grad():
        expected = tiny(clips, stage="head")
    assert difference(fast.run(clips), expected) < TOLERANCES["float32"]


def test_without_a_compiler_inductor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "no C++ compiler" in VARIANTS["inductor"].why_not()


def test_partners_come_along() -> None:
    names = [variant.name for variant in chosen(["engine-adaptive"])]
    assert names == ["stock", "engine-dense", "engine-adaptive"]
    with pytest.raises(LookupError, match="Did you mean 'folded'"):
        chosen(["foldet"])


def test_gates_are_timed_although_routes_are_forced() -> None:
    subject = subject_of("tsm")
    skipping = runners.skipping(subject.adaptive, subject.noise(1, seed=0), torch.float32)
    assert skipping.policy is not None
    assert skipping.policy.runs_gates
    skipping.policy.routes = draw(skipping.policy.costs, 0.3, "both", 0)[None]
    scores = runners.Scores(subject.adaptive, torch.float32).eval()  # `count` restores the mode
    policy = subject.policy
    policy.routes, policy.runs_gates = skipping.policy.routes, True
    try:
        gates = count(scores, subject.noise(1, seed=0), lambda m, x: m(x)).by_column()["gate"]
    finally:
        policy.routes, policy.runs_gates = None, False
    assert gates == pytest.approx(sum(layer.gate for layer in policy.costs.layers), rel=0.01)


# Layers


def test_every_gated_layer_is_in_the_latency_table() -> None:
    subject = subject_of("r2plus1d")
    table = layer_table(subject, torch.float32, 1, Pace(5, 1))
    costs = subject.policy.costs.layers
    assert [row.layer for row in table.layers] == [cost.name for cost in costs]
    for row, cost in zip(table.layers, costs, strict=True):
        assert (row.channels is None) == (len(cost.channel_factors) == 1)
        assert (row.frames is None) == (len(cost.time_factors) == 1)
        assert row.full_ms > 0
        assert (row.both_ms is None) == (row.channels is None or row.frames is None)
    assert sum(row.macs for row in table.layers) < subject.dense_macs
    found = json.loads(json.dumps(table.as_dict()))
    assert found["num_rounds"] == 5
    assert len(layer_rows(found["layers"]).rows) == len(costs)


def half(low: float, high: float) -> Half:
    return Half(1.0, (low + high) / 2, (low, high))


FEW_ROUNDS = Half(1.0, None, None)


@pytest.mark.parametrize(
    ("channels", "frames", "expected"),
    [
        (half(WORTH, 0.7), None, True),
        (half(0.0, 0.2), half(0.8, 1.0), True),
        (half(0.4, 0.6), half(0.8, 1.0), True),
        (half(0.0, 0.2), half(-0.3, -0.1), False),
        (half(0.0, 0.2), half(0.4, 0.6), None),
        (half(0.0, 0.2), half(0.1, WORTH), None),
        (half(0.0, 0.2), FEW_ROUNDS, None),
        (None, half(0.3, 0.49), False),
    ],
)
def test_a_layer_is_worth_a_gate_where_one_axis_pays(
    channels: Half | None, frames: Half | None, expected: bool | None
) -> None:
    assert LayerTime("layer", 1, 1.0, channels, frames, None).is_worth_a_gate is expected


@pytest.mark.parametrize(
    ("half", "idle", "undecided"),
    [
        (half(0.6, 0.9), (), ()),
        (half(0.1, 0.3), ("time",), ()),
        (half(0.4, 0.8), (), ("time",)),
        (half(0.2, 0.6), ("time",), ("time",)),
    ],
)
def test_where_it_is_uncertain_the_median_decides(
    half: Half, idle: tuple[str, ...], undecided: tuple[str, ...]
) -> None:
    table = layer_table(subject_of("tsn"), torch.float32, 1, Pace(1, 0))
    layer = LayerTime("layer", 1, 2.0, None, half, None)
    (found,) = times_of(dataclasses.replace(table, layers=(layer,))).layers
    assert (found.idle, found.undecided) == (idle, undecided)
    assert (found.full_ms, found.channels_ms, found.frames_ms) == (2.0, None, half.ms)


def test_the_answer_is_of_every_layer_that_can_have_a_gate() -> None:
    config, clip = at_scale("tsn", "desk", SIZE)
    asked = question(config, clip, VaRedSettings(gate_layers=("layer4",)), 1)
    found = answer(Question.model_validate_json(asked.model_dump_json()), num_rounds=5)
    names = {layer.name for layer in subject_of("tsn").policy.costs.layers}
    assert names <= {layer.layer for layer in found.layers}
    assert (found.num_threads, found.dtype, found.num_rounds) == (1, "float32", 5)


def test_what_changes_a_layers_time_changes_the_question() -> None:
    config, clip = at_scale("tsn", "desk", SIZE)
    keys = {
        question(config, clip, VaRedSettings(**vared), threads).key
        for vared in ({}, {"cheap": "depthwise"}, {"placement": "before"})
        for threads in (1, 2)
    }
    assert len(keys) == 6
    same = question(config, clip, VaRedSettings(gate_width=4, axes=("time",)), 1)
    assert same.key == question(config, clip, VaRedSettings(), 1).key


# The whole


def test_a_benchmark_of_both_types_and_two_batches() -> None:
    subject = subject_of("tsm")
    result = run(subject, "autocast", "skipping", batches=(1, 2), dtypes=tuple(DTYPES))
    places = {(row.variant, row.dtype, row.batch, row.manner) for row in result.variants}
    assert places == {
        (variant, dtype, batch, manner)
        for variant, dtype in [
            ("stock", "float32"),
            ("stock", "bfloat16"),
            ("autocast", "bfloat16"),
            ("skipping", "float32"),
            ("skipping", "bfloat16"),
        ]
        for batch in (1, 2)
        for manner in ("batch", "loop")
        if manner == "batch" or (batch == 2 and variant != "skipping")
    }
    assert all(row.error <= TOLERANCES[row.dtype] for row in result.variants)
    assert [x.variant for x in result.left_out] == ["autocast"] * 2  # in float32
    assert [(h.variant, h.dtype, h.batch) for h in result.headlines] == [
        ("skipping", dtype, batch) for batch in (1, 2) for dtype in DTYPES
    ]
    assert all("rounds" in h.why["rho_engine"] for h in result.headlines)  # two are too few
    assert json.loads(json.dumps(result.as_dict()))["machine"]["num_threads"] == 1


def test_multiply_adds_are_those_that_ran() -> None:
    subject = subject_of("tsm")
    result = run(subject, "skipping", num_routes=1)
    dense, adaptive = result.variants
    clips, policy = subject.noise(1, seed=0), subject.policy
    assert dense.executed_macs == count(subject.dense, clips, recognizer_forward).total
    policy.routes = draw(policy.costs, 0.35, "both", 0)[None]
    policy.runs_gates = True
    try:
        ran = count(subject.adaptive, clips, recognizer_forward).total
    finally:
        policy.routes, policy.runs_gates = None, False
    assert adaptive.executed_macs == pytest.approx(ran, rel=1e-3)
    assert 1 - adaptive.nominal_macs / dense.nominal_macs == pytest.approx(0.35, rel=TOLERANCE)


def altered(name: str, by: Callable[[Tensor], Tensor], own_dense: str = "") -> Variant:
    """Stock, with its scores altered; for an adaptive one the routes are not looked at."""

    def make(recognizer: Any, example: Tensor, dtype: torch.dtype) -> Runner:
        def forward(clips: Tensor) -> Tensor:
            policy = getattr(recognizer, "vared", None)
            if policy is not None:
                policy.routes = None
            return by(recognizer_forward(recognizer, clips))

        return Runner(runners.without_gradients(forward))

    return Variant(name, "broken", make, own_dense=own_dense)


def fails(scores: Tensor) -> Tensor:
    raise RuntimeError("out of luck\nand more")


def test_what_disagrees_is_reported_and_not_timed() -> None:
    extra = (
        altered("right", lambda scores: scores),
        altered("a little off", lambda scores: scores + 1e-3 * scores.abs().max()),
        altered("no number", lambda scores: scores * float("nan")),
        altered("failing", fails),
        altered("of no route", lambda scores: scores, own_dense="stock"),
    )
    result = run(subject_of("tsm"), "stock", extra=extra)
    assert [row.variant for row in result.variants] == ["stock", "right"]
    assert result.headlines == ()
    left = {x.variant: x for x in result.left_out}
    assert {name for name, x in left.items() if x.disagrees} == {
        "a little off",
        "no number",
        "of no route",
    }
    assert "differs by 1.0e-03" in left["a little off"].reason
    assert left["failing"].reason == "RuntimeError: out of luck"


def test_a_variant_that_cannot_run_here_says_why() -> None:
    absent = Variant("absent", "none", runners.eager, why_not=lambda: "not installed")
    result = run(subject_of("tsm"), "stock", extra=(absent,))
    assert [(x.variant, x.disagrees, x.reason) for x in result.left_out] == [
        ("absent", False, "not installed")
    ]


def test_a_clip_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="multiple of 2 frames, but got 1"):
        random_subject("slowfast", "desk", size=SIZE, frames=1)
