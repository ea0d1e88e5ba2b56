"""A convolution in time over frames that repeat, as fewer taps over the frames that differ. Ours.

Where each frame stands for r frames, several taps of a filter meet the same one; added up they are
one tap. What an output reads depends on where in its group it lies, so there is a filter for each
such place: with r = 2 a filter of three taps becomes two of two. Taps that meet padding are left
out: the first and the last output have filters of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd


@dataclass(frozen=True)
class Taps:
    """Taps of a filter that meet frames, those that meet the same one together.

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
        taps: What meets frames.
        rows: Groups that these outputs read, all of them.
        outputs: Where they lie among all outputs.
    """

    taps: Taps
    rows: slice
    outputs: slice


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
    found: dict[tuple[int, Taps], list[tuple[int, int]]] = {}
    for output in range(num_outputs):
        met = [(output * stride - padding + tap) // repeats for tap in range(size)]
        inside = [tap for tap, group in enumerate(met) if 0 <= group < num_groups]
        first = met[inside[0]]
        taps = Taps(inside[0], tuple(met[tap] - first for tap in inside))
        found.setdefault((output % num_places, taps), []).append((output, first))
    return tuple(
        Part(
            taps,
            slice(lie[0][1], lie[-1][1] + taps.num_groups),
            slice(lie[0][0], lie[-1][0] + 1, num_places),
        )
        for (_, taps), lie in found.items()
    )


def group_stride(stride: int, repeats: int) -> int:
    """Return the groups from one output to the next in the same place."""
    return stride // gcd(stride, repeats)
