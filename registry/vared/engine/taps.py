"""A convolution in time over frames that repeat, as fewer taps over the frames that differ. Ours.

Where each frame stands for r frames, several taps of a filter meet the same one; added up they are
one tap. What an output reads depends on where in its group it lies, so there is a filter for each
such place: with r = 2 a filter of three taps becomes two of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd


@dataclass(frozen=True)
class Place:
    """What the outputs read whose frames lie in the same place of their groups.

    Args:
        first: First group read by the first of these outputs; below 0 it is padding.
        taps: For each tap of the filter, the group it meets, counted from `first`.
    """

    first: int
    taps: tuple[int, ...]

    @property
    def num_taps(self) -> int:
        """Groups that an output reads."""
        return self.taps[-1] + 1


@lru_cache(maxsize=256)
def places(size: int, padding: int, stride: int, repeats: int) -> tuple[Place, ...]:
    """Return where outputs can lie; output n lies in place n modulo their number.

    Args:
        size: Taps of the filter, next to each other.
        padding: Frames of zeros before the first.
        stride: Frames from one output to the next.
        repeats: Frames of a group.
    """
    found = []
    for n in range(repeats // gcd(stride, repeats)):
        groups = [(n * stride - padding + tap) // repeats for tap in range(size)]
        found.append(Place(groups[0], tuple(group - groups[0] for group in groups)))
    return tuple(found)


def group_stride(stride: int, repeats: int) -> int:
    """Return the groups from one output to the next in the same place."""
    return stride // gcd(stride, repeats)
