"""A trial's weights outlive it: loaded again they are the recognizer that the record is about."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.cli import main
from harness.machine_times import own_times, times_here
from harness.problems import UserError
from harness.run import run
from harness.trained import trained
from harness.trial import Choice, Recipe, Trial
from harness.workbench import open_workbench
from jobs.worker import Interruption, Worker
from registry.bench.loads import learnt
from registry.bench.measured import Question, question
from registry.evaluation import evaluate
from registry.starting import take_up
from registry.tables import DATASETS, METHODS
from registry.vared.times import MachineTimes, MeasuredLayer
from registry.weights import read_weights, write_weights
from results.record import Record
from results.store import Store

CLIPS = {"num_train": 16, "num_val": 8, "num_pairs": 2}


def trial_of(method: str, budget: float | None, **settings: Any) -> Trial:
    clips = DATASETS.load("motion").settings_type(**CLIPS)
    chosen = METHODS.load(method).settings_type(**settings)
    return Trial(
        dataset=Choice(name="motion", settings=clips.model_dump(mode="json")),
        recognizer=Choice(name="tsn"),
        method=Choice(name=method, settings=chosen.model_dump(mode="json")),
        budget=budget,
        recipe=Recipe(epochs=2, batch=4, size=32, frames=4),
        data_digest=DATASETS.load("motion").manifest(clips, None).digest,
    )


GATED = trial_of("vared", 0.7, training={"warmup": 0.25})
DENSE = trial_of("dense", None)


def payload_of(trial: Trial, runs: Path, keeps: bool = True) -> dict[str, Any]:
    return {
        "trial": trial.model_dump(mode="json"),
        "runs": str(runs),
        "checkpoint_s": 300.0,
        "keeps_weights": keeps,
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One trial with gates that kept its weights, and one without gates that did not."""
    runs = tmp_path_factory.mktemp("kept") / "runs"
    for trial, keeps in ((GATED, True), (DENSE, False)):
        run(payload_of(trial, runs, keeps), Worker(lambda metrics: None, Interruption()))
    return Store(runs)


def test_training_starts_from_the_dense_recognizer_of_the_cell(tmp_path: Path) -> None:
    started = Trial.model_validate(GATED.model_dump() | {"start": "dense"})
    runs = tmp_path / "runs"
    with pytest.raises(ValueError, match=f"trial {DENSE.key} has no record yet"):
        run(payload_of(started, runs), Worker(lambda metrics: None, Interruption()))
    losses = {}
    for trial in (DENSE, GATED, started):
        run(payload_of(trial, runs), Worker(lambda metrics: None, Interruption()))
        record = Store(runs).read_record(trial.key)
        assert record is not None
        losses[trial.key] = record.history[0]["loss"]
    assert len(losses) == 3
    assert losses[started.key] < losses[GATED.key]
    assert any("started from the trained dense" in text for text in record.warnings)


def test_weights_of_another_recognizer_are_refused(store: Store, tmp_path: Path) -> None:
    write_weights(tmp_path / "other.pth", torch.nn.Linear(2, 2))
    model = trained(store, store.trial_folder(GATED.key), None).adaptive
    with pytest.raises(ValueError, match="does not fit.* missing: .*2 unexpected: weight, bias"):
        take_up(tmp_path / "other.pth", model)


def test_weights_are_kept_where_wanted_and_the_checkpoint_goes(store: Store) -> None:
    gated, dense = store.trial_folder(GATED.key), store.trial_folder(DENSE.key)
    assert gated.weights_path.is_file()
    assert not dense.weights_path.exists()
    assert not gated.checkpoint_path.exists()
    weights = torch.load(gated.weights_path, weights_only=True)
    assert all(type(value) is Tensor for value in weights.values())


def test_what_is_loaded_is_what_was_measured(store: Store) -> None:
    record = store.read_record(GATED.key)
    assert record is not None
    assert record.accuracy is not None
    assert record.macs is not None
    subject = trained(store, store.trial_folder(GATED.key), None)
    assert subject.validation is not None
    found = evaluate(subject.adaptive, subject.validation, 4, subject.dense_macs)
    assert found.top(1) == record.accuracy.top1
    assert float(found.macs_N.mean()) == record.macs.mean
    assert subject.dense_macs == record.macs.dense


