"""A convolution in time over frames that repeat, as fewer taps over the frames that differ. Ours.

Where each frame stands for r frames, several taps of a filter meet the same one; added up they are
one tap. What an output reads depends on where in its group it lies, so there is a filter for each
such place: with r = 2 a filter of three taps becomes two of two. Where frames are few, taps that
meet padding are left out: the first and the last output have filters of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

FEW_GROUPS = 4
"""Of more, filters for the first and the last output take longer than what they leave out."""


@dataclass(frozen=True)
class Taps:
    """Taps of a filter that an output is made of, those that meet the same group together.

    Args:
        first: The first of them.
        groups: For each of them, the group it meets, counted from that of the first.
    """

    first: int
    groups: tuple[int, ...]

    @property
    def num_groups(self) -> int:
        """Groups that an output reads."""
        return self.groups[-1] + 1


@dataclass(frozen=True)
class Part:
    """Outputs that are read by the same taps.

    Args:
        taps: What they are made of.
        rows: Groups that these outputs read, all of them.
        outputs: Where they lie among all outputs.
        padding: Groups of zeros on either side of what is read, since it is on both or on none.
        made: Of the outputs that are made so, those that are wanted.
    """

    taps: Taps
    rows: slice
    outputs: slice
    padding: int
    made: slice


@lru_cache(maxsize=512)
def parts(size: int, padding: int, stride: int, repeats: int, num_groups: int) -> tuple[Part, ...]:
    """Return what outputs read.

    Args:
        size: Taps of the filter, next to each other.
        padding: Frames of zeros on either side, fewer than taps.
        stride: Frames from one output to the next.
        repeats: Frames of a group.
        num_groups: Groups of frames.
    """
    num_places = repeats // gcd(stride, repeats)
    num_outputs = (num_groups * repeats + 2 * padding - size) // stride + 1
    may_pad = num_groups > FEW_GROUPS and group_stride(stride, repeats) == 1
    found: dict[tuple[int, Taps], list[tuple[int, int]]] = {}
    for output in range(num_outputs):
        met = [(output * stride - padding + tap) // repeats for tap in range(size)]
        read = [tap for tap, group in enumerate(met) if may_pad or 0 <= group < num_groups]
        first = met[read[0]]
        taps = Taps(read[0], tuple(met[tap] - first for tap in read))
        found.setdefault((output % num_places, taps), []).append((output, first))
    return tuple(_part(taps, lie, num_places, num_groups) for (_, taps), lie in found.items())


def _part(taps: Taps, lie: list[tuple[int, int]], num_places: int, num_groups: int) -> Part:
    """Outputs, and the first group that each of them reads."""
    (output, first), (last_output, last) = lie[0], lie[-1]
    end = last + taps.num_groups
    outputs = slice(output, last_output + 1, num_places)
    padding = max(0, -first, end - num_groups)
    if not padding:
        return Part(taps, slice(first, end), outputs, 0, slice(None))
    made = slice(first + padding, first + padding + len(lie))
    return Part(taps, slice(num_groups), outputs, padding, made)


def group_stride(stride: int, repeats: int) -> int:
    """Return the groups from one output to the next in the same place."""
    return stride // gcd(stride, repeats)
