"""Compiled passes over memory that PyTorch's own threads share. Ours.

Threads of a pass's own would be in the way of PyTorch's, which stay awake for a while after each
operation. So a pass is given to these, by the library that PyTorch itself gives them work by, GNU
OpenMP. Where PyTorch is built with another, a pass has one thread.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from ctypes import c_void_p
from typing import Any

import llvmlite.binding as llvm
import torch
from numba import cfunc, types

from .compiled import compiled, compiled_as

WORTH_A_THREAD = 2**14
"""Numbers of a map, so that little work is not shared; chosen, not measured to the number."""

thread_number: Any = types.ExternalFunction("omp_get_thread_num", types.int32())
num_threads: Any = types.ExternalFunction("omp_get_num_threads", types.int32())
wait_for_all: Any = types.ExternalFunction("GOMP_barrier", types.void())
"""What compiled code asks for; outside of a team: 0, 1, and nothing to wait for."""

_EXTERNAL = (thread_number, num_threads, wait_for_all)


def _openmp() -> Any:
    """The library, if it is loaded; else None."""
    try:
        library = ctypes.CDLL("libgomp.so.1", ctypes.DEFAULT_MODE | getattr(os, "RTLD_NOLOAD", 0))
    except OSError:
        return None
    library.GOMP_parallel.restype = None
    library.GOMP_parallel.argtypes = (c_void_p, c_void_p, ctypes.c_uint, ctypes.c_uint)
    return library


def _first() -> int:
    return 0


def _alone() -> int:
    return 1


def _nothing() -> None:
    pass


_OPENMP = _openmp()
_STAND_INS: list[Any] = []
if _OPENMP is None:
    _LONE = zip(_EXTERNAL, (_first, _alone, _nothing), strict=True)
    _STAND_INS += [cfunc(function.sig)(stand_in) for function, stand_in in _LONE]
    _ADDRESSES = [stand_in.address for stand_in in _STAND_INS]
else:
    _ADDRESSES = [ctypes.cast(_OPENMP[function.symbol], c_void_p).value for function in _EXTERNAL]
for _function, _address in zip(_EXTERNAL, _ADDRESSES, strict=True):
    llvm.add_symbol(_function.symbol, _address)


@compiled
def share_of(size: int) -> Any:
    """Return which of so many pieces of work are this thread's: the first, and where they end."""
    thread, threads = thread_number(), num_threads()
    return size * thread // threads, size * (thread + 1) // threads


def team_size(work: int) -> int:
    """Return how many threads to do it with, given the numbers of a map that are read."""
    if _OPENMP is None:
        return 1
    return max(1, min(torch.get_num_threads(), work // WORTH_A_THREAD))


class TeamPass:
    """A pass, compiled now, of which each thread of a team does its share.

    Args:
        function: Of the address of what it is told; it asks for `thread_number` and `num_threads`.
    """

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._run = compiled_as(types.void(types.voidptr), function)
        self._alone = self._run.ctypes

    def __call__(self, told: Any, size: int) -> None:
        """Return when a team of some size has done it, told by a reference to a structure."""
        if size == 1:
            self._alone(told)
        else:
            _OPENMP.GOMP_parallel(self._run.address, told, size, 0)