def test_learnt_routes_cost_what_their_largest_branches_do(store: Store) -> None:
    subject = trained(store, store.trial_folder(GATED.key), None)
    assert subject.validation is not None
    (load,) = learnt(subject, batch=8, num_clips=1)
    found = evaluate(subject.adaptive, subject.validation, 8, subject.dense_macs)
    saved = 0.0
    for layer in subject.policy.costs.layers:
        conv = layer.macs_per_element * layer.num_channels * layer.num_frames * layer.area
        channel, time = subject.policy.stacked()
        index = subject.policy.costs.layers.index(layer)
        shares = [
            ((weights[:, index] > 0) * kept[index]).amax(-1) / kept[index, 0]
            for weights, kept in (
                (channel, subject.policy.costs.kept_channels),
                (time, subject.policy.costs.kept_frames),
            )
        ]
        saved += conv * float((1 - shares[0] * shares[1]).mean())
    assert load.routes_NL2 is None
    assert len(load.clips) == len(found.macs_N) == CLIPS["num_val"]
    assert load.nominal == pytest.approx(subject.dense_macs - saved, rel=1e-6)


Harness = Callable[..., tuple[int, str, str]]


@pytest.fixture
def harness(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Store
) -> Harness:
    monkeypatch.chdir(store.root.parent)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", "bench", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def test_a_trial_is_timed_on_its_own_routes(harness: Harness, store: Store) -> None:
    options = ("--variants", "skipping,engine-adaptive", "--repeats", "5", "--clips", "4")
    code, out, err = harness(GATED.key[:6], *options, "--batch", "2", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found == json.loads((store.root / "bench" / f"{GATED.key}.json").read_text())
    rows = {row["variant"]: row for row in found["variants"] if not row["is_dense"]}
    assert set(rows) == {"skipping", "engine-adaptive"}
    for row in rows.values():
        assert len(row["routes"]) == 2  # four clips by twos
        assert 1 - row["nominal_macs"] / found["dense_macs"] == pytest.approx(found["saving"])
    assert found["routes"] == "learnt"
    assert found["clip"]["size"] == GATED.recipe.size


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([DENSE.key], ["has no weights", "keep_weights"]),
        (["0" * 11], ["is the key of no trial"]),
        ([f"{GATED.key[:-1]}{int(GATED.key[-1], 16) ^ 1:x}"], [f"did you mean {GATED.key}?"]),
        ([GATED.key, "--saving", "0.3"], ["`--saving`", GATED.key, "its own"]),
        (["tsn", "--clips", "3"], ["`--clips`", "'tsn'", "only a trial"]),
        ([GATED.key, "--batch", "9"], ["at most the 8 validation clips, got 9"]),
    ],
    ids=["no weights", "no trial", "nearly", "not to choose", "no clips", "batch"],
)
def test_mistakes(harness: Harness, arguments: list[str], said: list[str]) -> None:
    code, out, err = harness(*arguments, "--variants", "stock")
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    for text in said:
        assert text in err


def test_a_trial_that_failed_cannot_be_timed(harness: Harness, store: Store) -> None:
    trial = GATED.with_seed(7)
    fields = {"dataset": "motion", "recognizer": "tsn", "method": "vared", "budget": 0.7}
    data = trial.model_dump(mode="json")
    store.write_record(Record(key=trial.key, status="failed", trial=data, seed=7, **fields))
    code, _, err = harness(trial.key)
    assert code == 2
    assert "ended as 'failed'" in err


# Gates where times say so

IDLE = ("layer1", "layer2")
"""Layers whose halving is to save no time."""


def times_of(trial: Trial, idle: tuple[str, ...]) -> tuple[Question, MachineTimes]:
    """What a trial asks, and an answer in which layers of these names are not worth a gate."""
    bench = open_workbench(trial, None)
    method = METHODS.load("vared")
    settings = method.settings_type(**trial.method.settings)
    everywhere = method.prepare(bench.config, bench.example, 0.7, method.settings_type()).model
    layers = tuple(
        MeasuredLayer(
            layer=cost.name,
            full_ms=4.0,
            channels_ms=2.0,
            frames_ms=2.0,
            both_ms=1.0,
            idle=("channel", "time") if any(part in cost.name for part in idle) else (),
        )
        for cost in everywhere.vared.costs.layers
    )
    where = {"processor": "Test 1", "num_threads": 1, "dtype": "float32", "num_rounds": 9}
    quiet = {"num_cores": 2, "load": 1.0}
    asked = question(bench.config, bench.clip, settings, torch.get_num_threads())
    return asked, MachineTimes(layers=layers, **where, **quiet)


def remember(runs: Path, asked: Question, times: MachineTimes) -> Path:
    """Put an answer where tables lie, as if this machine had been measured."""
    file = runs / "latency" / f"{asked.key}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(times.model_dump_json())
    return file


AUTO = trial_of("vared", 0.8, gate_layers="auto", training={"cost": "time", "warmup": 0.25})


