"""The dense recognizer and its narrower sisters."""

from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError

from registry._mmaction import import_mmaction
from registry.macs import count
from registry.recognizers.build import build, example_input
from registry.recognizers.forward import recognizer_forward
from registry.tables import METHODS, RECOGNIZERS
from registry.vared.engine import accelerate
from registry.vared.fixed import WINDOW

NUM_FRAMES, SIZE = 8, 32


def dense_config(name):
    recognizer = RECOGNIZERS.load(name)
    config = recognizer.config(scale="desk", num_classes=3, num_frames=NUM_FRAMES, dropout=0.0)
    return config, example_input(recognizer.input_format, NUM_FRAMES, SIZE)


def prepared(method_name, config, example, budget):
    method = METHODS.load(method_name)
    return method.prepare(config, example, budget, method.settings_type())


def test_dense_is_the_recognizer_itself():
    config, example = dense_config("tsn")
    model = prepared("dense", config, example, None).model
    itself = build(config, example)
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in itself.state_dict().items()
    }


def test_dense_takes_no_budget():
    assert not METHODS.load("dense").takes_budget
    with pytest.raises(ValueError, match="dense takes no `budget`, but got 0.5"):
        prepared("dense", *dense_config("tsn"), 0.5)


def test_narrow_lands_just_under_the_budget():
    config, example = dense_config("slowfast")
    before, budget = copy.deepcopy(config), 0.6
    result = prepared("narrow", config, example, budget)
    assert config == before
    share = count(result.model, example).total / count(build(config, example), example).total
    assert budget - 0.02 < share <= budget
    assert f"{share:.4f} of its MACs" in result.notes[0]
    assert recognizer_forward(result.model.eval(), example).shape == (1, 3)


def test_narrow_finds_the_widest_within_the_budget():
    config, example = dense_config("tsn")
    shapes, budget = example.to("meta"), 0.5
    note = prepared("narrow", config, shapes, budget).notes[0]
    step = float(note.split()[1])
    wider = build(config | {"width": config["width"] * (step + 0.001)}, shapes)
    dense = build(config, shapes)
    assert count(wider, shapes).total > budget * count(dense, shapes).total


def test_narrow_with_the_whole_budget_is_dense():
    config, example = dense_config("tsn")
    model = prepared("narrow", config, example.to("meta"), 1.0).model
    dense = build(config, example.to("meta"))
    assert [p.shape for p in model.parameters()] == [p.shape for p in dense.parameters()]


@pytest.mark.parametrize("budget", [None, 0.0, -0.1, 1.01])
def test_narrow_needs_a_share(budget):
    with pytest.raises(ValueError, match=r"`budget` in \(0, 1\], but got"):
        prepared("narrow", *dense_config("tsn"), budget)


def test_narrow_says_how_far_it_can_go():
    config, example = dense_config("tsn")
    with pytest.raises(ValueError, match="`budget` must be >= 0.0"):
        prepared("narrow", config, example.to("meta"), 0.001)


@pytest.mark.parametrize("name", ["dense", "narrow"])
def test_there_is_nothing_to_set(name):
    with pytest.raises(ValidationError):
        METHODS.load(name).settings_type(width=0.5)


GATELESS = ("static", "random")
SMALLER = ("frames", "size")


def share_of(model, config, example, clip):
    return count(model, clip).total / count(build(config, example), example).total


@pytest.mark.parametrize("budget", [0.8, 0.6])
@pytest.mark.parametrize("method", GATELESS)
@pytest.mark.parametrize("name", ["tsm", "r2plus1d"])
def test_cuts_without_gates_land_in_the_window_for_every_clip(name, method, budget):
    config, example = dense_config(name)
    model = prepared(method, config, example, budget).model.eval()
    for clip in torch.randn(2, *example.shape):
        assert budget - WINDOW <= share_of(model, config, example, clip) <= budget
    policy = model.vared
    assert int(policy.executed().gate.sum()) == 0
    assert policy.executed().total().tolist() == [count(model, clip).total]


def test_static_cuts_are_the_same_each_time_and_random_ones_differ():
    config, example = dense_config("tsn")
    clips = torch.randn(4, *example.shape[1:])
    static = prepared("static", config, example, 0.6).model
    assert torch.equal(
        static.vared.routes, prepared("static", config, example, 0.6).model.vared.routes
    )
    drawn = prepared("random", config, example, 0.6).model.train()
    with torch.no_grad():
        recognizer_forward(drawn, clips)
    assert len(drawn.vared.routes.unique(dim=0)) > 1
    drawn.eval()
    with torch.no_grad():
        assert torch.equal(recognizer_forward(drawn, clips), recognizer_forward(drawn, clips))


def test_only_the_named_axes_are_cut():
    config, example = dense_config("tsn")
    method = METHODS.load("static")
    model = method.prepare(config, example, 0.8, method.settings_type(axes=("time",))).model
    assert not model.vared.routes[..., 0].any()
    assert model.vared.routes[..., 1].any()


def test_what_no_cut_can_reach_is_an_error():
    config, example = dense_config("tsn")
    for method in GATELESS:
        with pytest.raises(ValueError, match="`budget` 0.1 cannot be met"):
            prepared(method, config, example, 0.1)


@pytest.mark.parametrize("method", SMALLER)
@pytest.mark.parametrize("name", RECOGNIZERS)
def test_smaller_inputs_are_the_largest_within_the_budget(name, method):
    config, example = dense_config(name)
    budget = 0.8
    result = prepared(method, config, example, budget)
    assert share_of(result.model, config, example, example) <= budget
    size, full = (int(word) for word in result.notes[0].split() if word.isdigit())
    assert 0 < size < full
    wider = prepared(method, config, example, 1.0)
    assert wider.notes[0].startswith(f"{full} of {full}")
    losses = result.model.train()(torch.randn(2, *example.shape[1:]), labels(2), mode="loss")
    assert all(torch.isfinite(value).all() for value in losses.values())


def test_fewer_frames_are_middles_of_equal_parts():
    config, example = dense_config("tsn")
    model = prepared("frames", config, example, 0.55).model.eval()
    clip = torch.randn_like(example)
    middles = [1, 3, 5, 7]
    kept = build(config, example).eval()
    kept.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected = recognizer_forward(kept, clip[:, middles])
        torch.testing.assert_close(recognizer_forward(model, clip), expected)


@pytest.mark.parametrize("method", [*GATELESS, *SMALLER])
@pytest.mark.parametrize("name", RECOGNIZERS)
def test_baselines_run_in_the_engine(name, method):
    config, example = dense_config(name)
    model = prepared(method, config, example, 0.7).model.eval()
    fast = accelerate(model)
    clips = torch.randn(2, *example.shape[1:])
    with torch.no_grad():
        torch.testing.assert_close(
            recognizer_forward(fast, clips), recognizer_forward(model, clips), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("method", [*GATELESS, *SMALLER])
@pytest.mark.parametrize("budget", [None, 0.0, 1.01])
def test_a_fixed_cut_needs_a_share(method, budget):
    with pytest.raises(ValueError, match=rf"{method} takes a `budget` in \(0, 1\], but got"):
        prepared(method, *dense_config("tsn"), budget)


def labels(num_clips):
    import_mmaction()
    from mmaction.structures import ActionDataSample

    return [ActionDataSample().set_gt_label(i % 3) for i in range(num_clips)]
