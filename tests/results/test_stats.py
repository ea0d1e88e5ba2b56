"""Intervals and tests over seeds, against enumeration and cases known in advance."""

from __future__ import annotations

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.stats import (
    NUM_RESAMPLES,
    holm,
    mean_interval,
    paired_difference,
    paired_differences,
    smallest_p,
    verdict,
)

accuracies = st.integers(0, 200).map(lambda clips: clips / 200)
paired = st.lists(st.tuples(accuracies, accuracies), min_size=1, max_size=7)
slow = settings(max_examples=40, deadline=None)


def compare(first, second):
    return paired_difference(dict(enumerate(first)), dict(enumerate(second)))


def enumerated_p(differences):
    """Share of all sign flips whose sum is at least as far from 0 as the one seen."""
    seen = abs(sum(differences))
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(s >= seen - 1e-9 for s in sums) / len(sums)


@slow
@given(paired)
def test_the_p_value_is_that_of_full_enumeration(pairs):
    first, second = zip(*pairs, strict=True)
    differences = [a - b for a, b in pairs]
    assert compare(first, second).p_value == pytest.approx(enumerated_p(differences))


@slow
@given(paired)
def test_swapping_turns_the_sign_and_keeps_the_p_value(pairs):
    first, second = zip(*pairs, strict=True)
    one, other = compare(first, second), compare(second, first)
    assert one.mean == pytest.approx(-other.mean)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.p_value >= one.smallest_p


@slow
@given(paired)
def test_the_interval_lies_within_the_differences(pairs):
    first, second = zip(*pairs, strict=True)
    difference = compare(first, second)
    if difference.n < 3:
        assert difference.low is None
        assert difference.high is None
    else:
        seen = [a - b for a, b in pairs]
        assert min(seen) - 1e-9 <= difference.low <= difference.high <= max(seen) + 1e-9


def test_equal_differences_give_a_point_whatever_their_last_bits():
    difference = compare([0.75, 0.8, 0.35], [0.7, 0.75, 0.3])  # 0.05, but for rounding
    assert (difference.low, difference.high) == (pytest.approx(0.05), pytest.approx(0.05))
    assert difference.p_value == 2 / 2**3


def test_no_difference_at_all_is_never_significant():
    difference = compare([0.5] * 8, [0.5] * 8)
    assert (difference.mean, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)


def test_seeds_pair_by_number_not_by_order():
    difference = paired_difference({1: 0.9, 0: 0.5, 7: 0.1}, {0: 0.4, 1: 0.8, 3: 0.2})
    assert difference.mean == pytest.approx(0.1)
    assert (difference.n, difference.unpaired_seeds) == (2, (3, 7))


def test_no_seed_in_common_says_so():
    difference = paired_difference({0: 0.5}, {1: 0.5})
    assert (difference.n, difference.p_value) == (0, None)
    assert verdict(difference, 1.0) == "no seed in common"


def test_the_same_values_give_the_same_interval():
    first, second = [0.5, 0.61, 0.58, 0.7, 0.66], [0.48, 0.6, 0.6, 0.61, 0.6]
    assert compare(first, second) == compare(first, second)


def test_many_pairs_are_sampled_and_still_found_significant():
    n = 20
    difference = compare([0.6 + 0.001 * i for i in range(n)], [0.5] * n)
    assert difference.p_value == pytest.approx(2 / (NUM_RESAMPLES + 1))
    assert difference.p_value == pytest.approx(smallest_p(n))


@pytest.mark.parametrize("n", range(1, 12))
def test_the_smallest_p_is_reached_when_all_seeds_agree(n):
    difference = compare([0.6] * n, [0.5] * n)
    assert smallest_p(n) == min(1, 2 / 2**n)
    assert difference.p_value == pytest.approx(smallest_p(n))


@pytest.mark.parametrize(
    ("n", "num_comparisons", "expected"),
    [
        (3, 1, "cannot be significant at 0.05 with n = 3"),
        (5, 1, "cannot be significant at 0.05 with n = 5"),
        (6, 1, "higher"),
        (6, 2, "cannot be significant at 0.05 with n = 6 and 2 comparisons"),
        (8, 6, "higher"),
    ],
)
def test_the_verdict_says_what_few_seeds_cannot(n, num_comparisons, expected):
    difference = compare([0.6] * n, [0.5] * n)
    p_adjusted = min(1, num_comparisons * difference.p_value)
    assert verdict(difference, p_adjusted, num_comparisons) == expected


def test_the_verdict_names_the_direction_or_none():
    worse = compare([0.4] * 6, [0.5] * 6)
    mixed = compare([0.4, 0.6] * 3, [0.5] * 6)
    assert verdict(worse, worse.p_value) == "lower"
    assert verdict(mixed, mixed.p_value) == "no difference shown"


def test_holm_steps_down():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([3 * 0.01, 2 * 0.03, 2 * 0.03, 4 * 0.005])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    ranked = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert ranked == sorted(ranked)


@given(st.lists(accuracies, min_size=2, max_size=9))
def test_the_interval_is_around_the_mean(values):
    estimate = mean_interval(values)
    assert estimate.mean == pytest.approx(statistics.fmean(values))
    assert estimate.high - estimate.mean == pytest.approx(estimate.mean - estimate.low)


@pytest.mark.parametrize("values", [[], [0.5, float("nan")], [float("inf")]])
def test_a_mean_needs_finite_values(values):
    with pytest.raises(ValueError, match="must be finite"):
        mean_interval(values)


def test_many_differences_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    pairs = [
        (dict(enumerate(rng.random(n))), dict(enumerate(rng.random(n))))
        for n in (0, 1, 2, 3, 5, 5, 5, 8, 16, 16)
    ]
    pairs += [(pairs[4][0], pairs[4][0]), ({0: 0.5, 1: 0.5, 7: 1.0}, {0: 0.4, 1: 0.4, 8: 1.0})]
    together = paired_differences(pairs)
    alone = [paired_difference(*pair) for pair in pairs]
    assert [repr(difference) for difference in together] == [repr(d) for d in alone]
