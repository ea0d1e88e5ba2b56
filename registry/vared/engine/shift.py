"""TSM's shift: in place for as long as a convolution reads it, or of frames that may repeat. Ours.

Shape legend: as in `values`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from .kernels import is_compiled, shift_
from .values import Value


def shifts_in_place(x: Value, step: int) -> bool:
    """Return whether `shifted_for_now` can shift a map, of which every `step`-th frame is read."""
    return x.repeats == step == 1 and not x.is_view and is_compiled(x.data)


@contextmanager
def shifted_for_now(x: Value, div: int) -> Iterator[None]:
    """Shift a map's own data as `shifted` does, and put them back at the end of the block.

    Most channels stay where they are, so that this reads and writes half of what a copy does.
    """
    moving = x.data.shape[3] // div
    ends = shift_(x.data, moving)
    yield
    shift_(x.data, moving, ends)


def shifts_groups(x: Value, step: int) -> bool:
    """Return whether `shifted` can read a map as it is."""
    return x.repeats % step == 0 or step % x.repeats == 0


def shifted(x: Value, step: int, div: int) -> Tensor:
    """Return every `step`-th frame after TSM's shift.

    A div-th of the channels comes from the next frame, another from the one before, zeros beyond
    the clip's ends. In its group of repeats a frame's neighbours are equal to it, but for the first
    one's predecessor and the last one's successor.

    Args:
        x: All channels written down; frames may repeat, as `shifts_groups` says.
        step: From one wanted frame to the next.
        div: Inverse of the share of channels that moves either way.

    Returns:
        (wanted frames, H, W, C).
    """
    rows, fold = x.data, x.data.shape[3] // div
    wanted = range(0, x.num_frames, step)
    out = rows.new_empty(len(wanted), *rows.shape[1:])
    num_places = max(x.repeats // step, 1)
    apart = max(step // x.repeats, 1)
    for place in range(num_places):
        into = out[place::num_places]
        into.copy_(rows[::apart][: len(into)])
        if place * step == 0:
            earlier = rows[apart - 1 :: apart][: len(into) - 1]
            into[1:, ..., fold : 2 * fold] = earlier[..., fold : 2 * fold]
        if place * step == x.repeats - 1:
            later = rows[1::apart][: len(into)]
            into[: len(later), ..., :fold] = later[..., :fold]
    out[0, ..., fold : 2 * fold] = 0
    if wanted[-1] == x.num_frames - 1:
        out[-1, ..., :fold] = 0
    return out
