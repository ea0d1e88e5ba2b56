"""Strips: pictures of the clips that cost least and most, for the page.

Which clips they are is chosen here; the pictures are passed in, since nothing in `results` knows a
data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .clips import Clip, Clips
from .frontier import Frontier
from .record import Record
from .spread import FULL

MAX_PANELS = 5
"""Recognizers on data sets that have pictures: some 30 kB each."""

NUM_EXTREMES = 2
"""Clips shown of the cheapest, and of the dearest."""


@dataclass(frozen=True)
class Strip:
    """One clip, with its frames side by side.

    `image` is a data URI; `route` says in words which layers save.
    """

    name: str
    label: str
    prediction: str
    share: float
    route: str
    image: str


@dataclass(frozen=True)
class StripPanel:
    """The cheapest and the dearest clips of one trial, or why there are no pictures of them."""

    title: str
    key: str
    cheapest: tuple[Strip, ...] = ()
    dearest: tuple[Strip, ...] = ()
    why_not: str = ""


def best(frontier: Frontier) -> Record | None:
    """The most accurate trial whose gates decide; of equals the one that executes least."""
    found = [run for cell in frontier.cells for run in cell.runs if run.input_dependence]
    return min(found, key=_rank, default=None)


def _rank(run: Record) -> tuple[float, float, str]:
    top1 = run.accuracy.top1 if run.accuracy else 0.0
    return -top1, run.macs.mean if run.macs else 0.0, run.key


def extremes(clips: Clips) -> tuple[list[Clip], list[Clip]]:
    """The cheapest clips and the dearest, each from the outermost; none where all cost the same."""
    seen = [clip for clip in clips.clips if clip.motion is not None]
    ordered = sorted(seen, key=lambda clip: clip.share)
    if not ordered or ordered[0].share == ordered[-1].share:
        return [], []
    num = min(NUM_EXTREMES, len(ordered) // 2)
    return ordered[:num], ordered[: -num - 1 : -1]


def strip(clips: Clips, clip: Clip, image: str) -> Strip:
    """What is told of a clip beside its picture."""
    return Strip(
        name=clip.name,
        label=clips.class_names[clip.label],
        prediction=clips.class_names[clip.prediction],
        share=clip.share,
        route=_route(clips, clip),
        image=image,
    )


def _route(clips: Clips, clip: Clip) -> str:
    if clip.route is None:
        return ""
    route = clips.routes[clip.route]
    frames, channels = (_num_saving(shares) for shares in (route.frames, route.channels))
    return f"{frames} of {len(clips.layers)} layers save frames, {channels} save channels"


def _num_saving(shares: Sequence[float]) -> int:
    return sum(share < FULL for share in shares)
