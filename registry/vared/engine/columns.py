"""Convolutions of few channels: neighbouring columns of their maps as channels of one. Ours.

A processor computes sixteen output channels at once, also where a convolution has eight. With k
neighbouring columns taken as k times the channels, vectors are full: the filter for column j stands
j strides to the right of that for the first, in a filter that is wider by k - 1 strides. Bfloat16
is multiplied in pairs of input channels, and the third of three is paired with nothing: with two
columns taken as one of six channels, all are. Both lie in memory as before. Exact; it pays where
a convolution has few channels, as in SlowFast's fast pathway.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_LANES = 16
MOST_INPUTS = 16
"""Of more, an output is enough work as it is."""
MOST_COLUMNS = 4


@dataclass(frozen=True)
class Columns:
    """How columns are taken together.

    Args:
        outputs: Neighbouring output columns that are one.
        inputs: Neighbouring input columns that are one; they divide the strides of those outputs.
    """

    outputs: int = 1
    inputs: int = 1


SINGLE = Columns()


@dataclass(frozen=True)
class Row:
    """A convolution along the width of a map.

    Args:
        width: Of the map.
        kernel: Width of the filter.
        stride: From one output to the next.
        padding: Zeros on either side.
    """

    width: int
    kernel: int
    stride: int
    padding: int

    @property
    def num_outputs(self) -> int:
        """Width of the output."""
        return (self.width + 2 * self.padding - self.kernel) // self.stride + 1

    def together(self, columns: Columns) -> Row:
        """Return the convolution along columns taken together."""
        strides = self.stride * columns.outputs
        first = -self.padding // columns.inputs
        last = (strides - self.stride + self.kernel - 1 - self.padding) // columns.inputs
        return Row(
            self.width // columns.inputs, last - first + 1, strides // columns.inputs, -first
        )


def columns_of(weight: Tensor, row: Row) -> Columns:
    """Return which columns to take together for filters (O, I, ..., width)."""
    num_outputs, num_inputs = weight.shape[:2]
    if num_inputs > MOST_INPUTS or row.kernel == 1:
        return SINGLE
    outputs = min(NUM_LANES // num_outputs, MOST_COLUMNS)
    if outputs < 2 or row.num_outputs % outputs:
        return SINGLE
    if weight.dtype == torch.bfloat16 and num_inputs % 2 and row.width % 2 == 0:
        in_pairs = Columns(outputs, 2)
        fits = row.stride * outputs % 2 == 0
        if fits and row.together(in_pairs).num_outputs * outputs == row.num_outputs:
            return in_pairs
    return Columns(outputs)


def widened(weight: Tensor, row: Row, columns: Columns) -> Tensor:
    """Return filters for columns taken together.

    Args:
        weight: (O, I, ..., width).
        row: How they move.
        columns: How columns are taken together.

    Returns:
        (outputs x O, inputs x I, ..., width of `row.together(columns)`).
    """
    *others, kernel = weight.shape
    together = row.together(columns)
    wide = weight.new_zeros(columns.outputs, *others, together.kernel * columns.inputs)
    start = together.padding * columns.inputs - row.padding
    for column in range(columns.outputs):
        first = start + column * row.stride
        wide[column, ..., first : first + kernel] = weight
    inside = wide.view(*wide.shape[:-1], together.kernel, columns.inputs)
    return inside.movedim(-1, 2).flatten(2, 3).flatten(0, 1)
