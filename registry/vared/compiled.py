"""How passes over memory that PyTorch has no single operation for are compiled, by Numba. Ours."""

from __future__ import annotations

from numba import njit

# sums may be added up in any order, numbers that are none stay so
compiled = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
