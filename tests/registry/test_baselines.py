"""The dense recognizer and its narrower sisters."""

from __future__ import annotations

import copy

import pytest
from pydantic import ValidationError

from registry.macs import count
from registry.recognizers.build import build, example_input
from registry.recognizers.forward import recognizer_forward
from registry.tables import METHODS, RECOGNIZERS

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
