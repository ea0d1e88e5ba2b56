"""Convolutions of few channels: several columns of the output as channels of one. Ours.

A processor computes sixteen output channels at once, also where a convolution has eight. With k
neighbouring columns taken as k times the channels, vectors are full: the filter for column j stands
j strides to the right of that for the first, in a filter that is wider by k - 1 strides. The output
lies in memory as before. Exact; it pays where inputs have few channels, as in stems (measured on
SlowFast's fast one: a quarter less time in full, half of it where half of the channels are kept).
"""

from __future__ import annotations

from torch import Tensor

NUM_LANES = 16
MOST_INPUTS = 4
MOST_COLUMNS = 4


def num_columns(num_outputs: int, num_inputs: int, width: int) -> int:
    """Return how many columns of an output this wide to compute as one; 1 where none are."""
    if num_inputs > MOST_INPUTS:
        return 1
    columns = min(NUM_LANES // num_outputs, MOST_COLUMNS)
    return columns if columns > 1 and width % columns == 0 else 1


def widened(weight: Tensor, columns: int, stride: int) -> Tensor:
    """Return filters (columns x O, I, ..., width + (columns - 1) x stride) for (O, I, ..., width).

    Args:
        weight: Filters.
        columns: Neighbouring output columns.
        stride: Input columns from one of them to the next.
    """
    *others, width = weight.shape
    wide = weight.new_zeros(columns, *others, width + (columns - 1) * stride)
    for column in range(columns):
        start = column * stride
        wide[column, ..., start : start + width] = weight
    return wide.flatten(0, 1)
