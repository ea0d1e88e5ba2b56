"""What a running sweep says, with a clock of its own."""

from __future__ import annotations

import io
import socket
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.budgets import parse
from harness.expand import expand
from harness.plan import name_of
from harness.progress import Watch, duration, watching
from harness.sweep import Finished
from jobs.attempts import Running


def test_a_watch_counts_and_looks_ahead(document: dict[str, Any]) -> None:
    trials = expand(parse(document))
    now = [0.0]
    watch = Watch(trials, clock=lambda: now[0])
    assert (watch.counts, watch.left) == ("0/12", "")
    now[0] = 60.0
    watch.note(Finished(trials[0], "done"))
    watch.note(Finished(trials[2], "failed", "loss is nan"))
    assert watch.counts == "2/12, 1 failed"
    assert trials[0].key not in watch.waiting
    assert watch.waiting[trials[1].key] == "clips tsn gated 0.8 seed 0"
    assert watch.left == "about 5 min left"


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "plain"])
def test_a_failure_is_told_in_full(
    document: dict[str, Any], terminal: bool, tmp_path: Path
) -> None:
    trials = expand(parse(document))
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    with watching(trials, console, tmp_path.joinpath, clock=lambda: 0.0) as on_finish:
        on_finish(Finished(trials[0], "done"))
        on_finish(Finished(trials[1], "failed", "ValueError: [layer]"))
    assert "failed clips tsn gated 0.8 seed 0: ValueError: [layer]" in file.getvalue()
    assert "2/12, 1 failed" in file.getvalue()


def test_a_terminal_shows_what_runs_and_how_far_it_is(
    document: dict[str, Any], tmp_path: Path
) -> None:
    trials = expand(parse(document))
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, color_system=None)
    running = Running(tmp_path / trials[3].key)
    running.report({"epoch": 7, "loss": 0.25})
    with watching(trials, console, tmp_path.joinpath):
        pass
    running.end("returned")
    shown = file.getvalue()
    assert f"on {socket.gethostname()}, attempt 1, epoch 7, loss 0.25" in shown
    assert name_of(trials[3]) in shown
    assert name_of(trials[4]) not in shown


@pytest.mark.parametrize(
    ("time_s", "text"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_duration(time_s: float, text: str) -> None:
    assert duration(time_s) == text
