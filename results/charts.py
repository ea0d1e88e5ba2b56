"""Charts: the numbers behind the interactive charts of the page, as plain data for its script.

The script draws, filters and averages; what a trial measured is told here once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .frontier import Cell, Frontier
from .plots import macs_unit, method_styles
from .record import Record
from .shortlist import cell_name, shortlist
from .stats import CONFIDENCE

MAX_TRIALS = 20_000
"""Trials drawn as points."""

MAX_CURVES = 120
MAX_EPOCHS = 60

TRIAL_FIELDS = ("seed", "key", "macs", "top1", "mean_class", "ms", "train_s", "is_over", "shifted")
"""What each entry of a trial in the data is."""


@dataclass(frozen=True)
class Charts:
    """What the script is given, and what had to be left out of it."""

    data: dict[str, Any]
    num_trials_left_out: int
    num_curves_left_out: int


def charts(frontiers: Sequence[Frontier]) -> Charts:
    """Gather the frontiers and the learning curves.

    Numbers are rounded to what the eye can tell apart; not finite ones are left out.
    """
    styles, unit = method_styles(frontiers), macs_unit(frontiers)
    place = {label: i for i, label in enumerate(styles)}
    panels, left_out = _panels(frontiers, place)
    curves = shortlist(frontiers, MAX_CURVES, lambda cell: any(run.history for run in cell.runs))
    data = {
        "unit": {"name": unit.name, "macs": unit.macs},
        "methods": [
            {"label": label, "colour": style.colour, "marker": style.marker}
            for label, style in styles.items()
        ],
        "fields": TRIAL_FIELDS,
        "panels": panels,
        "curves": [
            {"panel": _panel_name(panel), "cells": [_curve(cell, place) for cell in cells]}
            for panel, cells in curves.panels
        ],
        "half_widths": _half_widths(frontiers),
    }
    return Charts(data, left_out, curves.num_left_out)


def _panels(
    frontiers: Sequence[Frontier], place: dict[str, int]
) -> tuple[list[dict[str, Any]], int]:
    panels, num_trials, left_out = [], 0, 0
    for frontier in frontiers:
        own = sum(cell.n for cell in frontier.cells)
        if num_trials + own > MAX_TRIALS:
            left_out += own
            continue
        num_trials += own
        panels.append(
            {
                "dataset": frontier.dataset,
                "recognizer": frontier.recognizer,
                "dense": frontier.dense_macs,
                "cells": [_cell(cell, place) for cell in frontier.cells if cell.n],
            }
        )
    return panels, left_out


def _panel_name(frontier: Frontier) -> str:
    return f"{frontier.recognizer} on {frontier.dataset}"


def _cell(cell: Cell, place: dict[str, int]) -> dict[str, Any]:
    return {
        "method": place[cell.method],
        "budget": cell.budget,
        "failed": len(cell.failed),
        "trials": [_trial(run) for run in cell.runs],
    }


def _trial(run: Record) -> list[Any]:
    return [
        run.seed,
        run.key,
        _short(run.macs.mean if run.macs else None),
        _short(run.accuracy.top1 if run.accuracy else None),
        _short(run.accuracy.mean_class if run.accuracy else None),
        _short(run.latency.ms_p50 if run.latency else None),
        _short(run.train_time_s),
        int(run.budget_status == "infeasible"),
        _shifted(run),
    ]


def _shifted(run: Record) -> list[list[float | None]]:
    """At other budgets, not retrained: budget, MACs and top-1."""
    if run.macs is None:
        return []
    dense = run.macs.dense
    return [[o.budget, _short(o.share * dense), _short(o.top1)] for o in run.any_budget]


def _curve(cell: Cell, place: dict[str, int]) -> dict[str, Any]:
    names = dict.fromkeys(name for run in cell.runs for entry in run.history for name in entry)
    return {
        "name": cell_name(cell),
        "method": place[cell.method],
        "budget": cell.budget,
        "n": cell.n,
        "lines": {name: _line(cell.runs, name) for name in names if name != "epoch"},
    }


def _line(runs: Sequence[Record], name: str) -> list[list[float | None]]:
    """Epoch, mean, lowest and highest over the seeds; at most `MAX_EPOCHS`, the last among them."""
    by_epoch: dict[float, list[float]] = {}
    for run in runs:
        for place, entry in enumerate(run.history, start=1):
            value = entry.get(name)
            if value is not None and math.isfinite(value):
                by_epoch.setdefault(entry.get("epoch", float(place)), []).append(value)
    epochs = sorted(by_epoch)
    step = max(1, math.ceil(len(epochs) / MAX_EPOCHS))
    kept = epochs[::-1][::step][::-1]
    return [
        [epoch, _short(math.fsum(values) / len(values)), _short(min(values)), _short(max(values))]
        for epoch in kept
        for values in [by_epoch[epoch]]
    ]


def _half_widths(frontiers: Sequence[Frontier]) -> list[float | None]:
    """By n: what a standard deviation of n seeds is multiplied by for a 95 % t-interval."""
    from scipy.special import stdtrit

    most = max((cell.n for panel in frontiers for cell in panel.cells), default=0)
    quantiles = (float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) for n in range(2, most + 1))
    return [None, None, *(_short(q / math.sqrt(n)) for n, q in enumerate(quantiles, start=2))]


def _short(value: float | None) -> float | None:
    """Six significant digits, and JSON has no NaN."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
