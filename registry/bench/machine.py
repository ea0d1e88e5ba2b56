"""What a timing depends on beside the code: processor, threads, load, versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

BF16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Flags of processors that multiply bfloat16 in hardware."""

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """Where and how was timed.

    Args:
        processor: Its name.
        num_cores: Cores this process may use.
        num_threads: Threads of every variant.
        bf16_units: The processor's flags for bfloat16; none means that it is emulated.
        torch: Its version.
        allocator: Parameters of glibc's allocator that were set for all variants.
        load_before: Mean number of running processes over the last minute, before anything ran.
        load_after: The same at the end; the benchmark itself adds its threads.
    """

    processor: str
    num_cores: int
    num_threads: int
    bf16_units: tuple[str, ...]
    torch: str
    allocator: Mapping[str, int]
    load_before: float
    load_after: float


def look(allocator: Mapping[str, int], load_before: float) -> Machine:
    """Describe this machine; `load_after` is of now."""
    return Machine(
        processor=processor(),
        num_cores=len(os.sched_getaffinity(0)),
        num_threads=torch.get_num_threads(),
        bf16_units=bf16_units(),
        torch=torch.__version__,
        allocator=allocator,
        load_before=load_before,
        load_after=load(),
    )


def processor() -> str:
    """Return this machine's processor by its name, and by its numbers where it has them.

    Rented machines say "AMD EPYC" of processors of which one takes twice as long as another.
    """
    info = _cpuinfo()
    name = info.get("model name", platform.machine())
    if {"cpu family", "model"} <= info.keys():
        return f"{name}, family {info['cpu family']}, model {info['model']}"
    return name


def load() -> float:
    """Return the mean number of running processes over the last minute."""
    return os.getloadavg()[0]


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Let PyTorch compute with so many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bf16_units() -> tuple[str, ...]:
    """Return the processor's flags that stand for bfloat16 arithmetic."""
    flags = _cpuinfo().get("flags", "").split()
    return tuple(flag for flag in BF16_FLAGS if flag in flags)


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines."""
    if not _CPUINFO.exists():
        return {}
    first = _CPUINFO.read_text().partition("\n\n")[0]
    lines = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
