"""Regression: what is worse beyond noise, what cannot be told, what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.files import read_jsonl
from results.frontier import cells
from results.regression import ALL, MEASURES, THE_SAME, compare
from results.stats import ALPHA

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "weizmann-accuracy" / "records.jsonl"


def runs(make_record, n, **fields):
    return [make_record(seed=seed, **fields) for seed in range(n)]


def compared(new, committed):
    return compare(cells(new), cells(committed))


def change(found, measure="accuracy", pooled=False):
    (one,) = (c for c in found.changes if c.measure.name == measure and (c.cell == ALL) == pooled)
    return one


def test_the_same_records_are_the_same():
    records = read_jsonl(COMMITTED)
    found = compared(records, records)
    assert not found.regressed
    assert {one.verdict for one in found.changes} == {THE_SAME}
    assert found.num_pairs == found.num_same_trials == len(records)
    budgeted = {cell.method for cell in cells(records) if cell.budget}
    with_budget = sum(cell.method in budgeted for cell in cells(records))
    assert len(found.changes) == len(MEASURES) + 2 * len(cells(records)) + with_budget


@pytest.mark.parametrize("n", range(1, 9))
def test_one_cell_needs_as_many_seeds_as_sign_flips_do(make_record, n):
    found = compared(runs(make_record, n, top1=0.5), runs(make_record, n, top1=0.6))
    can = 2.0 ** (1 - n) <= ALPHA
    assert change(found).verdict == (
        "lower" if can else f"cannot be significant at 0.05 with n = {n}"
    )
    assert found.regressed == can


def test_better_is_no_regression(make_record):
    found = compared(runs(make_record, 6, top1=0.9), runs(make_record, 6, top1=0.5))
    assert change(found).is_improvement
    assert not found.regressed


def test_executing_more_is_worse_and_less_is_better(make_record):
    committed = runs(make_record, 6, share=0.7)
    more = compared(runs(make_record, 6, share=0.8), committed)
    less = compared(runs(make_record, 6, share=0.6), committed)
    assert change(more, "executed share").is_regression
    assert change(less, "executed share").is_improvement
    assert (more.regressed, less.regressed) == (True, False)


def test_budgets_that_are_kept_no_longer(make_record):
    over = runs(make_record, 6, budget_status="infeasible")
    found = compared(over, runs(make_record, 6))
    assert change(found, "within budget").is_regression
    assert change(found, "within budget").difference.mean == -1


def test_a_cell_alone_cannot_tell_but_all_together_can():
    records = read_jsonl(COMMITTED)
    worse = [
        record.model_copy(
            update={
                "accuracy": record.accuracy.model_copy(
                    update={"top1": record.accuracy.top1 - 0.2 - 0.001 * record.seed}
                )
            }
        )
        for record in records
    ]
    found = compared(worse, records)
    single = [c for c in found.changes if c.measure.name == "accuracy" and c.cell != ALL]
    assert all(c.verdict.startswith("cannot be significant at 0.05 with n = 5") for c in single)
    assert change(found, pooled=True).is_regression
    assert change(found, pooled=True).difference.n == len(records)
    assert found.regressed


def test_seeds_that_do_not_match_are_not_compared(make_record):
    new = [make_record(seed=seed) for seed in (0, 1, 2)]
    old = [make_record(seed=seed, top1=0.6) for seed in (2, 3)]
    difference = change(compared(new, old)).difference
    assert difference.n == 1
    assert difference.unpaired_seeds == (0, 1, 3)
    apart = compared(new, [make_record(seed=9)])
    assert change(apart).verdict == "no seed in common"
    assert not apart.regressed


def test_missing_and_added_cells_are_listed(make_record):
    found = compared(
        [make_record(), make_record("only new", name="other")],
        [make_record(), make_record("only old", name="other", budget=None)],
    )
    assert found.missing == ("UCF-101, TSM, only old",)
    assert found.added == ("UCF-101, TSM, only new at 0.7",)
    assert not found.regressed


def test_a_trial_that_failed_and_had_figures_is_a_regression(make_record):
    committed = runs(make_record, 2)
    found = compared([committed[0], make_record(seed=1, failed=True)], committed)
    assert found.newly_failed == ("UCF-101, TSM, VA-RED² at 0.7, seed 1",)
    assert found.regressed
    still = compared([make_record(failed=True)], [make_record(failed=True)])
    assert not still.regressed


def test_other_trials_of_the_same_cell_are_counted(make_record):
    found = compared(runs(make_record, 2), runs(make_record, 2, key="f" * 12)[:1])
    assert (found.num_pairs, found.num_same_trials) == (1, 0)