def run_auto(runs: Path) -> Record:
    payload = {
        "trial": AUTO.model_dump(mode="json"),
        "runs": str(runs),
        "checkpoint_s": 300.0,
        "keeps_weights": True,
        "threads": torch.get_num_threads(),
    }
    run(payload, Worker(lambda metrics: None, Interruption()))
    record = Store(runs).read_record(AUTO.key)
    assert record is not None
    return record


@pytest.fixture(scope="module")
def auto_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After a trial whose gates stand where a remembered table says."""
    runs = tmp_path_factory.mktemp("auto") / "runs"
    asked, times = times_of(AUTO, IDLE)
    remember(runs, asked, times)
    record = run_auto(runs)
    assert record.status == "ok"
    return runs


def test_a_trial_tells_and_keeps_which_layers_were_left(auto_runs: Path) -> None:
    store = Store(auto_runs)
    record = store.read_record(AUTO.key)
    assert record is not None
    left = [name for name in times_of(AUTO, IDLE)[1].idle("time")]
    for name in left:
        reason = "halving it saves too little time (Test 1, 1 thread)"
        assert f"{name} stays dense: {reason}" in record.warnings
    assert not set(left) & set(record.routes)
    kept = store.trial_folder(AUTO.key).latency_path.read_bytes()
    assert MachineTimes.model_validate_json(kept) == times_of(AUTO, IDLE)[1]


def test_elsewhere_it_goes_on_with_its_own_gates(auto_runs: Path, tmp_path: Path) -> None:
    before = Store(auto_runs).read_record(AUTO.key)
    assert before is not None
    runs = tmp_path / "runs"
    own = Store(runs).trial_folder(AUTO.key).latency_path
    own.parent.mkdir(parents=True)
    own.write_bytes(Store(auto_runs).trial_folder(AUTO.key).latency_path.read_bytes())
    asked, others = times_of(AUTO, ("layer4",))
    remember(runs, asked, others)
    again = run_auto(runs)
    assert again.warnings == before.warnings
    assert again.routes == before.routes
    assert again.accuracy == before.accuracy


def test_its_weights_load_into_the_same_gates(auto_runs: Path) -> None:
    store = Store(auto_runs)
    record, folder = store.read_record(AUTO.key), store.trial_folder(AUTO.key)
    assert record is not None
    assert record.macs is not None
    subject = trained(store, folder, None)
    assert (subject.gates.choice, len(subject.policy.costs)) == ("auto", len(record.routes))
    assert subject.validation is not None
    found = evaluate(subject.adaptive, subject.validation, 4, subject.dense_macs)
    assert float(found.macs_N.mean()) == record.macs.mean


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "is gone: it says which layers"), ("{}", "must hold the times of layers")],
    ids=["gone", "damaged"],
)
def test_without_its_times_a_trial_cannot_be_timed(
    auto_runs: Path, text: str | None, said: str
) -> None:
    store = Store(auto_runs)
    folder = store.trial_folder(AUTO.key)
    kept = folder.latency_path.read_bytes()
    folder.latency_path.unlink()
    try:
        if text is not None:
            folder.latency_path.write_text(text)
        with pytest.raises(UserError, match=said):
            trained(store, folder, None)
    finally:
        folder.latency_path.write_bytes(kept)


def test_a_machine_is_measured_once(tmp_path: Path) -> None:
    asked, times = times_of(AUTO, IDLE)
    measured: list[Question] = []

    def measure(question: Question) -> MachineTimes:
        measured.append(question)
        return times

    files = [tmp_path / "trials" / name / "latency.json" for name in ("first", "second")]
    found = [own_times(file, tmp_path, measure)(asked) for file in files]
    assert found == [times, times]
    assert measured == [asked]
    assert all(file.is_file() for file in files)
    more = asked.model_copy(update={"num_threads": asked.num_threads + 1})
    own_times(files[0], tmp_path, measure)(more)  # has its own
    times_here(more, tmp_path, measure)
    assert measured == [asked, more]
    (tmp_path / "latency" / f"{asked.key}.json").write_text("damaged")
    assert times_here(asked, tmp_path, measure) == times
    assert measured == [asked, more, asked]


def test_weights_of_another_recognizer_are_told(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    write_weights(path, torch.nn.Linear(2, 3))
    same, other = torch.nn.Linear(2, 3), torch.nn.Linear(3, 3)
    read_weights(path, same)
    assert torch.equal(same.weight, torch.load(path, weights_only=True)["weight"])
    with pytest.raises(ValueError, match=r"weights.pth must hold weights of this recognizer"):
        read_weights(path, other)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="must hold weights"):
        read_weights(path, same)
