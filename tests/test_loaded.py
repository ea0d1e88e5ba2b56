"""`harness bench` of recognizers whose gates times place, or whose weights are in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from torch import Tensor

from registry.bench.measured import question
from registry.bench.subject import SETTINGS, Subject, at_scale, random_subject
from registry.vared.cost import CostTable
from registry.vared.settings import VaRedSettings
from registry.vared.times import MachineTimes, MeasuredLayer
from registry.weights import read_state, write_weights

SMALL = ("--scale", "desk", "--size", "32", "--repeats", "2")
FEW = ("--variants", "engine-adaptive")
WHERE = {
    "processor": "Test 1",
    "num_threads": 1,
    "dtype": "float32",
    "num_rounds": 9,
    "num_cores": 2,
    "load": 1.0,
}


Harness = Callable[..., Any]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, shell: Harness, tmp_path: Path) -> Harness:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return partial(shell, "bench")


# Gates where halving saves time


def remember_times(runs: Path, costs: CostTable, idle: dict[str, tuple[str, ...]]) -> None:
    """Lay a table of this machine where the command looks for one: parts of names to idle axes."""
    config, clip = at_scale("tsn", "desk", 32)
    layers = [
        MeasuredLayer(
            layer=cost.name,
            full_ms=4.0,
            channels_ms=2.0,
            frames_ms=2.0,
            both_ms=1.0,
            idle=next((axes for part, axes in idle.items() if part in cost.name), ()),
        )
        for cost in costs.layers
    ]
    asked = question(config, clip, SETTINGS, num_threads=1)
    file = runs / "latency" / f"{asked.key}.json"
    file.parent.mkdir(parents=True)
    file.write_text(MachineTimes(layers=tuple(layers), **WHERE).model_dump_json())


def test_routes_are_drawn_over_the_gates_that_times_place(harness: Harness) -> None:
    costs = random_subject("tsn", "desk", size=32).policy.costs
    idle = {"layer1": ("channel", "time"), "layer2": ("channel",)}
    remember_times(Path("runs"), costs, idle)
    options = (*SMALL, *FEW, "--seeds", "1", "--saving", "0.2")
    auto = json.loads(harness("tsn", *options, "--gate-layers", "auto", "--json").out)
    names = [layer.name for layer in costs.layers]
    dense = [name for name in names if "layer1" in name]
    gates = auto["gates"]
    assert gates["choice"] == "auto"
    assert set(gates["left"]) == set(dense)
    assert auto["num_layers"] == gates["frames"] == len(names) - len(dense)
    assert gates["channels"] == gates["frames"] - sum("layer2" in name for name in names)
    everywhere = json.loads(harness("tsn", *options, "--json").out)
    assert everywhere["gates"]["choice"] == "all"
    assert everywhere["num_layers"] == everywhere["gates"]["channels"] == len(names)
    shown = harness("tsn", *options, "--gate-layers", "auto").out
    assert f"gates in {auto['num_layers']} layers (gate layers: auto)" in shown
    assert f"without a gate: {len(dense)} layers" in shown
    assert "on noise" in shown


# Weights in a file


def trained(**vared: Any) -> Subject:
    """A recognizer whose gates differ from layer to layer, as after some training."""
    subject = random_subject("tsn", "desk", size=32, settings=VaRedSettings(**vared))
    torch.manual_seed(5)
    for name, parameter in subject.adaptive.named_parameters():
        if name.endswith("excite.bias"):
            with torch.no_grad():
                parameter.add_(torch.randn_like(parameter))
    return subject


def plain(state: dict[str, Tensor]) -> object:
    return state


def as_mmengine(state: dict[str, Tensor]) -> object:
    hub = MessageHub("of a test")
    hub.update_scalar("train/loss", np.float64(0.5))
    return {"meta": {"epoch": 2}, "state_dict": state, "message_hub": hub.state_dict()}


@pytest.mark.parametrize("form", [plain, as_mmengine])
def test_every_form_of_a_checkpoint_is_read(tmp_path: Path, form: Callable[..., object]) -> None:
    state = trained().adaptive.state_dict()
    torch.save(form(state), tmp_path / "weights.pth")
    found = read_state(tmp_path / "weights.pth")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def make(path: str) -> None:
    Path(path).mkdir()


class Maker:
    """Makes a folder when it is unpickled."""

    def __init__(self, call: Callable[..., object], path: Path) -> None:
        self.call, self.path = call, path

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, (str(self.path),)


def test_nothing_that_a_checkpoint_holds_is_executed(tmp_path: Path) -> None:
    made, file = tmp_path / "made", tmp_path / "weights.pth"
    torch.save({"state_dict": {"a": torch.ones(2)}, "more": Maker(make, made)}, file)
    assert list(read_state(file)) == ["a"]
    torch.save({"state_dict": {"a": torch.ones(2)}, "more": Maker(os.mkdir, made)}, file)
    with pytest.raises(ValueError, match="more than tensors and plain data"):
        read_state(file)
    assert not made.exists()


def test_learnt_routes_of_a_file_are_timed(harness: Harness) -> None:
    settings = {"search_space": 3, "gate_layers": {"channel": ["layer3"], "time": ["layer4"]}}
    subject = trained(**settings)
    write_weights(Path("own.pth"), subject.adaptive)
    options = (*SMALL, *FEW, "--checkpoint", "own.pth", "--clips", "4", "--batch", "2")
    given = ("--method-settings", json.dumps(settings))
    shown = harness("tsn", *options, *given, "--json")
    assert (shown.code, shown.err) == (0, "")
    found = json.loads(shown.out)
    assert found == json.loads(Path("runs/bench/tsn-own.json").read_text())
    assert (found["routes"], found["recognizer"]) == ("learnt", "tsn of own.pth")
    assert found["clips"] == "4 generated motion clips, drawn at 32"
    assert (found["gates"]["choice"], found["num_layers"]) == ("named", len(subject.policy.costs))
    (row,) = [row for row in found["variants"] if not row["is_dense"]]
    assert len(row["routes"]) == 2  # four clips by twos
    assert 1 - row["nominal_macs"] / found["dense_macs"] == pytest.approx(found["saving"])


def test_clips_of_a_named_data_set(harness: Harness) -> None:
    write_weights(Path("own.pth"), trained().adaptive)
    clips = "{name: motion, label: quiet, num_train: 2, num_val: 3, stillness: [1, 1]}"
    options = ("--checkpoint", "own.pth", "--dataset", clips, "--batch", "4")
    shown = harness("tsn", *SMALL, *FEW, *options)
    assert shown.code == 2
    assert "`batch` must be at most the 3 validation clips, got 4" in shown.err
    shown = harness("tsn", *SMALL, *FEW, *options[:-1], "3")
    assert "on validation clips of quiet; gates in 20 layers (gate layers: all)" in shown.out


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    subject = trained()
    state = subject.adaptive.state_dict()
    write_weights(folder / "own.pth", subject.adaptive)
    write_weights(folder / "dense.pth", subject.dense)
    less = {name: tensor for name, tensor in state.items() if "layer4.0.conv1" not in name}
    torch.save(less, folder / "less.pth")
    torch.save(state | {"one.more": torch.ones(1)}, folder / "more.pth")
    torch.save({"epoch": 3, "weights": state}, folder / "nested.pth")
    torch.save(torch.ones(2), folder / "tensor.pth")
    headless = {name: t for name, t in state.items() if not name.startswith("cls_head")}
    torch.save(headless, folder / "headless.pth")
    (folder / "notes.txt").write_text("no weights")
    return folder


MISTAKES = {
    "no file": (["ovn.pth"], ["must be a file", "ovn.pth is none", "Did you mean 'own.pth'?"]),
    "no checkpoint": (["notes.txt"], ["notes.txt is no checkpoint that PyTorch can read"]),
    "no gates": (["dense.pth"], ["holds no gates", "`harness bench tsn` times drawn routes"]),
    "a tensor": (["tensor.pth"], ["must hold tensors by name, but holds a Tensor"]),
    "nested": (["nested.pth"], ["at its root or under `state_dict`", "epoch, weights are none"]),
    "no classifier": (["headless.pth"], ["must hold one classifier", "holds 0"]),
    "missing": (["less.pth"], ["does not fit", "missing: backbone.layer4.0.conv1"]),
    "unexpected": (["more.pth"], ["1 unexpected: one.more"]),
    "other settings": (
        ["own.pth", "--method-settings", "gate_width: 8"],
        ["does not fit", "`--method-settings` may be other", "of another shape", "instead of (8"],
    ),
    "a wrong setting": (
        ["own.pth", "--method-settings", "gate_widht: 8"],
        ["`--method-settings`: `gate_widht` is not known here. Did you mean 'gate_width'?"],
    ),
    "no YAML": (["own.pth", "--method-settings", "{a"], ["`--method-settings` must be YAML, but"]),
    "auto": (["own.pth", "--method-settings", "gate_layers: auto"], ["must name the layers"]),
    "a wrong data set": (
        ["own.pth", "--dataset", "moton"],
        ["`--dataset`: `name`: unknown data set 'moton'", "'motion'"],
    ),
    "routes": (
        ["own.pth", "--saving", "0.3"],
        ["`--saving` cannot be", "gates in the file decide"],
    ),
    "gates": (["own.pth", "--gate-layers", "auto"], ["`--gate-layers` cannot be chosen"]),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(harness: Harness, files: Path, arguments: list[str], said: list[str]) -> None:
    name, *options = arguments
    shown = harness("tsn", *SMALL, *FEW, "--checkpoint", str(files / name), *options)
    assert (shown.code, shown.out) == (2, "")
    for text in said:
        assert text in shown.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["0abc", "--checkpoint", "own.pth"], "needs a recognizer's name, but '0abc' is a trial's"),
        (["tsn", "--dataset", "motion"], "`--dataset` cannot be chosen for 'tsn': only a trial or"),
        (["0abc", "--method-settings", "{}"], "`--method-settings` cannot be chosen for '0abc'"),
        (["tsn", "--method-settings", "gate_ses: own"], "`gate_ses` is not known here"),
        (["tsn", "--gate-layers", "aut"], "unknown choice of --gate-layers 'aut'. Did you mean"),
        (["tsn", "--layers", "--gate-layers", "auto"], "`--gate-layers` means nothing with"),
    ],
)
def test_options_out_of_place(harness: Harness, arguments: list[str], said: str) -> None:
    shown = harness(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert said in shown.err
