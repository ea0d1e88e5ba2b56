"""Plots: the accuracy a recognizer keeps against the MACs it executes, for paper and screen.

`frontier.py` computes; this draws. A figure holds nothing that is not in the frontiers, and the
same frontiers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .any_budget import traces
from .attainment import attainment
from .frontier import Frontier
from .panel import (
    BAND,
    FAINT,
    STEP_COLOUR,
    STEP_WIDTH,
    TRACE_DASHES,
    TRACE_WIDTH,
    MethodStyle,
    Panel,
    Unit,
    label_text,
)

PAGE_WIDTH_IN = 7.0
"""Text width of a two-column paper."""

COLUMN_WIDTH_IN = 3.4
"""Width of one of its columns."""

_MAX_PANELS_A_ROW = 4
_MAX_ROWS = 6
"""Of panels: what a page is high. More would be read by nobody, and take minutes to draw."""

_MIN_PANEL_WIDTH_IN = 1.6
_PANEL_HEIGHT_IN = 1.85
_LEGEND_ENTRY_WIDTH_IN = 1.6
_LEGEND_LINE_HEIGHT_IN = 0.17

# Okabe and Ito's colours, which the colour-blind tell apart, less black (dense) and yellow (faint).
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Of another number than the colours, so that a pair comes again after 42 methods only.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DENSE = MethodStyle("black", "*", 8.0)
LOOKS: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "pdf.fonttype": 42,  # TrueType: submission systems refuse matplotlib's default Type 3
    "svg.hashsalt": "pareto",  # names of clipped parts, which are random otherwise
}
# No date and no version in the file: the same records give the same bytes.
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None, "Creator": None},
}


def save_pareto(
    frontiers: Sequence[Frontier],
    folder: Path,
    *,
    formats: Sequence[str] = ("png", "pdf", "svg"),
    width_in: float = PAGE_WIDTH_IN,
    name: str = "pareto",
) -> list[Path]:
    """Save `pareto_figure` as pareto.png, pareto.pdf and pareto.svg.

    Args:
        frontiers: the panels.
        folder: where to; it must exist.
        formats: endings that matplotlib can write.
        width_in: of the whole figure, inches.
        name: of the files, less their endings.

    Returns:
        The files written, in the order of `formats`.
    """
    paths = [folder / f"{name}.{ending}" for ending in formats]
    with mpl.rc_context(LOOKS):
        figure = pareto_figure(frontiers, width_in=width_in)
        for path in paths:
            figure.savefig(path, dpi=300, metadata=METADATA.get(path.suffix, {}))
            figure.set_layout_engine("none")  # laid out already, and the same in every format
    return paths


def pareto_figure(frontiers: Sequence[Frontier], *, width_in: float = PAGE_WIDTH_IN) -> Figure:
    """One panel a (dataset, recognizer); each dataset begins a row, and takes more if it must.

    What a page has no room for is left out, and its number told below the panels.

    Faint dots are seeds and markers their means with 95 % t-intervals, filled where nothing
    dominates them and hollow elsewhere; the steps are the most accuracy to be had for the MACs.
    Where three seeds or more have all budgets of a method, a faint band holds the middle half of
    their own frontiers and a faint line is the typical one: see `attainment`. Thin dashes join what
    trained recognizers do at other budgets with their gates shifted.

    Raises:
        ValueError: there are no frontiers.
    """
    if not frontiers:
        raise ValueError("`frontiers` must hold at least one, but got none.")
    all_rows = _panel_rows(frontiers, width_in)
    rows = all_rows[:_MAX_ROWS]
    styles, unit = method_styles(frontiers), macs_unit(frontiers)
    handles = _legend_handles(frontiers, styles)
    num_columns = max(1, min(len(handles), int(width_in / _LEGEND_ENTRY_WIDTH_IN)))
    title = _legend_title(sum(map(len, rows)), len(frontiers))
    num_lines = 2 + title.count("\n") + 1 - len(handles) // -num_columns
    height_in = _PANEL_HEIGHT_IN * len(rows) + _LEGEND_LINE_HEIGHT_IN * num_lines
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    _draw_grid(figure, rows, styles, unit)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=num_columns,
        frameon=False,
        title=title,
        title_fontsize="small",
    )
    return figure


def method_styles(frontiers: Sequence[Frontier]) -> dict[str, MethodStyle]:
    """A style for each method's label, in the order in which the frontiers name them."""
    is_dense = {cell.method: cell.is_dense for f in frontiers for cell in f.cells}
    styles = {label: _DENSE for label in is_dense if is_dense[label]}
    for i, label in enumerate(label for label in is_dense if not is_dense[label]):
        styles[label] = MethodStyle(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], 5.0)
    return styles


