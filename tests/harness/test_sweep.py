"""Sweeps end to end through the inline executor, with a stand-in for training."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import harness.sweep
from harness.budgets import parse
from harness.commands import Manner, again_failed, dry_run, run_sweep, status
from harness.cost import Experience, estimate, experience, kind_of
from harness.expand import expand
from harness.plan import make_plan
from harness.problems import UserError
from harness.reporting import report
from harness.request import read_request
from harness.sizes import Size
from harness.sweep import Settings, sole_sweep
from harness.trial import Trial
from results.record import Accuracy, Macs, Record
from results.store import Store


class Lab:
    """Stands in for training: counts calls, and breaks where it is told to."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.breaks: Callable[[Trial], None] = lambda trial: None

    def run(self, payload: dict[str, Any], worker: Any) -> dict[str, Any]:
        trial = Trial.model_validate(payload["trial"])
        self.ran.append(trial.key)
        self.breaks(trial)
        Store(Path(payload["runs"])).write_record(record_of(trial))
        return {"key": trial.key, "status": "ok"}


def record_of(trial: Trial, train_time_s: float = 15.0) -> Record:
    share = trial.budget or 1.0
    return Record(
        key=trial.key,
        status="ok",
        trial=trial.model_dump(mode="json"),
        dataset=trial.dataset.label,
        recognizer=trial.recognizer.label,
        method=trial.method.label,
        budget=trial.budget,
        seed=trial.seed,
        accuracy=Accuracy(top1=0.5 + trial.seed / 10, top5=1, mean_class=0.5, num_clips=20),
        macs=Macs(dense=1000, mean=1000 * share, p5=1, p50=2, p95=3, min=1, max=1000),
        train_time_s=train_time_s,
    )


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.publish.FORMATS", ("csv", "md", "tex"))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    lab = Lab()
    monkeypatch.setattr(sys.modules["stand_ins"], "RUN", lab.run, raising=False)
    monkeypatch.setattr(harness.sweep, "TARGET", "stand_ins:RUN")
    return lab


@pytest.fixture
def budgets(tmp_path: Path, document: dict[str, Any]) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


