"""Passes that PyTorch's threads share; what they make is tested with the engine's pieces."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numba import carray

from registry.vared import team
from registry.vared.team import TeamPass, num_threads, team_size, thread_number, wait_for_all

LONE = """
import ctypes
import torch

before = ctypes.CDLL

def others(name, *args, **kwargs):
    if name == "libgomp.so.1":
        raise OSError(name)
    return before(name, *args, **kwargs)

ctypes.CDLL = others
from registry.vared import team
from registry.vared.engine.sums import summed
from registry.vared.engine.values import Residual, Value

torch.set_num_threads(2)
assert team.team_size(10 * team.WORTH_A_THREAD) == 1
add, y = torch.randn(2, 1, 5, 7), torch.randn(2, 1, 5, 7)
expected = add + y
total = summed(Residual(Value(add, 2), False, False), Value(y, 2))
torch.testing.assert_close(total.data, expected)
"""


def note(address: Any) -> None:
    """Each thread notes how many there are in its own place, and once all have, how many did."""
    noted = carray(address, (2, 4), np.int64)
    thread = thread_number()
    noted[0, thread] += num_threads()
    wait_for_all()
    noted[1, thread] = (noted[0] > 0).sum()


@pytest.fixture(scope="module")
def noting() -> TeamPass:
    return TeamPass(note)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_each_thread_of_a_team_runs_once_and_waits_for_all(noting: TeamPass, size: int) -> None:
    torch.set_num_threads(size)
    noted = np.zeros((2, 4), np.int64)
    noting(noted.ctypes.data, team_size(size * team.WORTH_A_THREAD))
    each = [size] * size + [0] * (4 - size)
    assert noted.tolist() == [each, each]


def test_little_work_and_threads_that_pytorch_may_not_use_are_left_out() -> None:
    torch.set_num_threads(2)
    assert [team_size(n * team.WORTH_A_THREAD) for n in (0, 1, 2, 9)] == [1, 1, 2, 2]


def test_where_pytorch_has_another_library_passes_have_one_thread() -> None:
    done = subprocess.run([sys.executable, "-c", LONE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
