"""Attainment surfaces: what a quarter, half and three quarters of the seeds reach."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.attainment import (
    MIN_SEEDS,
    QUANTILES,
    Attained,
    attainment,
    hypervolume_over_seeds,
)
from results.frontier import frontiers
from results.plots import pareto_figure
from results.record import Accuracy, Macs, Record

BUDGETS = (0.8, 0.5)
RIGHT = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=6)


def records(right):
    """A seed an entry; of 20 clips, how many were right at each budget."""
    return [
        Record(
            key=f"{seed}{budget}",
            status="ok",
            trial={},
            dataset="d",
            recognizer="r",
            method="m",
            budget=budget,
            seed=seed,
            accuracy=Accuracy(top1=n / 20, top5=1, mean_class=1, num_clips=20),
            macs=Macs(dense=100, mean=100 * budget - seed, p5=1, p50=1, p95=1, min=1, max=1),
        )
        for seed, counts in enumerate(right)
        for budget, n in zip(BUDGETS, counts, strict=True)
    ]


@settings(max_examples=40, deadline=None)  # the first call imports moocore
@given(RIGHT)
def test_a_corner_is_attained_by_as_many_seeds_as_it_says(right):
    found = records(right)
    surfaces = attainment(frontiers(found)[0], "m")
    assert tuple(surfaces) == QUANTILES
    for quantile, corners in surfaces.items():
        needed = math.ceil(len(right) * quantile / 100)
        for corner in corners:
            attaining = {
                r.seed
                for r in found
                if r.macs.mean <= corner.macs and r.accuracy.top1 >= corner.top1 - 1e-12
            }
            assert len(attaining) >= needed
        assert corners == sorted(corners)
        assert [c.top1 for c in corners] == sorted(c.top1 for c in corners)


def test_equal_seeds_have_one_surface_for_all():
    found = [
        r.model_copy(update={"macs": r.macs.model_copy(update={"mean": 100 * r.budget})})
        for r in records([(16, 10)] * MIN_SEEDS)
    ]
    corners = [Attained(50, 0.5), Attained(80, 0.8)]
    assert attainment(frontiers(found)[0], "m") == dict.fromkeys(QUANTILES, corners)


@pytest.mark.parametrize("left_out", [slice(0, 2), slice(0, 1), slice(0, 6, 2)])
def test_too_few_whole_seeds_or_budgets_have_none(left_out):
    found = records([(16, 10)] * MIN_SEEDS)
    assert attainment(frontiers(found)[0], "m")
    del found[left_out]
    assert attainment(frontiers(found)[0], "m") == {}


def test_the_figure_has_the_band_and_says_what_it_is():
    figure = pareto_figure(frontiers(records([(16, 10), (14, 8), (18, 12)])))
    bands = [c for c in figure.axes[0].collections if c.get_alpha() == 0.1]
    assert len(bands) == 1
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "middle half of the seeds" in texts


@settings(max_examples=40, deadline=None)
@given(right=RIGHT)
def test_hypervolume_over_seeds_is_the_mean_of_what_each_seed_dominates(right):
    (frontier,) = frontiers(records(right))
    areas = []
    for seed, counts in enumerate(right):
        (one, high), (two, low) = (
            (1 - budget + seed / 100, n / 20) for budget, n in zip(BUDGETS, counts, strict=True)
        )
        areas.append(one * high + two * low - min(one, two) * min(high, low))
    found = hypervolume_over_seeds(frontier, "m")
    assert found.n == len(right)
    assert found.mean == pytest.approx(sum(areas) / len(areas))
    assert found.low <= found.mean <= found.high


def test_a_seed_that_lacks_a_budget_has_no_hypervolume_of_its_own():
    (frontier,) = frontiers(records([(9, 9), (9, 9)])[:-1])
    assert hypervolume_over_seeds(frontier, "m").n == 1
