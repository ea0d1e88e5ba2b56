"""Page: a report as one HTML file that opens without a network.

The template holds the words and the order, the style sheet the looks, the script the charts that
can be played with; all three are written into the file. Nothing is computed here.
"""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .by_clip import dependence_told, to_show
from .charts import MAX_EPOCHS, charts
from .clouds import MAX_CLIPS, clouds
from .content import (
    ANY_BUDGET_NOTES,
    CLAIM_NOTES,
    COMPARISON_NOTES,
    DEPENDENCE_NOTES,
    HYPERVOLUME_NOTES,
    NOTES,
    RIVAL_NOTES,
    Content,
    reason,
)
from .overview import overview
from .render import is_numeric, texts
from .rivals import rivals_told
from .spread import distributions, policy_maps
from .surroundings import environment, notes, recipe
from .tables import Table

MAX_ROWS = 400
"""Rows of a table on the page; the CSV files have all."""

MAX_FAILURES = 200
_NOT_IN_A_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def page(content: Content) -> str:
    """The report as HTML; the same content gives the same text."""
    records = content.records
    distribution_panels, num_distributions_left_out = distributions(content.frontiers)
    maps, num_policies_left_out = policy_maps(content.frontiers)
    warned, num_warned_left_out = notes(records)
    drawn = charts(content.frontiers)
    data = drawn.data | {"clouds": clouds(content.frontiers, content.clips)}
    html: str = _template().render(
        content=content,
        overview=overview(content),
        rivals=rivals_told(content.comparisons),
        charts=drawn,
        data=_script_data(data),
        clouds=data["clouds"]["trials"],
        num_clouds_left_out=to_show(content.frontiers).num_left_out,
        max_clips=MAX_CLIPS,
        dependence=_rows(content.dependence.narrow()),
        dependence_told=dependence_told(content.dependence),
        cells=_rows(content.cells.narrow()),
        comparisons=_rows(content.comparisons.narrow()),
        hypervolumes=_rows(content.hypervolumes),
        any_budget=_rows(content.any_budget),
        notes={
            "rivals": RIVAL_NOTES,
            "claims": CLAIM_NOTES,
            "cells": NOTES,
            "comparisons": COMPARISON_NOTES,
            "volumes": HYPERVOLUME_NOTES,
            "any_budget": ANY_BUDGET_NOTES,
            "dependence": DEPENDENCE_NOTES,
        },
        distributions=distribution_panels,
        num_distributions_left_out=num_distributions_left_out,
        maps=maps,
        num_policies_left_out=num_policies_left_out,
        warned=warned,
        num_warned_left_out=num_warned_left_out,
        failed=content.failed[:MAX_FAILURES],
        environment=environment(records),
        recipe=recipe(records),
        ended=_ended(content),
        max_epochs=MAX_EPOCHS,
    )
    return html


def _template() -> Any:
    loader = PackageLoader("results", "templates")
    # without its comments' and tags' own lines the page is a third smaller
    env = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["percent"] = lambda share: f"{100 * share:.4g}"
    env.filters["reason"] = reason

    def source(name: str) -> Markup:
        return Markup(loader.get_source(env, name)[0])  # our own file, not a reader's text

    env.globals["source"] = source
    return env.get_template("page.html")


def _script_data(data: dict[str, Any]) -> Markup:
    """JSON that a <script> may hold: no label can end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_NOT_IN_A_SCRIPT))


def _rows(table: Table) -> dict[str, Any]:
    shown = Table(table.columns, table.rows[:MAX_ROWS])
    return {
        "heads": [(column.heading, is_numeric(table, i)) for i, column in enumerate(table.columns)],
        "rows": texts(shown),
        "num_left_out": len(table.rows) - len(shown.rows),
    }


def _ended(content: Content) -> str:
    """When the last trial ended: the page's date, since it is made of the records alone."""
    return max((record.finished_at for record in content.records), default="")
