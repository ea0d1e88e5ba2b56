"""How memory is handed out while variants are timed, and how much of it one forward takes.

With glibc's defaults every large buffer is mapped, faulted in page by page, and unmapped again.
That alone can double the time of large batches, and costs most where buffers have odd sizes. So
freed memory is kept in the process, for all variants alike.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

SETTINGS = {
    "M_MMAP_MAX": (-4, 0),
    "M_TRIM_THRESHOLD": (-1, -1),
    "M_TOP_PAD": (-2, 256 * 2**20),
}
"""Name to glibc's number of the parameter and its value; -1 for a threshold means never."""

_PEAK = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


def keep_freed_memory() -> dict[str, int]:
    """Make glibc keep freed memory for the rest of this process.

    Returns:
        The parameters that were set; none where the C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return {}
    return {name: value for name, (number, value) in SETTINGS.items() if mallopt(number, value)}


def resident_mb() -> float | None:
    """Return the resident memory of this process in MB, free memory handed back to the kernel.

    None where the kernel does not say.
    """
    try:
        _trim()
        return _status_mb("VmRSS")
    except (AttributeError, OSError, LookupError):
        return None


def peak_mb(run: Callable[[], object]) -> float | None:
    """Return by how much one call raises the resident memory of this process at most, in MB.

    Before it, free memory is handed back and the kernel's high-water mark is reset, so whoever
    allocates is seen: PyTorch, oneDNN, another engine. What is live before, such as weights or an
    arena that an engine keeps for itself, is not part of it. None where the kernel keeps no mark.
    """
    try:
        _trim()
        _PEAK.write_text(_RESET_PEAK)
        before = _status_mb("VmRSS")
        run()
        return max(0.0, _status_mb("VmHWM") - before)
    except (AttributeError, OSError, LookupError):
        return None


def _trim() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _status_mb(key: str) -> float:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024 / 1e6
    raise LookupError(key)
