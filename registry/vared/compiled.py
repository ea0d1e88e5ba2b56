"""How passes over memory that PyTorch has no single operation for are compiled, by Numba. Ours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

Array = npt.NDArray[np.float32]

_PASSES = ("numbers", "kernels", "gate_pass", "shift", "blends", "sums", "planes", "lanes")
_SOURCES = ("compiled.py", "team.py", "fused/*.py", *(f"engine/{name}.py" for name in _PASSES))


def _digest_of_sources() -> str:
    files = [path for pattern in _SOURCES for path in Path(__file__).parent.glob(pattern)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()[:12]


_DIGEST = _digest_of_sources()


# sums may be added up in any order, numbers that are none stay so
_OPTIONS: Any = {
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz"},
}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called with such arguments, and keep what came out."""
    return njit(**_OPTIONS)(_renamed(function))


def compiled_as(signature: Any, function: Callable[..., Any]) -> Any:
    """Compile a function of numbers and addresses now, and keep what came out.

    Python's way into it is shorter than into one that takes arrays. Addresses are not checked.
    """
    return cfunc(signature, **_OPTIONS)(_renamed(function))


def _renamed(function: Callable[..., Any]) -> Callable[..., Any]:
    # Numba would take what it kept although something that the function calls, and that is part of
    # it, has changed in another file. It names the file by this:
    function.__qualname__ += f"_{_DIGEST}"
    return function


def _pointer(_: Any, address: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


pointer: Any = intrinsic(_pointer)
"""What compiled code makes, of an address that is a number, what `numba.carray` takes."""


@compiled
def dot(a: Any, b: Any) -> Any:
    """Return the sum of products of two vectors, in float32."""
    total = np.float32(0)
    for n in range(len(a)):
        total += a[n] * b[n]
    return total


@compiled
def add_scaled(factor: Any, x: Any, into: Any) -> None:
    """Add a vector times a number to another, in place."""
    for n in range(len(into)):
        into[n] += factor * x[n]
