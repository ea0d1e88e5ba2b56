"""Numbers of a map in passes compiled by Numba, which knows no bfloat16. Ours.

Those are read as bits, the upper half of a float32, and rounded back as PyTorch rounds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import types
from numba.extending import overload
from torch import Tensor


def array_of(x: Tensor) -> npt.NDArray[Any]:
    """The same memory for Numba, which knows no bfloat16: its bits."""
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.numpy()


def float_of(x: Any) -> Any:
    """A number of a map, as float32."""
    return _compile_number(_type_of(x))(x)


def like(value: Any, x: Any) -> Any:
    """A float32 in the type of a number of a map."""
    return _compile_like(_type_of(value), _type_of(x))(value, x)


def _type_of(x: Any) -> Any:
    return types.uint16 if isinstance(x, np.uint16) else types.float32


@overload(float_of, strict=False)
def _compile_number(x: Any) -> Any:
    if x == types.uint16:
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


@overload(like, strict=False)
def _compile_like(value: Any, x: Any) -> Any:
    if x != types.uint16:
        return lambda value, x: value

    def to_nearest_even(value: Any, x: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        is_odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
        upper = np.uint32(np.uint32(bits + np.uint32(0x7FFF) + is_odd) >> np.uint32(16))
        return np.uint16(upper) if value == value else np.uint16(0x7FC0)

    return to_nearest_even


def number_type(dtype: torch.dtype) -> Any:
    """What compiled passes read a map as."""
    return np.uint16 if dtype == torch.bfloat16 else np.float32
