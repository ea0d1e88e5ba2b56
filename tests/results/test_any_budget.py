"""One training at other budgets: the table, the figure and the page."""

from __future__ import annotations

import pytest

from results.any_budget import any_budget_table, traces
from results.charts import TRIAL_FIELDS, charts
from results.content import content_of
from results.frontier import frontiers
from results.page import page
from results.plots import pareto_figure
from results.record import AnyBudget
from results.report import write_content

DENSE_MACS = 4_000_000_000
OTHERS = ((0.9, 0.88, 0.6), (0.5, 0.52, 0.3))


@pytest.fixture
def records(make_record):
    shifted = tuple(AnyBudget(budget=b, share=s, top1=t) for b, s, t in OTHERS)
    more = (shifted[0].model_copy(update={"top1": 0.7, "share": 0.86}),)
    return [
        make_record("dense", name="dense", budget=None, share=1.0),
        make_record(seed=0, any_budget=shifted),
        make_record(seed=1, any_budget=more),
    ]


def test_a_trace_is_means_over_the_seeds_that_have_them(records):
    (trace,) = traces(frontiers(records)[0])
    first, second = trace.stops
    assert (first.budget, first.top1.n, first.num_over) == (0.9, 2, 0)
    assert first.share == pytest.approx((0.88 + 0.86) / 2)
    assert first.macs == pytest.approx(first.share * DENSE_MACS)
    assert first.top1.mean == pytest.approx((0.6 + 0.7) / 2)
    assert (second.budget, second.top1.n, second.num_over) == (0.5, 1, 1)


def test_the_table_has_a_row_a_cell_and_budget(records):
    table = any_budget_table(frontiers(records))
    assert table.column("trained_budget") == [0.7, 0.7]
    assert table.column("budget") == [0.9, 0.5]
    assert any_budget_table(frontiers(records[:1])).rows == ()


def test_files_and_page_have_it_only_where_it_is(records, tmp_path):
    content = content_of(records, "A sweep")
    files = write_content(content, tmp_path / "with", ("csv", "md"))
    assert len(files["any-budget.csv"].read_text().splitlines()) == 1 + 2
    assert "Other budgets without retraining" in files["table.md"].read_text()
    assert "Other budgets without retraining" in page(content)
    bare = content_of(records[:1], "A sweep")
    assert "any-budget.csv" not in write_content(bare, tmp_path / "without", ("csv",))
    assert "Other budgets without retraining" not in page(bare)


def test_figure_and_script_are_given_the_stops(records):
    figure = pareto_figure(frontiers(records))
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    (xs,) = (line.get_xdata() for line in dashed)
    assert list(xs) == pytest.approx([0.87 * 4, 0.52 * 4])
    (panel,) = charts(frontiers(records)).data["panels"]
    trial = panel["cells"][1]["trials"][0]
    assert trial[TRIAL_FIELDS.index("shifted")] == [
        [budget, share * DENSE_MACS, top1] for budget, share, top1 in OTHERS
    ]
