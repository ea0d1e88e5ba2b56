"""Clouds: the numbers behind the chart of single clips, as plain data for the page's script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .by_clip import to_show
from .clips import Clip, Clips
from .frontier import Cell, Frontier
from .plots import COLOURS, MARKERS
from .record import Record
from .shortlist import cell_name

MAX_CLIPS = 300
"""Clips shown of each trial."""

CLIP_FIELDS = ("motion", "share", "label", "is_right", "name")
"""What each entry of a clip in the data is."""

_NAME_LENGTH = 40


def clouds(frontiers: Sequence[Frontier], clips: Mapping[str, Clips]) -> dict[str, Any]:
    """The chart's data: of each trial to be shown that has clips, its clips as points."""
    wanted = set(to_show(frontiers).keys)
    found = [
        (frontier, cell, run, clips[run.key])
        for frontier in frontiers
        for cell in frontier.cells
        for run in cell.runs
        if run.key in wanted and run.key in clips
    ]
    most = max((len(own.class_names) for *_, own in found), default=0)
    return {
        "fields": CLIP_FIELDS,
        "looks": [
            {"colour": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
            for i in range(most)
        ],
        "trials": [_cloud(*one) for one in found],
    }


def _cloud(frontier: Frontier, cell: Cell, run: Record, clips: Clips) -> dict[str, Any]:
    seen = [clip for clip in clips.clips if clip.motion is not None]
    shown = seen[:: -(-len(seen) // MAX_CLIPS)] if seen else []
    return {
        "name": f"{cell_name(cell)}, {frontier.recognizer} on {frontier.dataset}, seed {run.seed}",
        "key": run.key,
        "classes": clips.class_names,
        "num_clips": len(seen),
        "mean": run.macs.share if run.macs else None,
        "clips": [_point(clip) for clip in shown],
    }


def _point(clip: Clip) -> list[Any]:
    is_right = int(clip.label == clip.prediction)
    motion = None if clip.motion is None else round(clip.motion, 2)
    name = clip.name if len(clip.name) <= _NAME_LENGTH else f"...{clip.name[-_NAME_LENGTH:]}"
    return [motion, round(clip.share, 4), clip.label, is_right, name]