def macs_unit(frontiers: Sequence[Frontier]) -> Unit:
    """GMACs, or MMACs where no point executes a tenth of one."""
    largest = max((c.macs.mean for f in frontiers for c in f.cells if c.macs), default=1e9)
    return Unit("GMACs", 1e9) if largest >= 1e8 else Unit("MMACs", 1e6)


def _panel_rows(frontiers: Sequence[Frontier], width_in: float) -> list[list[Frontier]]:
    most = max(1, min(_MAX_PANELS_A_ROW, int(width_in / _MIN_PANEL_WIDTH_IN)))
    rows = []
    for dataset in dict.fromkeys(frontier.dataset for frontier in frontiers):
        panels = [frontier for frontier in frontiers if frontier.dataset == dataset]
        rows += [panels[start : start + most] for start in range(0, len(panels), most)]
    return rows


def _draw_grid(
    figure: Figure, rows: list[list[Frontier]], styles: dict[str, MethodStyle], unit: Unit
) -> None:
    grid = figure.subplots(len(rows), max(len(row) for row in rows), squeeze=False)
    below = [*(len(row) for row in rows[1:]), 0]
    for row, axes_row, num_below in zip(rows, grid, below, strict=True):
        axes_row[0].set_ylabel(f"{label_text(row[0].dataset)}\ntop-1 %")
        for axes in axes_row[len(row) :]:
            axes.set_axis_off()
        for axes in axes_row[num_below : len(row)]:
            axes.set_xlabel(f"executed {unit.name}")
        for frontier, axes in zip(row, axes_row, strict=False):
            Panel(frontier, styles, unit).draw(axes)


def _legend_title(num_drawn: int, num_panels: int) -> str:
    title = "upper axes: share of the dense recognizer's MACs"
    if num_drawn < num_panels:
        title += f"\n{num_drawn} of {num_panels} panels; the page and the tables have all"
    return title


def _legend_handles(
    frontiers: Sequence[Frontier], styles: dict[str, MethodStyle]
) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        _key(label_text(label), style.marker, color=style.colour, markersize=style.size)
        for label, style in styles.items()
    ]
    cells = [
        pair for f in frontiers for pair in zip(f.cells, f.pareto, strict=True) if pair[0].n > 0
    ]
    if any(cell.n > 1 for cell, _ in cells):
        handles.append(_key("one seed", ".", alpha=FAINT))
        handles.append(_key("95 % interval", "|", markersize=9))
    if not all(pareto for _, pareto in cells):
        handles.append(_key("dominated", "o", markersize=5, markerfacecolor="white"))
    if any(cell.num_infeasible for cell, _ in cells):
        handles.append(_key("over budget", "x", color="black"))
    handles.append(Line2D([], [], color=STEP_COLOUR, linewidth=STEP_WIDTH, label="frontier"))
    if any(attainment(f, method) for f in frontiers for method in f.methods):
        handles.append(Patch(color="0.4", alpha=2 * BAND, lw=0, label="middle half of the seeds"))
    if any(traces(frontier) for frontier in frontiers):
        looks: dict[str, Any] = {"color": "0.4", "linestyle": TRACE_DASHES, "lw": TRACE_WIDTH}
        handles.append(Line2D([], [], label="gates shifted, not retrained", **looks))
    return handles


def _key(label: str, marker: str, **looks: Any) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, label=label, **{"color": "0.4", **looks})
