"""What follows a convolution in one operation: as gate, normalisation, ReLU and blend do it."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from registry.recognizers.forward import recognizer_forward
from registry.vared.copies import CopyPlan
from registry.vared.frames import mirrors
from registry.vared.fused import decide_and_blend, is_fused, is_fused_gate, normalise_and_blend
from registry.vared.fused.layer import TIMES_READ
from registry.vared.gate import Gate, Look
from registry.vared.recognizer import adapt
from registry.vared.settings import VaRedSettings
from registry.vared.team import team_size
from tests.registry.formula import blend_by_branches

NUM_CLIPS = 3
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@st.composite
def plans(draw: st.DrawFn) -> CopyPlan:
    """Blends of both axes, with a last group of channels that is a channel short or not."""
    offers = st.sampled_from([(1,), (1, 2), (1, 2, 4)])
    channel, time = draw(offers), draw(offers)
    channels, frames = (draw(st.integers(1, 4)) * factors[-1] for factors in (channel, time))
    if channel == (1, 2):
        channels = max(1, channels - draw(st.integers(0, 1)))
    return CopyPlan(channel, time, channels, frames, mirrors(frames, time[-1], draw(st.booleans())))


def shape_of(plan: CopyPlan, channels: int, *sides: int, is_3d: bool) -> tuple[int, ...]:
    frames = plan.num_frames
    if is_3d:
        return NUM_CLIPS, channels, frames, *sides
    return NUM_CLIPS * frames, channels, *sides


def lying(x: Tensor, *, lies_last: bool) -> Tensor:
    """The same map, its channels last in memory or as it is."""
    if not lies_last:
        return x
    return x.contiguous(memory_format=LAST[x.dim()])


def two_norms(channels: int, *, is_3d: bool) -> tuple[Any, Any]:
    """The same batch normalisation twice, with drawn parameters."""
    make = nn.BatchNorm3d if is_3d else nn.BatchNorm2d
    norms = make(channels), make(channels)
    for parameter, other in zip(norms[0].parameters(), norms[1].parameters(), strict=True):
        nn.init.uniform_(parameter, -1, 1)
        other.data.copy_(parameter.data)
    return norms


def step_by_step(
    u: Tensor, norm: Any, act: nn.Module | None, plan: CopyPlan, weights: Sequence[Tensor]
) -> Tensor:
    """The same in PyTorch's operations and in float64, branch by branch."""
    z = u.double() if norm is None else norm.double()(u.double())
    if act is not None:
        # at the kink of ReLU, which rounding may step over, either slope is right
        nearest, farthest_off = z.detach().abs().min(), u.detach().abs().max()
        assume(nearest > torch.finfo(u.dtype).eps * farthest_off)
        z = z.relu()
    clips = z if z.dim() == 5 else z.view(NUM_CLIPS, plan.num_frames, *z.shape[1:]).transpose(1, 2)
    channel, time = (weight.double() for weight in weights)
    y = blend_by_branches(clips, channel, plan.channel_factors, 1)
    y = blend_by_branches(y, time, plan.time_factors, 2, plan.mirrored)
    return (y if z.dim() == 5 else y.transpose(1, 2)).reshape(u.shape).to(u.dtype)


def same_buffers(norms: tuple[Any, Any]) -> None:
    for buffer, other in zip(norms[0].buffers(), norms[1].buffers(), strict=True):
        torch.testing.assert_close(buffer, other, check_dtype=False)


