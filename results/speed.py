"""Speed: one benchmark as a table, and as a plot of time against multiply-adds.

Both take plain rows, as `harness bench` writes them to JSON (docs/benchmarking.md has the keys).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .panel import FAINT, STEP_COLOUR, STEP_WIDTH
from .plots import COLOURS, LOOKS, MARKERS, METADATA
from .tables import GIGA, Column, Table, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
"""One of `variants` of a benchmark."""

_PANEL_IN = (3.5, 2.8)
_LEGEND_IN = 0.5
_LETTERS_AN_INCH = 16
_MAX_PANELS_A_ROW = 2
_LABEL_GAP = 0.06
"""Height of a name beside a point, as a share of the axis."""


class _Style(NamedTuple):
    colour: str
    marker: str


_Definitions = Sequence[tuple[Column, Callable[[Row], Value]]]
_VARIANTS: _Definitions = (
    (Column("variant", "variant", is_narrow=True), lambda row: row["variant"]),
    (Column("dtype", "type", is_narrow=True), lambda row: row["dtype"]),
    (Column("batch", "batch", is_narrow=True), lambda row: row["batch"]),
    (Column("manner", "how", is_narrow=True), lambda row: row["manner"]),
    (Column("ms_p50", "ms p50", 1, is_narrow=True), lambda row: row["ms_p50"]),
    (Column("ms_p95", "ms p95", 1, is_narrow=True), lambda row: row["ms_p95"]),
    (Column("clips_per_s", "clips/s", 2), lambda row: row["clips_per_s"]),
    (Column("peak_mb", "peak MB", 0, is_narrow=True), lambda row: row["peak_mb"]),
    (
        Column("nominal_macs", "GMACs nominal", 3, 1 / GIGA, is_narrow=True),
        lambda row: row["nominal_macs"],
    ),
    (
        Column("executed_macs", "GMACs executed", 3, 1 / GIGA, is_narrow=True),
        lambda row: row["executed_macs"],
    ),
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


def layer_rows(layers: Sequence[Row]) -> Table:
    """One line a layer: times in full and halved, and the shares of the saving that are time."""
    columns = (
        Column("layer", "layer"),
        Column("macs", "GMACs", 3, 1 / GIGA),
        Column("full_ms", "ms in full", 2),
        Column("channels_ms", "half channels", 2),
        Column("channels_realised", "realised", 2),
        Column("frames_ms", "half frames", 2),
        Column("frames_realised", "realised", 2),
    )
    rows = []
    for line in layers:
        halves = [line[axis] or {"ms": None, "realised": None} for axis in ("channels", "frames")]
        figures = [half[key] for half in halves for key in ("ms", "realised")]
        rows.append((line["layer"], line["macs"], line["full_ms"], *figures))
    return Table(columns, tuple(rows))


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

    A panel a data type and batch. Dense variants stand at 1, each in its faster manner. Filled
    markers of adaptive ones stand at nominal multiply-adds, dots are single routes, hollow markers
    stand at executed ones. On the line rho is 1: all that is saved in multiply-adds is saved in
    time; below it rho is larger.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError("`rows` must hold at least one, but got none.")
    keys = [key for key in dict.fromkeys(map(_panel_of, rows)) if _dense(rows, key)]
    adaptive = list(dict.fromkeys(row["variant"] for row in rows if not row["is_dense"]))
    styles = {
        name: _Style(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(adaptive)
    }
    num_columns = min(len(keys), _MAX_PANELS_A_ROW)
    num_lines = -(-len(keys) // num_columns)
    size = (_PANEL_IN[0] * num_columns, _PANEL_IN[1] * num_lines + _LEGEND_IN)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(fill(title, int(_LETTERS_AN_INCH * size[0])), fontsize=8)
    grid = figure.subplots(num_lines, num_columns, squeeze=False).flatten()
    for axes in grid[len(keys) :]:
        axes.set_axis_off()
    for key, axes in zip(keys, grid, strict=False):
        _Panel([row for row in rows if _panel_of(row) == key], styles).draw(axes)
        axes.set_title(f"{key[0]}, batch {key[1]}")
    figure.legend(
        handles=_handles(styles), loc="outside lower center", ncols=2 * num_columns, frameon=False
    )
    return figure


def _handles(styles: Mapping[str, _Style]) -> list[Line2D]:
    handles = [
        Line2D([], [], ls="", marker=style.marker, color=style.colour, ms=5, label=name)
        for name, style in styles.items()
    ]
    if styles:
        hollow = Line2D([], [], ls="", marker="o", color="0.3", ms=5, label="at executed MACs")
        hollow.set_markerfacecolor("white")
        handles.append(hollow)
    handles.append(Line2D([], [], color=STEP_COLOUR, lw=STEP_WIDTH, label="rho = 1"))
    return handles


class _Panel:
    """One data type and batch.

    Args:
        rows: At least one of them dense.
        styles: Of the adaptive variants.
    """

    def __init__(self, rows: Sequence[Row], styles: Mapping[str, _Style]) -> None:
        self.styles = styles
        self.adaptive = [row for row in rows if not row["is_dense"]]
        by_time = sorted((row for row in rows if row["is_dense"]), key=_ms)
        names = dict.fromkeys(row["variant"] for row in by_time)
        self.dense = [next(r for r in by_time if r["variant"] == name) for name in names]
        self.ms, self.macs = _ms(self.dense[0]), float(self.dense[0]["executed_macs"])

    def draw(self, axes: Axes) -> None:
        """Draw the line, the variants and the axes."""
        top = 1.1 * max(_ms(row) for row in [*self.dense, *self.adaptive]) / self.ms
        axes.plot([0, 1], [0, 1], color=STEP_COLOUR, lw=STEP_WIDTH, zorder=1)
        axes.grid(alpha=0.25, linewidth=0.5)
        for row in self.adaptive:
            self._draw_adaptive(axes, row)
        highest = self._draw_dense(axes, _LABEL_GAP * top)
        axes.set(xlabel="MACs, of the fastest dense", ylabel="time, of the fastest dense")
        axes.set_xlim(0, 1.6)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
        axes.set_ylim(0, max(top, 1.05 * highest))

    def _draw_adaptive(self, axes: Axes, row: Row) -> None:
        colour, marker = self.styles[row["variant"]]
        y = _ms(row) / self.ms
        for route in row["routes"]:
            x = route["nominal_macs"] / self.macs
            axes.plot(x, _ms(route) / self.ms, ".", color=colour, alpha=FAINT, ms=4, zorder=2)
        hollow = row["executed_macs"] / self.macs
        axes.plot(hollow, y, marker, color=colour, ms=5, mfc="white", zorder=3)
        axes.plot(row["nominal_macs"] / self.macs, y, marker, color=colour, ms=5, zorder=4)

    def _draw_dense(self, axes: Axes, gap: float) -> float:
        """Draw points at 1 with their names beside them; returns where the last name stands."""
        at = -gap
        for row in self.dense:
            y = _ms(row) / self.ms
            at = max(y, at + gap)
            axes.plot(1.0, y, "o", color="black", ms=3, zorder=4)
            axes.plot([1.02, 1.06], [y, at], color="0.7", lw=0.5)
            axes.text(1.07, at, row["variant"], fontsize=6.5, va="center")
        return at


def _ms(row: Row) -> float:
    return float(row["ms_p50"])


def _panel_of(row: Row) -> tuple[str, int]:
    return row["dtype"], row["batch"]


def _dense(rows: Sequence[Row], key: tuple[str, int]) -> bool:
    return any(row["is_dense"] for row in rows if _panel_of(row) == key)
