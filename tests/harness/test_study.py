"""A trial from end to end: what it tells of each clip, with an engine that cannot run it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import harness.run  # before any test puts stand-ins into the tables
from harness.export import files_of
from harness.publish import publish
from harness.trial import Choice, Recipe, Trial
from jobs.worker import Interruption, Worker
from results.clips import Clips
from results.record import Record
from results.store import Store, Sweep

NUM_VAL = 6
WHY_NOT = "no step for this backbone"
SETTINGS = {"num_train": 6, "num_val": NUM_VAL, "num_pairs": 1, "length": 6, "size": 32}


def refuse(recognizer: Any) -> Any:
    raise ValueError(WHY_NOT)


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(
        dataset=Choice(name="motion", settings=SETTINGS),
        recognizer=Choice(name="tsn"),
        method=Choice(name="vared"),
        budget=0.7,
        any_budget=(0.8, 0.01),
        recipe=Recipe(epochs=1, batch=6, frames=4, size=32),
    )


@pytest.fixture(scope="module")
def store(trial: Trial, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The runs folder after the trial, which is run once for all these tests."""
    runs = tmp_path_factory.mktemp("runs")
    payload = {"trial": trial.model_dump(mode="json"), "runs": str(runs), "checkpoint_s": 1e9}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(harness.run, "accelerate", refuse)
        patched.setattr(harness.run, "NUM_LATENCY_REPEATS", 1)
        patched.setattr(harness.run, "NUM_VERIFIED_CLIPS", 1)
        harness.run.run(payload, Worker(lambda metrics: None, Interruption()))
    return Store(runs)


@pytest.fixture
def record(store: Store, trial: Trial) -> Record:
    found = store.read_record(trial.key)
    assert found is not None
    return found


@pytest.fixture
def clips(store: Store, trial: Trial) -> Clips:
    found = store.read_clips(trial.key)
    assert found is not None
    return found


def test_a_backbone_the_engine_refuses_costs_the_engine_figures_only(record: Record) -> None:
    assert record.status == "ok"
    assert f"not timed in the engine: {WHY_NOT}" in record.warnings
    assert record.engine is None
    assert record.latency is not None
    assert record.latency.engine_ms_p50 is record.latency.engine_dense_ms_p50 is None
    assert record.latency.ms_p50 > 0


def test_other_budgets_are_measured_without_retraining(record: Record) -> None:
    assert record.accuracy is not None
    (found,) = record.any_budget  # no route comes below 0.01
    assert found.budget == 0.8
    # the same few clips calibrate and test, less augmentation
    assert record.macs is not None
    assert record.macs.share < found.share < 0.8 + 0.02
    assert (found.top1 * NUM_VAL) % 1 == pytest.approx(0)


def test_clips_add_up_to_the_record(record: Record, clips: Clips) -> None:
    assert record.accuracy is not None
    assert record.macs is not None
    right = [clip.label == clip.prediction for clip in clips.clips]
    assert sum(right) / NUM_VAL == pytest.approx(record.accuracy.top1)
    shares = [clip.share for clip in clips.clips]
    assert sum(shares) / NUM_VAL == pytest.approx(record.macs.share, abs=1e-6)
    assert [clip.name for clip in clips.clips] == [f"val/{i}" for i in range(NUM_VAL)]
    assert all(clip.motion for clip in clips.clips)


def test_routes_of_clips_add_up_to_the_records(record: Record, clips: Clips) -> None:
    assert clips.layers == tuple(record.routes)
    for place, layer in enumerate(clips.layers):
        for axis, mean in record.routes[layer].items():
            found = [getattr(clips.routes[c.route or 0], axis)[place] for c in clips.clips]
            assert sum(found) / NUM_VAL == pytest.approx(mean, abs=1e-3)


def test_the_record_says_whether_motion_matters(record: Record, clips: Clips) -> None:
    found = record.input_dependence
    assert found is not None
    assert (found.num_clips, found.num_routes) == (NUM_VAL, len(clips.routes))
    assert found.frozen is not None
    assert found.frozen.num_clips == NUM_VAL
    mean = sum(clip.share for clip in clips.clips) / NUM_VAL
    assert found.frozen.share - mean == pytest.approx(found.frozen.difference, abs=1e-9)


def test_the_page_shows_the_clips_and_does_without_damaged_ones(
    store: Store, record: Record, tmp_path: Path
) -> None:
    copy = Store(tmp_path)
    shutil.copytree(store.trial_folder(record.key).path, copy.trial_folder(record.key).path)
    copy.write_sweep(Sweep(name="small", title="small", keys=(record.key,)))
    page = copy.sweep_folder("small") / "report.html"
    publish(copy, "small", ("html",))
    assert f'"val/{NUM_VAL - 1}"' in page.read_text()
    copy.trial_folder(record.key).clips_path.write_text("{")
    publish(copy, "small", ("html",))
    assert "clips.json` must hold a Clips" in page.read_text()
    copy.trial_folder(record.key).clips_path.unlink()
    publish(copy, "small", ("html",))
    assert "clips.json is not at hand" in page.read_text()


def test_a_bundle_takes_the_clips_along(
    store: Store, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.export.publish", lambda store, name: None)  # figures take time
    sweep = Sweep(name="small", title="small", keys=(record.key,))
    files = files_of(store, sweep, store.read_sweep_records(sweep))
    path = store.trial_folder(record.key).clips_path
    assert files[f"runs/{path.relative_to(store.root).as_posix()}"] == path.read_bytes()
