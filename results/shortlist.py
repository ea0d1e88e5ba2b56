"""Shortlist: which cells a page shows where showing all would make it too large to open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .frontier import Cell, Frontier


@dataclass(frozen=True)
class Shortlist:
    """The cells chosen of each frontier, and how many were left out.

    `panels` has an entry for each frontier that has any, its cells in the order of its table.
    """

    panels: tuple[tuple[Frontier, tuple[Cell, ...]], ...]
    num_left_out: int


def shortlist(
    frontiers: Sequence[Frontier], limit: int, wanted: Callable[[Cell], bool]
) -> Shortlist:
    """Choose up to `limit` of the wanted cells: those on a frontier before those dominated."""
    candidates = [
        (not pareto, which, place)
        for which, frontier in enumerate(frontiers)
        for place, (cell, pareto) in enumerate(zip(frontier.cells, frontier.pareto, strict=True))
        if wanted(cell)
    ]
    places: dict[int, list[int]] = {}
    for _, which, place in sorted(candidates)[:limit]:
        places.setdefault(which, []).append(place)
    panels = tuple(
        (frontiers[which], tuple(frontiers[which].cells[i] for i in sorted(chosen)))
        for which, chosen in sorted(places.items())
    )
    return Shortlist(panels, max(0, len(candidates) - limit))


def cell_name(cell: Cell) -> str:
    """A cell as it is called within its panel."""
    return cell.method if cell.budget is None else f"{cell.method} {cell.budget:g}"
