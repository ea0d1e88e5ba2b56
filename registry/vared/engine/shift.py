"""TSM's shift, on frames that may repeat, in one pass. Ours.

Shape legend: as in `values`.
"""

from __future__ import annotations

from torch import Tensor

from .values import Value


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
