"""Two processes that train together steer alike, and end with the same gates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

WORLD_SIZE = 2
ROOT = Path(__file__).parents[2]


def test_two_processes_end_with_the_same_gates_and_weights(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.registry.distributed_worker",
                str(rank),
                str(WORLD_SIZE),
                str(tmp_path),
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD_SIZE)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * WORLD_SIZE, errors
    first, second = (
        torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(WORLD_SIZE)
    )
    running = ("running_mean", "running_var")  # each process has its own clips' statistics
    for name, value in first.items():
        if not name.endswith(running):
            assert torch.equal(value, second[name]), name
    moved = [
        name for name in first if name.endswith(running) and (first[name] != second[name]).any()
    ]
    assert moved  # the processes did see different clips
