"""Panel: one (dataset, recognizer) of the Pareto figure, drawn on one matplotlib axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .any_budget import traces
from .attainment import QUANTILES, Attained, attainment
from .frontier import Cell, Frontier
from .record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAINT = 0.35
"""Opacity of what one seed measured."""

STEP_COLOUR = "0.45"
STEP_WIDTH = 0.9
BAND = 0.1
"""Opacity of where the middle half of the seeds' frontiers lies."""
TRACE_DASHES = (0, (4, 2.5))
TRACE_WIDTH = 0.6
_DOMINATED_OPACITY = 0.6
_LABEL_LENGTH = 30
_Scaling = Callable[[npt.ArrayLike], npt.NDArray[Any]]


class MethodStyle(NamedTuple):
    """How one method looks, the same in every panel."""

    colour: str
    marker: str
    size: float


class Unit(NamedTuple):
    """What MACs are shown in."""

    name: str
    macs: float


class Point(NamedTuple):
    """Where something is drawn: MACs in the figure's unit, and top-1 accuracy in percent."""

    x: float
    y: float


@dataclass(frozen=True)
class Panel:
    """What a panel shows, and in which looks."""

    frontier: Frontier
    styles: dict[str, MethodStyle]
    unit: Unit

    def draw(self, axes: Axes) -> None:
        """Draw the seeds, the cells, the steps and the axes."""
        axes.set_title(label_text(self.frontier.recognizer))
        centres = [point for cell in self.frontier.cells if (point := self._centre(cell))]
        if not centres:
            axes.text(0.5, 0.5, "no figures", ha="center", va="center", transform=axes.transAxes)
            axes.set(xticks=[], yticks=[])
            return
        axes.grid(alpha=0.25, linewidth=0.5)
        self._draw_steps(axes)
        self._draw_traces(axes)
        self._draw_attainment(axes)
        for method in self.frontier.methods:
            self._draw_cells(axes, method, is_filled=False)
            self._draw_cells(axes, method, is_filled=True)
        self._set_limits(axes, centres)
        self._draw_share_axis(axes)

    def _centre(self, cell: Cell) -> Point | None:
        if cell.macs is None or cell.accuracy is None:
            return None
        return Point(cell.macs.mean / self.unit.macs, 100 * cell.accuracy.mean)

    def _seeds(self, cell: Cell) -> list[Point]:
        return [point for run in cell.runs if (point := self._seed(run))]

    def _seed(self, run: Record) -> Point | None:
        if run.macs is None or run.accuracy is None:
            return None
        return Point(run.macs.mean / self.unit.macs, 100 * run.accuracy.top1)

    def _draw_steps(self, axes: Axes) -> None:
        """The most accuracy to be had for the MACs: level until the next better point."""
        cells = zip(self.frontier.cells, self.frontier.pareto, strict=True)
        points = sorted(point for cell, pareto in cells if pareto and (point := self._centre(cell)))
        x, y = zip(*points, strict=True)
        axes.step(x, y, where="post", color=STEP_COLOUR, linewidth=STEP_WIDTH, zorder=1)

    def _draw_traces(self, axes: Axes) -> None:
        """What trained recognizers do with their gates shifted; cut off where they fail."""
        for trace in traces(self.frontier):
            points = [(s.macs / self.unit.macs, 100 * s.top1.mean) for s in trace.stops]
            colour = self.styles[trace.cell.method].colour
            axes.plot(
                *_apart(points), linestyle=TRACE_DASHES, color=colour, lw=TRACE_WIDTH, zorder=1
            )

    def _draw_attainment(self, axes: Axes) -> None:
        """Where the frontiers of the middle half of the seeds lie, and the typical one."""
        end = (self.frontier.dense_macs or 0) / self.unit.macs
        for method in self.frontier.methods:
            surfaces = attainment(self.frontier, method)
            if not surfaces:
                continue
            colour = self.styles[method].colour
            lucky, typical, unlucky = (self._corners(surfaces[q], end) for q in QUANTILES)
            axes.step(*_apart(typical), where="post", color=colour, lw=0.7, alpha=FAINT, zorder=1)
            x = sorted({point.x for point in (*lucky, *unlucky)})
            low, high = (_heights(corners, x) for corners in (unlucky, lucky))
            axes.fill_between(
                x, low, high, step="post", color=colour, alpha=BAND, linewidth=0, zorder=0.5
            )

    def _corners(self, surface: Sequence[Attained], end: float) -> list[Point]:
        """Corners of a surface, the last one carried on to the dense recognizer."""
        found = [Point(corner.macs / self.unit.macs, 100 * corner.top1) for corner in surface]
        return [*found, Point(max(end, found[-1].x), found[-1].y)]

    def _draw_cells(self, axes: Axes, method: str, *, is_filled: bool) -> None:
        """All cells of a method on the frontier, or off it: few artists draw fast."""
        cells = [
            (cell, centre)
            for cell, pareto in zip(self.frontier.cells, self.frontier.pareto, strict=True)
            if cell.method == method and pareto == is_filled and (centre := self._centre(cell))
        ]
        if not cells:
            return
        colour, marker, size = self.styles[method]
        opacity = 1.0 if is_filled else _DOMINATED_OPACITY
        seeds = [point for cell, _ in cells if cell.n > 1 for point in self._seeds(cell)]
        axes.plot(*_apart(seeds), ".", color=colour, alpha=FAINT, markersize=3.5, zorder=2)
        bars = [(centre.x, *bar) for cell, centre in cells if (bar := _interval(cell))]
        x, low, high = _apart(bars, 3)
        axes.vlines(x, low, high, color=colour, lw=0.9, alpha=opacity, zorder=3)
        means = _apart([centre for _, centre in cells])
        face = colour if is_filled else "white"
        axes.plot(*means, marker, color=colour, ms=size, mfc=face, alpha=opacity, zorder=4)
        over = _apart([centre for cell, centre in cells if cell.num_infeasible])
        axes.plot(*over, "x", color="black", ms=size + 3, mew=0.8, zorder=5)

    def _set_limits(self, axes: Axes, centres: list[Point]) -> None:
        """Room for every point; wide intervals are cut off rather than flatten the rest."""
        points = centres + [p for cell in self.frontier.cells for p in self._seeds(cell)]
        low, high = min(p.y for p in points), max(p.y for p in points)
        margin = max(1.0, 0.15 * (high - low))
        axes.set_ylim(max(-2.0, low - margin), min(102.0, high + margin))
        axes.set_xlim(0, 1.08 * max(p.x for p in points))
        axes.locator_params(axis="x", nbins=4)
        axes.locator_params(axis="y", nbins=5)

    def _draw_share_axis(self, axes: Axes) -> None:
        if self.frontier.dense_macs is None:
            return
        dense = self.frontier.dense_macs / self.unit.macs
        top = axes.secondary_xaxis("top", functions=_scalings(dense))
        top.set_xticks([0, 0.5, 1.0], ["0", "50 %", "100 %"])
        top.tick_params(labelsize=6.5, colors="0.35", pad=1)


def _heights(corners: Sequence[Point], x: Sequence[float]) -> list[float]:
    """The accuracy that a surface reaches at each x; 0 before its first corner."""
    return [max((c.y for c in corners if c.x <= at), default=0.0) for at in x]


def _apart(points: Sequence[tuple[float, ...]], num: int = 2) -> list[list[float]]:
    """From points to a list a coordinate, also where there are none."""
    return [[point[i] for point in points] for i in range(num)]


def _interval(cell: Cell) -> tuple[float, float] | None:
    """Ends of a cell's interval in percent."""
    if cell.accuracy is None or cell.accuracy.low is None or cell.accuracy.high is None:
        return None
    return 100 * cell.accuracy.low, 100 * cell.accuracy.high


def _scalings(dense: float) -> tuple[_Scaling, _Scaling]:
    """From MACs to their share of `dense`, and back."""
    return (lambda x: np.asarray(x) / dense), (lambda share: np.asarray(share) * dense)


def label_text(label: str) -> str:
    """A label as matplotlib may draw it: of one line, not too long, no formula."""
    return shorten(label, _LABEL_LENGTH, placeholder="…").replace("$", r"\$") or "…"