@pytest.mark.parametrize("is_3d", [False, True])
@settings(max_examples=60, deadline=None)
@given(
    plan=plans(),
    activates=st.booleans(),
    learns=st.booleans(),
    lies_last=st.booleans(),
    centre=st.sampled_from([0.0, 30.0]),
    seed=st.integers(0, 999),
)
def test_one_pass_is_normalisation_then_activation_then_the_blend(
    is_3d: bool,
    plan: CopyPlan,
    activates: bool,
    learns: bool,
    lies_last: bool,
    centre: float,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    # rows of more numbers than are summed at once, too
    sides = (3, 2) if seed % 3 else (17, 13)
    u = centre + torch.randn(shape_of(plan, plan.num_channels, *sides, is_3d=is_3d))
    u.requires_grad_()
    offers = (plan.channel_factors, plan.time_factors)
    weights = [torch.rand(NUM_CLIPS, len(chosen), requires_grad=learns) for chosen in offers]
    norms = two_norms(plan.num_channels, is_3d=is_3d)
    act = nn.ReLU(inplace=True) if activates else None
    given_u = lying(u, lies_last=lies_last)
    y = normalise_and_blend(given_u, norms[0], act, plan, (weights[0], weights[1]))
    assert y is not None
    expected = step_by_step(u, norms[1], act, plan, weights)
    # numbers far from zero leave fewer digits of what is left of them
    torch.testing.assert_close(y, expected, atol=1e-5 * (1 + centre), rtol=1e-5)
    same_buffers(norms)
    wanted = torch.randn_like(y)
    inputs = [u, *(weights if learns else [])]
    found = torch.autograd.grad(y, [*inputs, *norms[0].parameters()], wanted)
    gradients = torch.autograd.grad(expected, [*inputs, *norms[1].parameters()], wanted)
    torch.testing.assert_close(found[0], gradients[0], atol=1e-5 * (1 + centre), rtol=1e-5)
    # the others are sums over a clip or more, off by the root of as many roundings
    within = min(1e-4, 1e-6 * math.sqrt(u.numel() / NUM_CLIPS)) * (1 + centre)
    close = partial(torch.testing.assert_close, atol=within, rtol=1e-5, check_dtype=False)
    close(found[1:], gradients[1:])


@pytest.mark.parametrize("is_3d", [False, True])
@settings(max_examples=60, deadline=None)
@given(
    plan=plans(),
    normalises=st.booleans(),
    activates=st.booleans(),
    activation=st.sampled_from(["leak", "exact"]),
    stride=st.integers(1, 3),
    beta=st.sampled_from([-1.0, 0.0, 1.0]),
    lies_last=st.booleans(),
    is_first=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_decision_in_the_same_pass_is_the_gates_own(
    is_3d: bool,
    plan: CopyPlan,
    normalises: bool,
    activates: bool,
    activation: str,
    stride: int,
    beta: float,
    lies_last: bool,
    is_first: bool,
    seed: int,
) -> None:
    """Forward and back, with gradients from others who use the weights, as the loss does."""
    torch.manual_seed(seed)
    vared = VaRedSettings(activation=activation, gate_stride=stride)
    x = torch.randn(shape_of(plan, 5, 4, 3, is_3d=is_3d), requires_grad=not is_first)
    u = torch.randn(shape_of(plan, plan.num_channels, 3, 2, is_3d=is_3d), requires_grad=True)
    num_branches = (len(plan.channel_factors), len(plan.time_factors))
    gate, look = Gate(5, plan.num_frames, num_branches, vared), Look(vared)
    for parameter in gate.parameters():
        nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        gate.excite.bias += beta  # all branches of a few clips are closed, or open
    norms = two_norms(plan.num_channels, is_3d=is_3d) if normalises else (None, None)
    act = nn.ReLU(inplace=True) if activates else None
    assert is_fused(x, norms[0], act, plan)
    assert is_fused_gate(gate)
    maps = [lying(m, lies_last=lies_last) for m in (x, u)]
    found = decide_and_blend(*maps, gate, norms[0], act, plan, stride, learns=True)
    clips = x if is_3d else x.view(NUM_CLIPS, -1, *x.shape[1:]).transpose(1, 2)
    channel, time, pre_activations = gate(look(clips))
    blended = step_by_step(u, norms[1], act, plan, (channel, time))
    expected = (blended, channel, time, pre_activations)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if normalises:
        same_buffers((norms[0], norms[1]))
    wanted = [torch.randn_like(output) for output in expected[:3]]
    inputs = [*([] if is_first else [x]), u, *gate.parameters()]
    found_gradients, gradients = (
        torch.autograd.grad(
            sum((part * want).sum() for part, want in zip(outputs, wanted, strict=False)),
            [*inputs, *([] if norm is None else norm.parameters())],
        )
        for outputs, norm in ((found, norms[0]), (expected, norms[1]))
    )
    close = partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4, check_dtype=False)
    close(found_gradients, gradients)


@pytest.mark.parametrize("name", ["tsm", "slowfast", "r2plus1d"])
@pytest.mark.parametrize("rests", [False, True])
def test_a_recognizer_trains_as_with_pytorchs_operations(
    name: str,
    rests: bool,
    make_recognizer: Callable[[str], tuple[nn.Module, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores, weights and all gradients are as near to those in float64 as PyTorch's are."""
    recognizer, example = make_recognizer(name)
    adapt(recognizer, VaRedSettings(), example)
    clips = torch.randn(NUM_CLIPS, *example.shape[1:])
    at_once = one_step(deepcopy(recognizer), clips, rests=rests)
    monkeypatch.setattr("registry.vared.dynamic.is_fused_gate", lambda _: False)
    monkeypatch.setattr("registry.vared.dynamic.normalise_and_blend", lambda *_: None)
    one_by_one = one_step(deepcopy(recognizer), clips, rests=rests)
    exact = one_step(deepcopy(recognizer).double(), clips.double(), rests=rests)
    assert at_once.keys() == exact.keys()
    assert farthest(at_once, exact) <= 1e-5 + 3 * farthest(one_by_one, exact)


def one_step(recognizer: Any, clips: Tensor, *, rests: bool) -> dict[str, Tensor]:
    recognizer.train()
    recognizer.vared.frozen = rests
    scores = recognizer_forward(recognizer, clips)
    outputs = (scores, *recognizer.vared.stacked())
    sum((output.square().sum() for output in outputs), start=torch.zeros(())).backward()
    found = dict(zip(("scores", "channel", "time"), outputs, strict=True))
    found |= {key: p.grad for key, p in recognizer.named_parameters() if p.grad is not None}
    return {key: value.detach() for key, value in found.items()}


def farthest(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """The largest distance, of the largest number of its tensor or of a thousandth."""
    return max(
        float((found[key] - value).abs().max() / value.abs().max().clamp_min(1e-3))
        for key, value in exact.items()
    )


def test_a_gate_at_rest_gets_no_gradient_and_gives_none() -> None:
    plan = CopyPlan((1, 2), (1, 2), 4, 2, False)
    gate = Gate(3, 2, (2, 2), VaRedSettings())
    x, u = torch.randn(4, 3, 2, 2, requires_grad=True), torch.randn(4, 4, 2, 2, requires_grad=True)
    norm = nn.BatchNorm2d(4)
    y, channel, time, _ = decide_and_blend(x, u, gate, norm, None, plan, 1, learns=False)
    assert not channel.requires_grad
    assert not time.requires_grad
    y.square().sum().backward()
    assert x.grad is None
    assert u.grad is not None
    assert all(parameter.grad is None for parameter in gate.parameters())


@pytest.mark.parametrize("learns", [False, True])
def test_what_a_layer_keeps_is_freed_with_what_it_made(learns: bool) -> None:
    """At once, since a cycle through autograd would wait for Python to look for it, or stay."""
    plan = CopyPlan((1, 2), (1, 2), 4, 2, False)
    gate = Gate(3, 2, (2, 2), VaRedSettings())
    x, u = torch.randn(4, 3, 2, 2), torch.randn(4, 4, 2, 2, requires_grad=True)
    gc.disable()
    try:
        made = decide_and_blend(x, u, gate, nn.BatchNorm2d(4), None, plan, 1, learns=learns)
        nodes = [weakref.ref(output) for output in made]
        del made
        assert [node() for node in nodes] == [None] * 4
    finally:
        gc.enable()


@pytest.mark.parametrize("is_3d", [False, True])
def test_maps_whose_channels_lie_last_are_the_same_maps(is_3d: bool) -> None:
    """Outputs and gradients, but for the order in which numbers are added."""
    plan = CopyPlan((1, 2), (1, 2), 4, 2, False)
    torch.manual_seed(0)
    gate, norm = Gate(5, 2, (2, 2), VaRedSettings()), two_norms(4, is_3d=is_3d)[0]
    shapes = [shape_of(plan, channels, 4, 3, is_3d=is_3d) for channels in (5, 4)]
    x, u = (torch.randn(shape, requires_grad=True) for shape in shapes)
    weights = (torch.rand(NUM_CLIPS, 2), torch.rand(NUM_CLIPS, 2))

    def made(*, lies_last: bool) -> list[Tensor]:
        maps = [lying(m, lies_last=lies_last) for m in (x, u)]
        y, *decided = decide_and_blend(*maps, gate, norm, nn.ReLU(), plan, 1, learns=True)
        z = normalise_and_blend(maps[1], norm, nn.ReLU(), plan, weights)
        assert z is not None
        total = (y + z).pow(2).sum() + decided[0].sum()
        inputs = [x, u, *gate.parameters(), *norm.parameters()]
        return [y, z, *decided, *torch.autograd.grad(total, inputs)]

    for found, expected in zip(made(lies_last=True), made(lies_last=False), strict=True):
        # a few roundings of the largest number
        within = 4 * torch.finfo(torch.float32).eps * float(expected.detach().abs().max())
        torch.testing.assert_close(found, expected, atol=within, rtol=0)


@pytest.mark.parametrize("is_3d", [False, True])
@pytest.mark.parametrize("lies_last", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_map_lies_as_it_lay(is_3d: bool, lies_last: bool, stride: int) -> None:
    """So that the next convolution reads it as it is, and its gradient too."""
    plan = CopyPlan((1, 2), (1, 2), 4, 2, False)
    gate, norm = Gate(5, 2, (2, 2), VaRedSettings()), two_norms(4, is_3d=is_3d)[0]
    shapes = [shape_of(plan, channels, 4, 3, is_3d=is_3d) for channels in (5, 4)]
    x, u = (lying(torch.randn(shape), lies_last=lies_last).requires_grad_() for shape in shapes)
    assert is_fused(u, norm, nn.ReLU(), plan)
    y, *_ = decide_and_blend(x, u, gate, norm, nn.ReLU(), plan, stride, learns=True)
    dx, du = torch.autograd.grad(y.square().sum(), [x, u])
    memory_format = LAST[u.dim()] if lies_last else torch.contiguous_format
    for made in (y, du, *([dx] if stride > 1 else [])):  # with no stride one number for a frame
        assert made.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize(
    "choices", [{"gate_norm": "running"}, {"gate_norm": "batch"}, {"normalise": True}]
)
def test_gates_that_one_pass_is_not_for_are_told(choices: dict[str, Any]) -> None:
    assert not is_fused_gate(Gate(3, 2, (2, 2), VaRedSettings(**choices)))


def test_layers_that_one_pass_is_not_for_are_left_as_they_were() -> None:
    plan = CopyPlan((1, 2), (1, 2), 4, 2, False)
    weights, u = (torch.rand(1, 2), torch.rand(1, 2)), torch.randn(2, 4, 3, 3)
    norm = nn.BatchNorm2d(4)
    assert normalise_and_blend(u, nn.SyncBatchNorm(4), nn.ReLU(), plan, weights) is None
    assert normalise_and_blend(u, nn.GroupNorm(2, 4), nn.ReLU(), plan, weights) is None
    assert normalise_and_blend(u, norm, nn.Sigmoid(), plan, weights) is None
    assert normalise_and_blend(u.double(), norm, nn.ReLU(), plan, weights) is None
    assert normalise_and_blend(u[:1], norm, nn.ReLU(), plan, weights) is None
    assert normalise_and_blend(u, norm.eval(), nn.ReLU(), plan, weights) is None
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("is_3d", [False, True])
@pytest.mark.parametrize("num_threads", [2, 3])
def test_numbers_are_the_same_however_many_threads_make_them(is_3d: bool, num_threads: int) -> None:
    """All of them, and on maps that are worth a thread each."""
    plan = CopyPlan((1, 2), (1, 2), 9, 8, mirrors(8, 2, True))
    torch.manual_seed(0)
    gate = Gate(5, plan.num_frames, (2, 2), VaRedSettings())
    norm, act = two_norms(plan.num_channels, is_3d=is_3d)[0], nn.ReLU()
    x = torch.randn(shape_of(plan, 5, 14, 13, is_3d=is_3d), requires_grad=True)
    u = torch.randn(shape_of(plan, plan.num_channels, 21, 17, is_3d=is_3d), requires_grad=True)
    made = {}
    for threads in (1, num_threads):
        torch.set_num_threads(threads)
        assert team_size(TIMES_READ * u.numel()) == threads
        own = deepcopy(norm)
        outputs = decide_and_blend(x, u, gate, own, act, plan, 1, learns=True)
        loss = sum((output.square().sum() for output in outputs[:3]), start=torch.zeros(()))
        inputs = (x, u, *gate.parameters(), *own.parameters())
        made[threads] = (*outputs, *torch.autograd.grad(loss, inputs), *own.buffers())
    for one, other in zip(made[1], made[num_threads], strict=True):
        assert torch.equal(one, other)


def test_parameters_that_lie_in_no_row_are_read_as_they_are() -> None:
    """As those are that somebody ties to another layer's, turned round."""
    plan = CopyPlan((1, 2), (1, 2), 4, 2, False)
    gates = [Gate(3, 2, (2, 2), VaRedSettings()) for _ in range(2)]
    turned = gates[0].squeeze.weight.detach().t().contiguous().t()
    gates[1].load_state_dict(gates[0].state_dict())
    gates[1].squeeze.weight = nn.Parameter(turned)
    assert not gates[1].squeeze.weight.is_contiguous()
    x, u, found = torch.randn(4, 3, 2, 2), torch.randn(4, 4, 2, 2), []
    for gate in gates:
        y, *_ = decide_and_blend(x, u, gate, None, None, plan, 1, learns=True)
        found.append((y, *torch.autograd.grad(y.square().sum(), gate.parameters())))
    torch.testing.assert_close(found[0], found[1])


def test_a_step_keeps_no_map_for_the_blend() -> None:
    """What a layer keeps for its backward is as much as the dense layer keeps."""
    plan = CopyPlan((1, 2), (1, 2), 8, 4, False)
    u = torch.randn(8, 8, 5, 5, requires_grad=True)
    norm, sizes = nn.BatchNorm2d(8), []
    weights = torch.rand(2, 2, requires_grad=True), torch.rand(2, 2, requires_grad=True)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        normalise_and_blend(u, norm, nn.ReLU(), plan, weights)
    assert [size for size in sizes if size >= u.numel()] == [u.numel()]
