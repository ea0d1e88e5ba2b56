"""Whether saving goes with motion: the figures, and the file of clips that they are of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from results.clips import Clip, Clips, Route, distinct
from results.dependence import against_frozen, input_dependence, rank_correlation
from results.store import DamagedFileError, Store

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=12)


def clips(*points: tuple[float | None, float]) -> Clips:
    return Clips(
        key="abc",
        class_names=("run", "walk"),
        layers=("conv1",),
        routes=(Route(channels=(1.0,), frames=(0.5,)), Route(channels=(0.5,), frames=(1.0,))),
        clips=tuple(
            Clip(name=f"{i}", label=i % 2, prediction=0, share=share, motion=motion, route=i % 2)
            for i, (motion, share) in enumerate(points)
        ),
    )


@settings(max_examples=25, deadline=None)
@given(PAIRS)
def test_it_is_spearmans(pairs):
    first, second = zip(*pairs, strict=True)
    value, low, high = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert (value, low, high) == (None, None, None)
    else:
        assert value == pytest.approx(spearmanr(first, second).statistic)
        assert -1 <= low <= high <= 1


@settings(max_examples=25, deadline=None)
@given(PAIRS)
def test_only_the_order_matters(pairs):
    first, second = zip(*pairs, strict=True)
    stretched = [x**3 for x in first]
    assert rank_correlation(first, second) == pytest.approx(rank_correlation(stretched, second))


def test_a_perfect_order_excludes_zero_and_noise_does_not():
    steps = list(range(40))
    assert rank_correlation(steps, steps) == pytest.approx((1.0, 1.0, 1.0))
    noise = np.random.default_rng(3).normal(size=40)
    _, low, high = rank_correlation(steps, noise)
    assert low < 0 < high


def test_frames_are_told_apart_from_channels():
    moving = [10.0 * (i % 2) + i for i in range(20)]  # every other clip moves more, by route 1
    found = input_dependence(clips(*((motion, 0.5) for motion in moving)))
    assert found.rank_correlation is None  # all execute the same
    assert found.frames.value == pytest.approx(spearmanr(moving, [0.5, 1.0] * 10).statistic)
    assert 0 < found.frames.low < found.frames.high
    still = input_dependence(clips((None, 0.5), (1.0, 0.5), (None, 0.5), (2.0, 0.5), (3.0, 0.5)))
    assert still.frames.low <= 0  # by routes 1, 1 and 0


def test_one_odd_clip_shows_nothing():
    shares = [0.5] * 20 + [0.6]
    value, low, high = rank_correlation(range(21), shares)
    assert value > 0
    assert low <= 0 <= high


def test_frozen_minus_moving_by_clip():
    moving, frozen = [0.7, 0.8, 0.9, 0.6], [0.6, 0.7, 0.8, 0.5]
    found = against_frozen(moving, frozen)
    assert found.share == pytest.approx(sum(frozen) / 4)
    assert (found.difference, found.low, found.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert found.num_clips == 4


def test_clips_that_do_not_decode_say_nothing():
    found = input_dependence(clips((1, 0.5), (2, 0.6), (3, 0.7), (None, 0.1)))
    assert (found.num_clips, found.rank_correlation, found.num_routes) == (3, 1.0, 2)


def test_where_all_execute_the_same_there_is_no_order():
    found = input_dependence(clips((1, 0.5), (2, 0.5), (3, 0.5)))
    assert (found.rank_correlation, found.low, found.high) == (None, None, None)


@given(st.lists(st.sampled_from([0.5, 1.0]), max_size=20))
def test_clips_lead_back_to_their_routes(shares):
    all_routes = [Route(channels=(share,), frames=(1.0,)) for share in shares]
    routes, which = distinct(all_routes)
    assert [routes[i] for i in which] == all_routes
    assert len(set(routes)) == len(routes)


def test_clips_are_read_as_written_and_missing_ones_are_none(tmp_path):
    store, written = Store(tmp_path), clips((1.5, 0.5), (None, 0.6))
    assert store.read_clips("abc") is None
    store.write_clips(written)
    assert store.read_clips("abc") == written


def test_clips_of_another_trial_or_beyond_the_lists_are_damage(tmp_path):
    store = Store(tmp_path)
    path = store.write_clips(clips((1.5, 0.5)))
    path.rename(store.write_clips(clips().model_copy(update={"key": "other"})))
    with pytest.raises(DamagedFileError, match="must be of trial other, but is of abc"):
        store.read_clips("other")
    text = clips((1.5, 0.5)).model_dump_json()
    for wrong in ('"label":7', '"route":7'):
        bad = text.replace(wrong[:-1] + "0", wrong)
        assert bad != text
        path.write_text(bad)
        with pytest.raises(DamagedFileError, match="clips.json"):
            store.read_clips("abc")
