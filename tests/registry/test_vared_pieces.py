"""Gate, blending, efficiency loss and controller, each by its own rule."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from registry.vared.calibration import DEPTH
from registry.vared.controller import BudgetHook, Controller
from registry.vared.copies import CopyPlan, blend_copies
from registry.vared.cost import CostTable, LayerCost
from registry.vared.frames import kept_frames, mirrors
from registry.vared.gate import ALL_OFF_WEIGHT, Gate, Look
from registry.vared.information import mutual_information, route_information
from registry.vared.loss import AdaptiveLoss
from registry.vared.policy import Decision, Policy
from registry.vared.pooling import pool
from registry.vared.rebuild import Rebuild, kept_sizes
from registry.vared.settings import LossSettings, VaRedSettings
from registry.vared.standard import HORIZON, Standard
from tests.registry.formula import blend_by_branches

sizes = st.integers(4, 13)


@settings(max_examples=60, deadline=None)
@given(
    channels=sizes,
    frames=sizes,
    space=st.sampled_from([2, 3]),
    mirrored=st.booleans(),
    data=st.data(),
)
def test_blending_follows_the_formula(
    channels: int, frames: int, space: int, mirrored: bool, data: st.DataObject
) -> None:
    vared = VaRedSettings(search_space=space)
    torch.manual_seed(data.draw(st.integers(0, 999)))
    z = torch.randn(2, channels, frames, 3, 2)
    weights = [torch.rand(2, space) for _ in range(2)]
    live = tuple(range(space))
    channel = Rebuild("channel", vared.factors, channels, vared)
    time = Rebuild("time", vared.factors, channels, vared, mirrored=mirrored)
    y = channel(z, weights[0], channel_axis=1, size=channels, live=live)
    torch.testing.assert_close(y, blend_by_branches(z, weights[0], vared.factors, 1))
    both = time(y, weights[1], channel_axis=1, size=frames, live=live)
    torch.testing.assert_close(both, blend_by_branches(y, weights[1], vared.factors, 2, mirrored))


LAYOUTS = {
    "NCTHW": ((0, 1, 2, 3, 4), 1),
    "NTCHW": ((0, 2, 1, 3, 4), 2),
    "NCTHW, channels last": ((0, 2, 3, 4, 1), 1),
    "NTCHW, channels last": ((0, 2, 3, 4, 1), 2),
}
"""How a map (N, C, T, H, W) lies in memory, and which axis of five its channels are."""


def laid_out(z: torch.Tensor, layout: str) -> torch.Tensor:
    order, channel_axis = LAYOUTS[layout]
    z = z.permute(order).contiguous().permute([order.index(axis) for axis in range(5)])
    return z if channel_axis == 1 else z.transpose(1, 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=40, deadline=None)
@given(
    factors=st.tuples(*[st.sampled_from([(1,), (1, 2), (1, 2, 4)])] * 2),
    groups=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    missing=st.integers(0, 1),
    is_still=st.booleans(),
    mirrored=st.booleans(),
    seed=st.integers(0, 999),
)
def test_copies_blended_at_once_follow_the_formula_forward_and_back(
    layout: str,
    factors: tuple[tuple[int, ...], tuple[int, ...]],
    groups: tuple[int, int],
    missing: int,
    is_still: bool,
    mirrored: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    channels, frames = (num * chosen[-1] for num, chosen in zip(groups, factors, strict=True))
    if factors[0] == (1, 2):
        channels -= missing  # the copied half is shorter
    if is_still:
        frames = 1
    mirrored = mirrors(frames, factors[1][-1], mirrored)
    z = torch.randn(2, channels, frames, 3, 2, requires_grad=True)
    # a single branch weighs one
    weights = [
        torch.rand(2, len(chosen), requires_grad=True) if len(chosen) > 1 else torch.ones(2, 1)
        for chosen in factors
    ]
    plan = CopyPlan(*factors, channels, frames, mirrored)
    channel_axis = LAYOUTS[layout][1]
    blended = blend_copies(laid_out(z, layout), plan, (weights[0], weights[1]), channel_axis)
    assert blended is not None
    y = blended if channel_axis == 1 else blended.transpose(1, 2)
    expected = blend_by_branches(z, weights[0], factors[0], 1)
    expected = blend_by_branches(expected, weights[1], factors[1], 2, mirrored)
    torch.testing.assert_close(y, expected)
    wanted = torch.randn_like(y)
    inputs = [z, *(w for w in weights if w.requires_grad)]
    gradients = torch.autograd.grad((y * wanted).sum(), inputs)
    expected_gradients = torch.autograd.grad((expected * wanted).sum(), inputs)
    torch.testing.assert_close(gradients, expected_gradients, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("factors", "channels", "frames"),
    [((1, 2, 4), 5, 4), ((1, 2), 4, 3)],  # 3 of 5, not 4
)
def test_parts_of_groups_are_not_blended_at_once(
    factors: tuple[int, ...], channels: int, frames: int
) -> None:
    z, weights = torch.randn(2, channels, frames, 2, 2), torch.rand(2, len(factors))
    plan = CopyPlan(factors, (1, 2), channels, frames, False)
    assert blend_copies(z, plan, (weights, torch.rand(2, 2)), 1) is None


@pytest.mark.parametrize("cheap", ["copy", "scale", "depthwise"])
@pytest.mark.parametrize(
    ("axis", "frames", "mirrored"), [("channel", 9, False), ("time", 9, False), ("time", 12, True)]
)
@pytest.mark.parametrize("branch", [0, 1, 2])
def test_what_a_branch_did_not_compute_is_not_needed(
    cheap: str, axis: str, frames: int, mirrored: bool, branch: int
) -> None:
    vared = VaRedSettings(search_space=3, cheap=cheap)
    channels = 10
    rebuild = Rebuild(axis, vared.factors, channels, vared, mirrored=mirrored)
    size = channels if axis == "channel" else frames
    z = torch.randn(2, channels, frames, 4, 4)
    weights = torch.zeros(2, 3)
    weights[:, branch] = 0.7
    step, kept = vared.factors[branch], kept_sizes(size, vared.factors)[branch]
    kept_in_time = kept_frames(frames, step, vared.factors[-1], mirrored)
    computed = z[:, :kept] if axis == "channel" else z[:, :, kept_in_time]
    args = {"channel_axis": 1, "size": size}
    full = rebuild(z, weights, live=(0, 1, 2), **args)
    torch.testing.assert_close(rebuild(computed, weights, live=(branch,), **args), full)


@given(groups=st.integers(1, 6), space=st.sampled_from([2, 3]))
def test_frames_kept_mirrored_are_their_own_mirror_image(groups: int, space: int) -> None:
    factors = VaRedSettings(search_space=space).factors
    frames = 2 * groups * factors[-1]
    kept = [kept_frames(frames, factor, factors[-1], True) for factor in factors]
    for factor, indices in zip(factors, kept, strict=True):
        assert len(indices) == frames // factor
        assert [frames - 1 - index for index in reversed(indices)] == indices
    # a smaller branch is a slice of every larger one
    assert all(set(small) <= set(large) for large, small in itertools.pairwise(kept))


@given(frames=st.integers(1, 5), seed=st.integers(0, 99))
def test_motion_is_the_mean_change_from_frame_to_frame(frames: int, seed: int) -> None:
    x = torch.randn(2, 3, frames, 4, 4, generator=torch.Generator().manual_seed(seed))
    mean, motion = pool(x, "motion").split(3, 1)
    torch.testing.assert_close(mean, pool(x, "mean"))
    changes = [(x[:, :, t] - x[:, :, t - 1]).abs() for t in range(1, frames)]
    expected = torch.stack(changes).mean((0, 3, 4)) if changes else torch.zeros(2, 3)
    torch.testing.assert_close(motion, expected)
    torch.testing.assert_close(motion, pool(x.flip(2), "motion")[:, 3:])
    still = x[:, :, :1].expand(-1, -1, frames, -1, -1)
    assert not pool(still, "motion")[:, 3:].any()


def gate(**choices: object) -> Gate:
    torch.manual_seed(0)
    return Gate(6, 4, (2, 2), VaRedSettings(**choices))


def seen(x: Tensor, **choices: object) -> Tensor:
    return Look(VaRedSettings(**choices))(x)


def test_a_gate_starts_almost_full_and_almost_alike_for_all_clips() -> None:
    vared = VaRedSettings()
    channel, time, _ = gate()(seen(torch.randn(5, 6, 4, 3, 3)))
    for weights in (channel, time):
        expected = torch.tensor([[math.tanh(vared.bias_full), math.tanh(vared.bias_reduced)]])
        torch.testing.assert_close(weights, expected.expand(5, 2), atol=0.1, rtol=0)


@pytest.mark.parametrize("activation", ["leak", "exact"])
def test_closed_branches_weigh_exactly_zero(activation: str) -> None:
    closing = gate(activation=activation)
    with torch.no_grad():
        closing.excite.bias.copy_(torch.tensor([-1.0, 2.0, 1.0, -3.0]))
    channel, time, u = closing(seen(torch.randn(5, 6, 4, 3, 3)))
    assert (channel[:, 0] == 0).all()
    assert (time[:, 1] == 0).all()
    (channel[:, 0].sum() + time[:, 1].sum()).backward()
    moved = closing.excite.bias.grad is not None and bool(closing.excite.bias.grad[[0, 3]].any())
    assert moved == (activation == "leak")


@settings(max_examples=40, deadline=None)
@given(
    axes=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    activation=st.sampled_from(["leak", "exact"]),
    seed=st.integers(0, 999),
)
def test_weights_follow_the_formula_forward_and_back(
    axes: tuple[int, int], activation: str, seed: int
) -> None:
    torch.manual_seed(seed)
    deciding = Gate(6, 4, axes, VaRedSettings(activation=activation))
    with torch.no_grad():
        deciding.excite.weight.normal_()
        deciding.excite.bias.normal_()
    x = torch.randn(5, 6, 4, 3, 3, requires_grad=True)
    channel, time, u = deciding(seen(x))
    hidden = torch.tanh(deciding.norm(deciding.squeeze(x.mean((2, 3, 4)))))
    expected_u = deciding.excite(hidden)
    torch.testing.assert_close(u, expected_u)
    total, expected_total = torch.zeros(()), torch.zeros(())
    for weights, part in zip((channel, time), expected_u.split(axes, 1), strict=True):
        if part.shape[1] == 1:
            assert (weights == 1).all()
            continue
        opened = torch.tanh(part).clamp_min(0)
        closed = opened.sum(1) == 0
        expected = (
            opened + closed[:, None] * torch.tensor([0.0] * 2 + [ALL_OFF_WEIGHT])[-part.shape[1] :]
        )
        torch.testing.assert_close(weights, expected)
        wanted = torch.randn_like(weights)
        slope = torch.tanh(part) if activation == "leak" else opened
        total = total + (weights * wanted).sum()
        expected_total = expected_total + (slope * wanted).sum()
    if axes == (1, 1):
        return
    inputs = [x, *deciding.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(total, inputs), torch.autograd.grad(expected_total, inputs)
    )


def test_where_all_branches_close_the_cheapest_stays() -> None:
    closing = gate()
    with torch.no_grad():
        closing.excite.bias.fill_(-5)
    channel, _, _ = closing(seen(torch.randn(3, 6, 4, 3, 3)))
    torch.testing.assert_close(channel, torch.tensor([[0.0, ALL_OFF_WEIGHT]]).expand(3, 2))


@pytest.mark.parametrize("norm", ["layer", "batch", "running", "none"])
@pytest.mark.parametrize("keep", ["mean", "frames", "motion"])
def test_normalised_weights_sum_to_one(norm: str, keep: str) -> None:
    channel, time, _ = gate(normalise=True, gate_norm=norm, gate_input=keep)(
        seen(torch.randn(5, 6, 4, 3, 3), gate_input=keep)
    )
    torch.testing.assert_close(channel.sum(1), torch.ones(5))
    torch.testing.assert_close(time.sum(1), torch.ones(5))


@given(
    num_batches=st.integers(1, HORIZON),
    size=st.integers(1, 6),
    offset=st.sampled_from([0.0, 3.0, -100.0]),
    seed=st.integers(0, 2**20),
)
def test_the_first_batches_give_the_mean_and_variance_of_all_their_clips(
    num_batches: int, size: int, offset: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    batches = offset + torch.randn(num_batches, size, 3, generator=generator)
    standard = Standard(3)
    for batch in batches:
        standard.watch(batch)
    clips = batches.double().flatten(0, 1)
    torch.testing.assert_close(standard.mean.double(), clips.mean(0), rtol=1e-5, atol=1e-5)
    variance = clips.var(0, unbiased=False)
    torch.testing.assert_close(standard.variance.double(), variance, rtol=1e-3, atol=1e-4)


def test_later_batches_push_out_the_first_ones() -> None:
    standard = Standard(1)
    for level in (100.0, 5.0):
        for _ in range(10 * HORIZON):
            standard.watch(level + torch.tensor([[-1.0], [1.0]]))
    torch.testing.assert_close(standard.mean, torch.tensor([5.0]), rtol=0, atol=0.01)
    torch.testing.assert_close(standard.variance, torch.tensor([1.0]), rtol=0.5, atol=0)


@given(
    choice=st.sampled_from(["mean", "frames", "motion"]),
    num_others=st.integers(1, 5),
    scale=st.sampled_from([0.0, 1.0, 1000.0]),
    seed=st.integers(0, 2**20),
)
def test_with_running_statistics_a_clip_is_judged_alone(
    choice: str, num_others: int, scale: float, seed: int
) -> None:
    judging = gate(gate_norm="running", gate_input=choice).train()
    nn.init.normal_(judging.excite.weight)
    generator = torch.Generator().manual_seed(seed)
    before, clip, others = (
        seen(torch.randn(num, 6, 4, 3, 3, generator=generator), gate_input=choice)
        for num in (4, 1, num_others)
    )
    judging.standard.watch(before)
    others = scale * others
    alone = judging(clip)
    together = judging(torch.cat([clip, others]), watches=True)
    for one, first in zip(alone, together, strict=True):
        torch.testing.assert_close(one[0], first[0])
    # the others count for later clips only
    assert (judging(clip)[2] != alone[2]).any()


def layer_cost(macs: int, channels: int, frames: int) -> LayerCost:
    return LayerCost("layer", macs, 0, False, channels, frames, 1, (1, 2), (1, 2), 0, 0, True)


def table() -> CostTable:
    return CostTable([layer_cost(10, 8, 4), layer_cost(30, 8, 4)], dense=2000)


def test_the_floor_is_a_quarter_of_the_gated_layers_and_the_rest() -> None:
    gated = (10 + 30) * 8 * 4
    assert table().floor() == pytest.approx((gated / 4 + 2000 - gated) / 2000)


def decide(policy: Policy, weights: torch.Tensor) -> None:
    for layer in range(2):
        policy.decisions[layer] = Decision(weights, torch.tensor([[1.0, 0.0]]).expand(2, 2))


SCORES = torch.tensor([[2.0, 1.0], [0.0, 1.0]])


def hits(labels: tuple[int, int]) -> list[bool]:
    return [bool(row.argmax() == label) for row, label in zip(SCORES, labels, strict=True)]


def losses_of(
    policy: Policy, labels: tuple[int, int] = (0, 0), **choices: object
) -> dict[str, torch.Tensor]:
    """Of two clips; with the labels that are given, the first alone is classified correctly."""
    policy.scores = SCORES
    samples = [SimpleNamespace(gt_label=torch.tensor([label])) for label in labels]
    model = SimpleNamespace(loss=lambda inputs, samples: {"loss_cls": torch.tensor(1.0)})
    return AdaptiveLoss(model, policy, LossSettings(**choices))(None, samples)


@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("only_correct", [True, False])
def test_efficiency_loss_is_the_recalled_formula(square: bool, only_correct: bool) -> None:
    policy = Policy(table(), efficiency_weight=3.0)
    decide(policy, torch.tensor([[1.0, 0.0], [0.0, 0.9]]))
    losses = losses_of(policy, square=square, only_correct=only_correct)
    gated = (10 + 30) * 8 * 4
    shares = [1.0, (gated / 2 + 2000 - gated) / 2000]
    paid = [share**2 if square else share for share in shares]
    if only_correct:
        paid[1] = 0.0  # the second clip is classified wrongly
    assert float(losses["loss_efficiency"]) == pytest.approx(3.0 * sum(paid) / 2)
    assert float(losses["macs_share"]) == pytest.approx(sum(shares) / 2)


@given(labels=st.tuples(st.integers(0, 1), st.integers(0, 1)), dear=st.floats(0.0, 1.0))
def test_pressure_on_the_mean_is_on_one_clip_with_the_mean_share(
    labels: tuple[int, int], dear: float
) -> None:
    policy = Policy(table(), efficiency_weight=1.0)
    decide(policy, torch.tensor([[dear, 1.0], [0.0, 0.9]]))
    on_mean, on_each = (
        float(losses_of(policy, labels, pressure=pressure)["loss_efficiency"])
        for pressure in ("mean", "clip")
    )
    right = [share for share, hit in zip(policy.share().tolist(), hits(labels), strict=True) if hit]
    mean = sum(right) / max(len(right), 1)
    assert on_mean == pytest.approx(len(right) / 2 * mean**2)
    assert on_mean <= on_each + 1e-6
    if len(set(right)) <= 1:
        assert on_mean == pytest.approx(on_each)


@pytest.mark.parametrize("pressure", ["clip", "mean"])
def test_pressure_is_by_the_share_of_each_clip_or_by_the_mean(
    pressure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = torch.tensor([0.9, 0.5], requires_grad=True)
    policy = Policy(table(), efficiency_weight=3.0)
    monkeypatch.setattr(policy, "share", lambda: shares)
    losses_of(policy, only_correct=False, pressure=pressure)["loss_efficiency"].backward()
    pressed = torch.tensor([0.9, 0.5] if pressure == "clip" else [0.7, 0.7])
    torch.testing.assert_close(shares.grad, 3.0 * 2 * pressed / 2)


weights = st.lists(st.floats(0, 1), min_size=12, max_size=12)


@given(weights=weights, num_branches=st.sampled_from([2, 3]))
def test_clips_tell_between_nothing_and_all_about_their_branches(
    weights: list[float], num_branches: int
) -> None:
    weights_NLS = torch.tensor(weights).view(-1, 1, num_branches)
    weights_NLS[..., -1] += ALL_OFF_WEIGHT  # a gate never closes all
    told = float(mutual_information(weights_NLS))
    assert -1e-5 <= told <= math.log(num_branches) + 1e-5
    alike = weights_NLS[:1] * torch.rand(len(weights_NLS), 1, 1).clamp_min(0.1)
    assert float(mutual_information(alike)) == pytest.approx(0, abs=1e-5)
    # the most there is: each clip has one branch, and all are taken as often
    assert float(mutual_information(torch.eye(num_branches)[:, None])) == pytest.approx(
        math.log(num_branches)
    )


def test_the_reward_for_spread_is_the_weighted_information_of_axes_with_a_choice() -> None:
    two, three = torch.tensor([[0.9, 0.1], [0.2, 0.6]]), torch.tensor([[0.5, 0.5], [0.0, 0.3]])
    fixed_time = replace(layer_cost(30, 8, 4), time_factors=(1,))
    policy = Policy(CostTable([layer_cost(10, 8, 4), fixed_time], dense=2000))
    policy.decisions[0] = Decision(two, three)
    policy.decisions[1] = Decision(three, torch.ones(2, 1))
    i_two, i_three = (float(mutual_information(w[:, None])) for w in (two, three))
    expected = (10 * (i_two + i_three) + 30 * i_three) / (10 + 10 + 30)
    assert float(route_information(policy)) == pytest.approx(expected)
    assert float(losses_of(policy, spread=0.3)["loss_spread"]) == pytest.approx(-0.3 * expected)


@pytest.mark.parametrize("phase", ["full", "frozen"])
def test_only_gates_that_learn_are_rewarded(phase: str) -> None:
    policy = Policy(table(), **{phase: True})
    decide(policy, torch.tensor([[1.0, 0.0], [0.0, 0.9]]))
    assert "loss_spread" not in losses_of(policy, spread=0.3)


def test_the_reward_drives_policies_apart() -> None:
    policy = Policy(table())
    weights = torch.tensor([[0.6, 0.5], [0.5, 0.6]], requires_grad=True)
    decide(policy, weights)
    losses_of(policy, spread=1.0)["loss_spread"].backward()
    assert weights.grad is not None
    assert torch.equal(weights.grad.sign(), torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))


def test_a_closed_branch_has_a_finite_gradient() -> None:
    weights = torch.tensor([[[0.0, 1.0]], [[0.7, 0.0]]], requires_grad=True)
    mutual_information(weights).sum().backward()
    assert weights.grad is not None
    assert weights.grad.isfinite().all()


def test_the_gradient_of_the_share_closes_full_branches() -> None:
    policy = Policy(table())
    weights = torch.tensor([[0.9, 0.1], [0.9, 0.1]], requires_grad=True)
    decide(policy, weights)
    policy.share().sum().backward()
    assert weights.grad is not None
    assert (weights.grad[:, 0] > 0).all()
    assert (weights.grad[:, 1] < 0).all()


@pytest.mark.parametrize("ramp", [0.5, 0.75, 1.0])
def test_the_target_comes_down_to_the_goal_along_the_ramp_and_stays(ramp: float) -> None:
    hook = BudgetHook(0.6, {"ramp": ramp})
    goal = hook.controller.goal
    assert goal == pytest.approx(0.6 - hook.settings.margin - DEPTH / 2)
    targets = [hook.controller.target(p / 10 * ramp) for p in range(11)]
    assert targets == pytest.approx([1 - (1 - goal) * p / 10 for p in range(11)])
    assert hook.controller.target(1.0) == pytest.approx(goal)


@pytest.mark.parametrize(("share", "sign"), [(1.0, 1), (0.2, -1)], ids=["over", "under"])
def test_the_weight_pushes_towards_the_target(share: float, sign: int) -> None:
    controller = Controller(0.6, ramp=0.75)
    weight = [controller.step(share, 1.0) for _ in range(30)][-1]
    assert math.copysign(1, weight) == sign


def test_a_hook_without_budget_or_weight_is_an_error() -> None:
    with pytest.raises(ValueError, match="budget"):
        BudgetHook(None)
