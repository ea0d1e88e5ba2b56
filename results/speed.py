"""Speed: one benchmark as a table, and as a plot of time against multiply-adds.

Both take plain rows, as `harness bench` writes them to JSON (docs/benchmarking.md has the keys).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from .plots import COLOURS, LOOKS, MARKERS, METADATA
from .tables import GIGA, Column, Table, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
"""One of `variants` of a benchmark."""

_PANEL_IN = 3.4
_LEGEND_IN = 1.7
_MAX_PANELS_A_ROW = 2
_LINE = "0.45"


class _Style(NamedTuple):
    colour: str
    marker: str


_Definitions = Sequence[tuple[Column, Callable[[Row], Value]]]
_VARIANTS: _Definitions = (
    (Column("variant", "variant"), lambda row: row["variant"]),
    (Column("dtype", "type"), lambda row: row["dtype"]),
    (Column("batch", "batch"), lambda row: row["batch"]),
    (Column("manner", "how"), lambda row: row["manner"]),
    (Column("ms_p50", "ms p50", 1), lambda row: row["ms_p50"]),
    (Column("ms_p95", "ms p95", 1), lambda row: row["ms_p95"]),
    (Column("clips_per_s", "clips/s", 2), lambda row: row["clips_per_s"]),
    (Column("peak_mb", "peak MB", 0), lambda row: row["peak_mb"]),
    (Column("nominal_macs", "GMACs nominal", 3, 1 / GIGA), lambda row: row["nominal_macs"]),
    (Column("executed_macs", "GMACs executed", 3, 1 / GIGA), lambda row: row["executed_macs"]),
)
_FIGURES = {
    "rho_engine": "rho engine",
    "rho_best": "rho best",
    "rho_executed": "rho executed",
    "speedup_stock": "times stock",
}
_PLACE = {"variant": "variant", "dtype": "type", "batch": "batch"}


def variant_table(rows: Sequence[Row]) -> Table:
    """One line a variant, data type, batch and manner."""
    values = tuple(tuple(get(row) for _, get in _VARIANTS) for row in rows)
    return Table(tuple(column for column, _ in _VARIANTS), values)


def headline_table(headlines: Sequence[Row]) -> Table:
    """One line an adaptive variant, data type and batch; figures with their range over routes."""
    columns = tuple(Column(*item) for item in {**_PLACE, **_FIGURES}.items())
    rows = tuple(
        (*(line[name] for name in _PLACE), *(_spread(line[name]) for name in _FIGURES))
        for line in headlines
    )
    return Table(columns, rows)


def _spread(figure: Row | None) -> str | None:
    return None if figure is None else spread_text(figure)


def spread_text(spread: Row) -> str:
    """A median with its range over routes: "1.21 (1.15 to 1.30)"."""
    low, high = spread["routes_low"], spread["routes_high"]
    return f"{spread['median']:.2f} ({low:.2f} to {high:.2f})"


def save_speed(rows: Sequence[Row], path: Path, title: str) -> Path:
    """Save `speed_figure` under a path that ends in a format matplotlib can write."""
    with mpl.rc_context(LOOKS):
        speed_figure(rows, title).savefig(path, dpi=200, metadata=METADATA.get(path.suffix, {}))
    return path


def speed_figure(rows: Sequence[Row], title: str) -> Figure:
    """Time against multiply-adds, both relative to the fastest dense variant of the panel.

    A panel a data type and batch. Filled markers stand at nominal multiply-adds, dots are single
    routes, hollow markers stand at executed ones. On the line rho is 1: all that is saved in
    multiply-adds is saved in time; below it rho is larger.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("`rows` must hold at least one, but got none.")
    keys = [key for key in dict.fromkeys(map(_panel_of, rows)) if _dense(rows, key)]
    names = list(dict.fromkeys(row["variant"] for row in rows))
    styles = {
        name: _Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(names)
    }
    num_columns = min(len(keys), _MAX_PANELS_A_ROW)
    num_lines = -(-len(keys) // num_columns)
    size = (_PANEL_IN * num_columns + _LEGEND_IN, 2.8 * num_lines + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=8.5)
    grid = figure.subplots(num_lines, num_columns, squeeze=False).flatten()
    for axes in grid[len(keys) :]:
        axes.set_axis_off()
    for key, axes in zip(keys, grid, strict=False):
        _draw(axes, [row for row in rows if _panel_of(row) == key], styles)
        axes.set_title(f"{key[0]}, batch {key[1]}")
    figure.legend(handles=_handles(styles), loc="outside right upper", frameon=False)
    return figure


def _handles(styles: Mapping[str, _Style]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], ls="", marker=style.marker, color=style.colour, ms=5, label=name)
        for name, style in styles.items()
    ]
    hollow = Line2D([], [], ls="", marker="o", color="0.3", ms=5, label="at executed MACs")
    hollow.set_markerfacecolor("white")
    handles.append(hollow)
    handles.append(Line2D([], [], color=_LINE, lw=0.9, label="rho = 1"))
    return handles


def _draw(axes: Axes, rows: Sequence[Row], styles: Mapping[str, _Style]) -> None:
    best = min((row for row in rows if row["is_dense"]), key=lambda row: float(row["ms_p50"]))
    macs, ms = float(best["executed_macs"]), float(best["ms_p50"])
    axes.plot([0, 1], [0, 1], color=_LINE, lw=0.9, zorder=1)
    axes.grid(alpha=0.25, linewidth=0.5)
    for row in rows:
        colour, marker = styles[row["variant"]]
        y = row["ms_p50"] / ms
        for route in row["routes"]:
            x = route["nominal_macs"] / macs
            axes.plot(x, route["ms_p50"] / ms, ".", color=colour, alpha=0.35, ms=4, zorder=2)
        axes.plot(row["nominal_macs"] / macs, y, marker, color=colour, ms=5, zorder=4)
        if row["executed_macs"] != row["nominal_macs"]:
            hollow = row["executed_macs"] / macs
            axes.plot(hollow, y, marker, color=colour, ms=5, mfc="white", zorder=3)
    axes.set(xlabel="MACs, of the fastest dense", ylabel="time, of the fastest dense")
    axes.set_xlim(0, 1.08)
    axes.set_ylim(bottom=0)


def _panel_of(row: Row) -> tuple[str, int]:
    return row["dtype"], row["batch"]


def _dense(rows: Sequence[Row], key: tuple[str, int]) -> bool:
    return any(row["is_dense"] for row in rows if _panel_of(row) == key)
