"""SIGTERM to a sweep, in a process of its own: what finished is kept, the rest goes on later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jobs.attempts import read_attempts
from jobs.testing import until

ROOT = Path(__file__).resolve().parents[2]
HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]


def start(folder: Path) -> subprocess.Popen[str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [*HARNESS, "sweep", "small.yaml"]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def attempts(folder: Path) -> list[str | None]:
    trials = (folder / "runs" / "trials").glob("*")
    return [attempt.ending for trial in trials for attempt in read_attempts(trial)]


def steps_saved(folder: Path) -> int:
    trials = (folder / "runs" / "trials").glob("*")
    return max((a.saved for trial in trials for a in read_attempts(trial)), default=0)


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_terminated_sweep_writes_what_it_has_and_goes_on(executor: str, tmp_path: Path) -> None:
    document = {
        "name": "small",
        "datasets": [{"name": "motion", "num_train": 16, "num_val": 8, "num_pairs": 2}],
        "recognizers": ["tsn"],
        "methods": ["dense"],
        "recipe": {"epochs": 16, "batch": 4, "size": 32, "frames": 4},
        "executor": {"name": executor},
        "resources": {"checkpoint_s": 0},
        "tracking": {"mlflow": "off"},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(document))
    sweep = start(tmp_path)
    until(lambda: steps_saved(tmp_path) > 2)
    sweep.send_signal(signal.SIGTERM)
    shown, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 130, shown
    assert "Interrupted; all that finished is kept." in shown
    assert attempts(tmp_path) in (["interrupted"], [None])  # Ray kills its workers
    shown, _ = (again := start(tmp_path)).communicate(timeout=300)
    assert again.returncode == 0, shown
    assert "Trials of this run: 1 done." in shown
    (trial,) = (tmp_path / "runs" / "trials").glob("*")
    first, second = read_attempts(trial)
    assert second.began_with == first.saved > 2
    assert second.ending == "returned"
