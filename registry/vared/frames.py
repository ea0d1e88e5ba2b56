"""Which frames a branch computes, and which of them each rebuilt frame is a copy of.

Frames come in groups of R, and one of each is computed. The first of each is what a larger temporal
stride gives (recalled). It makes a clip and its reverse keep different frames, so that even a
recognizer blind to order can tell them apart. Where a convolution does not mix time, any frame of a
group costs the same: mirrored, the second half of the clip keeps the last of each group (ours).
"""

from __future__ import annotations


def mirrors(num_frames: int, period: int, mirrored: bool) -> bool:
    """Whether frames are kept mirrored: only where all groups of the largest factor are whole."""
    return mirrored and num_frames % period == 0


def first_frames(num_frames: int, period: int) -> int:
    """Return how many frames lie in groups that keep their first; the others keep their last.

    An odd number of periods leaves one in the middle that no choice of one frame makes symmetric.
    """
    num_periods = num_frames // period
    return (num_periods - num_periods // 2) * period


def kept_frames(num_frames: int, factor: int, period: int, mirrored: bool) -> list[int]:
    """Return the ascending indices of the frames that a branch computes.

    Args:
        num_frames: Frames of the full output.
        factor: R of the branch.
        period: The largest R on offer: frames kept for it are kept for every smaller one too.
        mirrored: Keep the last of each group in the clip's second half.
    """
    if not mirrors(num_frames, period, mirrored):
        return list(range(0, num_frames, factor))
    first = first_frames(num_frames, period)
    return [*range(0, first, factor), *range(first + factor - 1, num_frames, factor)]
