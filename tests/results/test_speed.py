"""The table and the plot of a benchmark hold what its rows say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from results.render import to_markdown
from results.speed import headline_table, save_speed, speed_figure, variant_table


def row(variant: str, ms: float, macs: float, **change: Any) -> dict[str, Any]:
    is_dense = variant != "adaptive"
    route = {"ms_p50": ms, "nominal_macs": macs, "executed_macs": 0.9 * macs}
    return {
        "variant": variant,
        "dtype": "float32",
        "batch": 1,
        "manner": "batch",
        "is_dense": is_dense,
        "ms_p50": ms,
        "ms_p95": ms,
        "clips_per_s": 1e3 / ms,
        "peak_mb": None,
        "nominal_macs": macs,
        "executed_macs": macs if is_dense else 0.9 * macs,
        "routes": [] if is_dense else [route],
        **change,
    }


ROWS = [row("stock", 20, 1e9), row("fast", 10, 1e9), row("adaptive", 6, 0.65e9)]
OTHERS = [{**r, "dtype": "bfloat16"} for r in ROWS] + [{**r, "batch": 8} for r in ROWS]


def test_a_panel_a_type_and_batch_and_the_line_of_rho_1() -> None:
    figure = speed_figure([*ROWS, *OTHERS], "title")
    panels = [axes for axes in figure.axes if axes.get_title()]
    titles = ["float32, batch 1", "bfloat16, batch 1", "float32, batch 8"]
    assert [axes.get_title() for axes in panels] == titles
    lines = [line.get_xydata().tolist() for line in panels[0].lines]
    assert [[0.0, 0.0], [1.0, 1.0]] in lines
    # relative to the fastest dense: stock, fast, then adaptive at nominal and executed MACs
    points = {tuple(round(float(v), 6) for v in line[0]) for line in lines if len(line) == 1}
    assert points == {(1.0, 2.0), (1.0, 1.0), (0.65, 0.6), (0.585, 0.6)}


def test_a_panel_without_a_dense_variant_is_left_out() -> None:
    figure = speed_figure([*ROWS, row("adaptive", 5, 5e8, dtype="bfloat16")], "title")
    assert [axes.get_title() for axes in figure.axes] == ["float32, batch 1"]
    with pytest.raises(ValueError, match="at least one"):
        speed_figure([], "title")


def test_a_long_title_stays_within_the_figure() -> None:
    title = "tsm of digits.pth, 8 frames at 224, 37% saved nominally (learnt routes), 1 thread"
    figure = speed_figure(ROWS, title)
    figure.draw_without_rendering()
    (shown,) = [text for text in figure.texts if text.get_text().replace("\n", " ") == title]
    box, page = shown.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert box.y1 <= page.y1


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    paths = [save_speed(ROWS, tmp_path / f"{i}.png", "title") for i in (1, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_tables_show_what_is_not_known_as_a_dash() -> None:
    shown = to_markdown(variant_table(ROWS))
    assert "| stock | float32 | 1 | batch | 20.0 | 20.0 | 50.00 | - | 1.000 | 1.000 |" in shown
    figure = {"median": 1.25, "routes_low": 1.1, "routes_high": 1.3}
    place = {"variant": "adaptive", "dtype": "float32", "batch": 1}
    figures = {"rho_engine": figure, "rho_best": None, "rho_executed": None, "speedup_stock": None}
    table = headline_table([place | figures])
    assert table.rows == (("adaptive", "float32", 1, "1.25 (1.10 to 1.30)", None, None, None),)
