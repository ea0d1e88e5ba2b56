"""The commands a person types on a cluster, each in a process of its own, on a real SLURM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.attempts import read_attempts
from jobs.testing import until
from results.record import CLOCKS_AND_PLACES, Record
from results.store import Store

HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]
SECONDS = 400.0


class Lab:
    """A folder with a budgets.yaml of two trials, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "runs")

    def write(self, epochs: int = 2, checkpoint_s: float = 60.0, **options: Any) -> None:
        document = {
            "name": "small",
            "datasets": [{"name": "motion", "num_train": 16, "num_val": 8, "num_pairs": 2}],
            "recognizers": ["tsm"],
            "methods": ["dense", "vared"],
            "budgets": [0.8],
            "seeds": 1,
            "recipe": {"epochs": epochs, "batch": 4, "size": 32, "frames": 4},
            "executor": {"name": "slurm"} | options,
            "resources": {
                "cpus": 1,
                "memory_gb": 1.9,
                "time_min": 10,
                "checkpoint_s": checkpoint_s,
            },
            "tracking": {"mlflow": "off"},
        }
        (self.folder / "small.yaml").write_text(yaml.safe_dump(document))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*HARNESS, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        shown, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == code, shown
        return shown

    @property
    def keys(self) -> tuple[str, ...]:
        return self.store.read_sweep("small").keys

    def steps_saved(self, key: str) -> int:
        return max((a.saved for a in read_attempts(self.store.trial_folder(key).path)), default=0)


@pytest.fixture
def lab(slurm: Any, tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def figures(record: Record | None) -> dict[str, Any]:
    """What two runs of one trial must agree in, to the bit."""
    assert record is not None
    return record.model_dump(exclude=set(CLOCKS_AND_PLACES))


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_a_sweep_whose_process_is_gone_is_found_again(
    lab: Lab, slurm: Any, ending: signal.Signals
) -> None:
    lab.write(checkpoint_s=0)
    assert "#SBATCH --array=0-1" in lab.run("sweep", "small.yaml", "--dry-run")
    assert not (lab.folder / "runs").exists()
    waiting = lab.start("sweep", "small.yaml")
    until(lambda: len(slurm.jobs()) == 2)
    waiting.send_signal(ending)
    shown, _ = waiting.communicate()
    assert ("What was submitted runs on" in shown) is (ending is signal.SIGTERM)
    before = set(slurm.jobs())
    assert "Missing, and not under way" not in lab.run("status", "small.yaml")
    shown = lab.run("sweep", "small.yaml")
    assert "Trials of this run: 2 done." in shown
    assert set(slurm.jobs()) <= before  # nothing was submitted twice
    for key in lab.keys:
        assert [a.ending for a in read_attempts(lab.store.trial_folder(key).path)] == ["returned"]
    assert "returned after" in lab.run("why", lab.keys[0][:6])


@pytest.mark.timeout(1200)  # it trains, twice
def test_cancelled_trials_resume_and_equal_undisturbed_ones(lab: Lab, slurm: Any) -> None:
    lab.write(epochs=40, checkpoint_s=0)
    assert "Submitted 2 trials; 0 were" in lab.run("sweep", "small.yaml", "--detach")
    assert "Submitted 0 trials; 2 were" in lab.run("sweep", "small.yaml", "--detach")
    until(lambda: all(lab.steps_saved(key) > 2 for key in lab.keys))
    assert "Under way: 2 runs." in lab.run("status", "small.yaml")
    assert "Cancelled 2 trials" in lab.run("cancel", "small.yaml", "--yes")
    slurm.idle()
    saved = [lab.steps_saved(key) for key in lab.keys]
    shown = lab.run("resume", "small.yaml")
    assert "Trials of this run: 2 done." in shown
    for key, steps in zip(lab.keys, saved, strict=True):
        first, second = read_attempts(lab.store.trial_folder(key).path)
        assert (first.ending, second.ending) == ("interrupted", "returned")
        assert second.began_with == first.saved == steps
    lab.run("sweep", "small.yaml", "--executor", "inline", "--runs", "calm")
    calm = Store(lab.folder / "calm")
    for key in lab.keys:
        assert figures(lab.store.read_record(key)) == figures(calm.read_record(key))


def test_mistakes_of_a_cluster_end_with_2_and_its_own_words(lab: Lab) -> None:
    lab.write(partition="nowhere")
    assert "invalid partition specified: nowhere" in lab.run("sweep", "small.yaml", code=2)
    assert "is the key of no trial" in lab.run("why", "nosuchtrial", code=2)
    assert "has no log yet" in lab.run("logs", lab.keys[0][:8], code=2)
    assert "Nothing to cancel" in lab.run("cancel", "small.yaml", "--yes")
    assert "their keys, or --failed" in lab.run("retry", "small.yaml", code=2)


def test_what_failed_is_told_and_tried_again(lab: Lab) -> None:
    lab.write(setup=["exit 3"])  # the job ends before Python begins
    shown = lab.run("sweep", "small.yaml", code=1)
    assert "GivenUp" in shown
    assert "3 attempts" in lab.run("why", lab.keys[0])
    lab.write()
    assert "Left alone: 2 that failed before" in lab.run("sweep", "small.yaml")
    assert "Trials of this run: 2 done." in lab.run("retry", "small.yaml", "--failed")


def test_doctor_tries_a_node(lab: Lab) -> None:
    lab.write()
    shown = lab.run("doctor", "small.yaml", "--mlflow", "off")
    for fact in (
        "MaxArraySize: 1001",
        "accounting: on",
        "rename, fsync and locks reach",
        "SIGUSR2",
    ):
        assert fact in shown
    assert "Nothing is broken." in shown


def test_ray_on_nodes_is_submitted_from_outside(lab: Lab, slurm: Any) -> None:
    lab.write(name="ray", nodes=2, sbatch={"partition": slurm.main, "time": 10})
    shown = lab.run("sweep", "small.yaml", "--dry-run")
    assert "#SBATCH --nodes=2\n" in shown and "#SBATCH --time=10\n" in shown
    shown = lab.run("sweep", "small.yaml", "--detach", "--yes")
    (job,) = slurm.jobs()
    assert f"Job {job} runs this sweep on its nodes" in shown
    shown = lab.run("sweep", "small.yaml")  # the same job is at it: watched, not sent again
    assert f"Job {job} runs this sweep" in shown
    assert "Trials of this run: 2 done." in shown
    slurm.until(lambda: not slurm.jobs())
    assert {lab.store.read_record(key).status for key in lab.keys} == {"ok"}


def test_ray_on_nodes_that_slurm_refuses_is_told_in_its_words(lab: Lab, slurm: Any) -> None:
    lab.write(name="ray", nodes=2, sbatch={"partition": "nope"})
    assert "SLURM refused the job" in lab.run("sweep", "small.yaml", "--yes", code=2)
    assert not slurm.jobs()
