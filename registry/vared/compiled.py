"""How passes over memory that PyTorch has no single operation for are compiled, by Numba. Ours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# sums may be added up in any order, numbers that are none stay so
compiled = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@compiled
def dot(a: Any, b: Any) -> Any:
    """Return the sum of products of two vectors, in float32."""
    total = np.float32(0)
    for n in range(len(a)):
        total += a[n] * b[n]
    return total
