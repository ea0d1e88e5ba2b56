"""Cells, dominance and hypervolume, against definitions spelled out by brute force."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.frontier import (
    cells,
    engine_saving,
    frontiers,
    hypervolume,
    non_dominated,
    realised_saving,
)
from results.record import Latency

# few distinct values, so that ties and equal points are common
point_lists = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=25)
unit = st.floats(0, 1, allow_nan=False).map(lambda x: round(x, 3))
unit_points = st.lists(st.tuples(unit, unit), max_size=12)


def dominates(p, q):
    return p[0] <= q[0] and p[1] >= q[1] and p != q


@given(point_lists)
def test_non_dominated_is_what_the_definition_says(points):
    expected = [not any(dominates(p, q) for p in points) for q in points]
    assert non_dominated(points) == expected


@given(point_lists, st.randoms())
def test_dominance_does_not_depend_on_the_order(points, random):
    shuffled = random.sample(points, len(points))
    assert sorted(p for p, kept in zip(points, non_dominated(points), strict=True) if kept) == (
        sorted(p for p, kept in zip(shuffled, non_dominated(shuffled), strict=True) if kept)
    )


def test_hypervolume_of_one_point_is_a_rectangle():
    share, accuracy = 0.3, 0.8
    assert hypervolume([(share, accuracy)]) == pytest.approx((1 - share) * accuracy)


def test_hypervolume_of_two_points_is_their_union():
    cheap, good = (0.2, 0.5), (0.6, 0.9)
    expected = (1 - cheap[0]) * cheap[1] + (1 - good[0]) * (good[1] - cheap[1])
    assert hypervolume([good, cheap]) == pytest.approx(expected)


@pytest.mark.parametrize("points", [[], [(1.0, 0.9)], [(1.2, 0.9)], [(0.5, 0.0)]])
def test_what_saves_nothing_or_knows_nothing_has_no_hypervolume(points):
    assert hypervolume(points) == 0


@given(unit_points)
def test_hypervolume_is_the_area_under_the_steps(points):
    edges = sorted({0.0, 1.0, *(share for share, _ in points)})
    area = sum(
        (right - left) * max((acc for share, acc in points if share <= left), default=0.0)
        for left, right in zip(edges, edges[1:], strict=False)
    )
    assert hypervolume(points) == pytest.approx(area, abs=1e-9)
    assert 0 <= hypervolume(points) <= 1


@given(unit_points, st.tuples(unit, unit))
def test_another_point_never_lessens_the_hypervolume(points, another):
    assert hypervolume([*points, another]) >= hypervolume(points) - 1e-12


@given(unit_points)
def test_dominated_points_add_no_hypervolume(points):
    kept = [p for p, keep in zip(points, non_dominated(points), strict=True) if keep]
    assert hypervolume(kept) == pytest.approx(hypervolume(points), abs=1e-12)


def test_a_cell_is_the_mean_over_its_seeds(make_record):
    accuracies, shares = [0.5, 0.6, 0.7], [0.68, 0.7, 0.69]
    (cell,) = cells(
        make_record(seed=seed, top1=top1, share=share)
        for seed, (top1, share) in enumerate(zip(accuracies, shares, strict=True))
    )
    t_two_degrees = 4.302652729911275  # the 97.5 % point of Student's t, from any printed table
    half = t_two_degrees * statistics.stdev(accuracies) / math.sqrt(3)

    assert cell.n == 3
    assert cell.accuracy.mean == pytest.approx(statistics.mean(accuracies))
    assert cell.accuracy.low == pytest.approx(statistics.mean(accuracies) - half)
    assert cell.accuracy.high == pytest.approx(statistics.mean(accuracies) + half)
    assert cell.share == pytest.approx(statistics.mean(shares))
    assert cell.macs.mean == pytest.approx(cell.share * cell.runs[0].macs.dense)
    assert cell.accuracy_by_seed() == dict(enumerate(accuracies))


def test_one_seed_has_no_interval(make_record):
    (cell,) = cells([make_record()])
    assert (cell.accuracy.low, cell.accuracy.high, cell.accuracy.sd) == (None, None, None)


def test_failed_and_infeasible_seeds_are_counted(make_record):
    (cell,) = cells(
        [
            make_record(seed=0, top1=0.4),
            make_record(seed=1, top1=0.6, budget_status="infeasible"),
            make_record(seed=2, failed=True),
        ]
    )
    assert (cell.n, cell.num_infeasible, len(cell.failed)) == (2, 1, 1)
    assert cell.accuracy.mean == pytest.approx(0.5)


def test_a_cell_in_which_all_failed_is_kept_and_never_on_the_frontier(make_record):
    (frontier,) = frontiers([make_record(failed=True), make_record("dense", name="dense", share=1)])
    assert [(c.method, on) for c, on in zip(frontier.cells, frontier.pareto, strict=True)] == [
        ("dense", True),
        ("VA-RED²", False),
    ]
    assert frontier.cells[1].accuracy is None


def test_dense_comes_first_and_budgets_go_down(make_record):
    (frontier,) = frontiers(
        [
            make_record("slice", name="slice", budget=0.5),
            make_record("slice", name="slice", budget=0.9),
            make_record("plain", name="dense", budget=None, share=1.0),
        ]
    )
    assert [(cell.method, cell.budget) for cell in frontier.cells] == [
        ("plain", None),
        ("slice", 0.9),
        ("slice", 0.5),
    ]
    assert frontier.dense is frontier.cells[0]
    assert frontier.dense_macs == frontier.cells[0].runs[0].macs.dense


def test_each_dataset_and_recognizer_has_its_own_frontier(make_record):
    records = [
        make_record(dataset=dataset, recognizer=recognizer)
        for dataset in ("A", "B")
        for recognizer in ("TSN", "TSM")
    ]
    assert [(f.dataset, f.recognizer) for f in frontiers(records)] == [
        ("A", "TSN"),
        ("A", "TSM"),
        ("B", "TSN"),
        ("B", "TSM"),
    ]


def test_a_record_given_twice_counts_once(make_record):
    (cell,) = cells([make_record(), make_record()])
    assert cell.n == 1


def test_labels_that_do_not_tell_trials_apart_are_refused(make_record):
    one = make_record()
    other = one.model_copy(update={"key": "ffff"})
    with pytest.raises(ValueError, match=rf"{one.key}, ffff are all .*VA-RED².* seed 0"):
        cells([one, other])


def test_the_realised_saving_is_time_saved_over_macs_saved(make_record):
    latency = Latency(
        dense_ms_p50=100, dense_ms_p95=100, ms_p50=85, ms_p95=90, num_repeats=1, num_threads=1
    )
    record = make_record(share=0.7, latency=latency)
    assert realised_saving(record) == pytest.approx((1 - 85 / 100) / (1 - 0.7))
    assert engine_saving(record) is None
    engine = latency.model_copy(update={"engine_dense_ms_p50": 50.0, "engine_ms_p50": 30.0})
    timed = make_record(share=0.7, latency=engine)
    assert engine_saving(timed) == pytest.approx((1 - 30 / 50) / (1 - 0.7))
    assert engine_saving(make_record(share=1.0, latency=engine)) is None
    assert realised_saving(make_record(share=1.0)) is None
    assert realised_saving(make_record(latency=None)) is None