class Screen:
    """A console that is no terminal, and what was printed on it."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=200)

    @property
    def text(self) -> str:
        return self.file.getvalue()


def go(budgets: Path, retry: bool = False) -> tuple[int, str]:
    screen = Screen()
    request = read_request(budgets, Settings(budgets.parent / "runs"))
    manner = Manner(again_failed) if retry else Manner()
    return run_sweep(request, screen.console, manner), screen.text


def test_a_sweep_runs_all_and_then_nothing(
    lab: Lab, budgets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.publish.FORMATS", ("csv", "md", "tex", "png"))
    code, text = go(budgets)
    assert (code, len(lab.ran)) == (0, 12)
    assert "done clips tsn gated 0.8 seed 0" in text
    folder = budgets.parent / "runs" / "small"
    for name in ("records.jsonl", "frontier.csv", "table.md", "table.tex", "pareto.png"):
        assert (folder / name).stat().st_size > 0, name
        assert str(folder / name) in text
    code, _ = go(budgets)
    assert (code, len(lab.ran)) == (0, 12)


def test_two_sweeps_share_their_trials(lab: Lab, budgets: Path) -> None:
    go(budgets)
    wider = yaml.safe_load(budgets.read_text()) | {"name": "wider", "budgets": [0.8, 0.4]}
    other = budgets.with_name("wider.yaml")
    other.write_text(yaml.safe_dump(wider))
    go(other)
    assert len(lab.ran) == 12 + 4


def test_a_failure_leaves_its_neighbours_alone(lab: Lab, budgets: Path) -> None:
    def breaks(trial: Trial) -> None:
        if trial.recognizer.name == "tsm" and trial.seed == 1:
            raise RuntimeError("loss is nan")

    lab.breaks = breaks
    code, text = go(budgets)
    assert code == 1
    assert "9 done, 3 failed" in text
    assert "loss is nan" in text
    store = Store(budgets.parent / "runs")
    failed = [r for r in store.read_records(lab.ran).records if r.failure]
    assert len(failed) == 3
    assert {r.failure.kind for r in failed if r.failure} == {"RuntimeError"}
    assert all("breaks" in r.failure.traceback for r in failed if r.failure)


def test_what_failed_runs_again_only_on_demand(lab: Lab, budgets: Path) -> None:
    def breaks(trial: Trial) -> None:
        if trial.seed == 1:
            raise RuntimeError("loss is nan")

    lab.breaks = breaks
    go(budgets)
    code, text = go(budgets)
    assert (code, len(lab.ran)) == (0, 12)
    assert "Left alone: 6 that failed before" in text
    lab.breaks = lambda trial: None
    code, _ = go(budgets, retry=True)
    assert (code, len(lab.ran)) == (0, 12 + 6)
    assert not make_plan(_trials(budgets), Store(budgets.parent / "runs")).failed


def test_an_interrupt_keeps_what_finished_and_says_how_to_go_on(lab: Lab, budgets: Path) -> None:
    def breaks(trial: Trial) -> None:
        if len(lab.ran) == 5:
            raise KeyboardInterrupt

    lab.breaks = breaks
    code, text = go(budgets)
    assert code == 130
    assert "goes on" in text
    lab.breaks = lambda trial: None
    assert go(budgets)[0] == 0
    assert len(lab.ran) == 4 + 1 + 8


def test_a_damaged_record_is_told_and_run_again(lab: Lab, budgets: Path) -> None:
    go(budgets)
    path = Store(budgets.parent / "runs").trial_folder(lab.ran[0]).record_path
    path.write_text("{")
    code, text = go(budgets)
    assert (code, len(lab.ran)) == (0, 13)
    assert str(path) in text


def test_a_worker_that_leaves_no_record_is_told(
    lab: Lab, budgets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["stand_ins"], "RUN", lambda payload, report: {})
    code, text = go(budgets)
    assert code == 1
    assert "12 lost" in text


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with (
        sole_sweep(store, "small"),
        pytest.raises(UserError, match="another process"),
        sole_sweep(store, "small"),
    ):
        pass


def test_no_is_no(lab: Lab, budgets: Path, size: None) -> None:
    request = read_request(budgets, Settings(budgets.parent / "runs"))
    assert run_sweep(request, Screen().console, Manner(confirm=lambda cost: False)) == 0
    assert not lab.ran


def test_a_dry_run_writes_nothing(lab: Lab, budgets: Path, size: None) -> None:
    screen = Screen()
    request = read_request(budgets, Settings(budgets.parent / "runs"))
    assert dry_run(request, screen.console) == 0
    assert not (budgets.parent / "runs").exists()
    assert "clips tsm gated 0.6 seed 1" in screen.text
    assert "assumed" in screen.text


def test_status_and_report_look_at_what_is_there(lab: Lab, budgets: Path) -> None:
    def breaks(trial: Trial) -> None:
        if len(lab.ran) == 3:
            raise ValueError("no such layer")

    lab.breaks = breaks
    go(budgets)
    screen = Screen()
    request = read_request(budgets, Settings(budgets.parent / "runs"))
    assert status(request, screen.console) == 1
    assert "ValueError: no such layer" in screen.text
    table = budgets.parent / "runs" / "small" / "table.md"
    table.unlink()
    assert report(request.store, "small", screen.console) == 0
    assert table.exists()
    with pytest.raises(UserError, match="smal"):
        report(request.store, "smal", screen.console)


def test_cost_rests_on_records_where_there_are_any(tmp_path: Path, budgets: Path) -> None:
    trials = _trials(budgets)
    store = Store(tmp_path / "runs")
    size = Size(macs=10**9, params=1000)
    blind = estimate(trials, {"clips": (80, 20)}, experience(store), lambda trial: size)
    assert blind.macs == 12 * 10**9 * 80 * 15 * 3
    assert blind.num_by_record == 0
    for trial in trials[:2]:
        store.write_record(record_of(trial, train_time_s=30.0))
    informed = estimate(trials, {"clips": (80, 20)}, experience(store), lambda trial: size)
    assert informed.num_by_record == 6
    assert informed.time_s == pytest.approx(6 * 30 + blind.time_s / 2)
    assert "6 timed before, 6 at an assumed" in informed.basis


def test_other_budgets_without_retraining_are_part_of_the_cost(budgets: Path) -> None:
    trial, size = _trials(budgets)[0], Size(macs=10**9, params=1000)
    shifted = Trial.model_validate(trial.model_dump() | {"any_budget": [0.7, 0.5]})
    blind = Experience({}, {})
    plain, more = (
        estimate([one], {"clips": (80, 20)}, blind, lambda trial: size) for one in (trial, shifted)
    )
    # each: two passes over 80 training clips to calibrate, one over 20 validation clips
    assert more.macs - plain.macs == 2 * (2 * 80 + 20) * 10**9
    known = Experience({kind_of(trial): 30.0}, {})
    timed = estimate([shifted], {"clips": (80, 20)}, known, lambda trial: size)
    assert timed.time_s == pytest.approx(30 * more.macs / (80 * 3 * 10**9))


def test_kept_weights_are_part_of_the_disk_but_not_of_the_key(
    lab: Lab, tmp_path: Path, document: dict[str, Any]
) -> None:
    trials, store = expand(parse(document)), Store(tmp_path)
    store.write_record(record_of(trials[0]))
    store.trial_folder(trials[0].key).weights_path.write_bytes(bytes(4000))
    size = Size(macs=1, params=1000)
    known = experience(store)
    without, kept = (
        estimate(trials, {"clips": (80, 20)}, known, lambda trial: size, keeps_weights=keeps)
        for keeps in (False, True)
    )
    assert kept.disk_bytes - without.disk_bytes == len(trials) * 4 * size.params
    assert experience(store).disk_bytes == {
        kind: store.trial_folder(trials[0].key).record_path.stat().st_size
        for kind in known.disk_bytes
    }
    silent = parse(document | {"keep_weights": False})
    assert [trial.key for trial in expand(silent)] == [trial.key for trial in trials]
    defaults = [parse(document | {"scale": scale}).keeps_weights for scale in ("desk", "paper")]
    assert defaults == [True, False]


@pytest.mark.timeout(60)
def test_ten_thousand_trials_are_planned_at_once(tmp_path: Path, document: dict[str, Any]) -> None:
    import time

    many = document | {"seeds": 834, "budgets": [0.2, 0.3, 0.4, 0.5, 0.6], "max_trials": 20000}
    start = time.process_time()
    plan = make_plan(expand(parse(many)), Store(tmp_path))
    assert len(plan.missing) == 834 * 2 * 6
    assert time.process_time() - start < 3


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.request.dense_size", lambda trial: Size(10**9, 1000))


def _trials(budgets: Path) -> list[Trial]:
    return list(read_request(budgets, Settings(budgets.parent / "runs")).trials)
