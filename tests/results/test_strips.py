"""Which clips are shown as pictures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.clips import Clip, Clips
from results.content import content_of
from results.frontier import frontiers
from results.page import page
from results.record import InputDependence
from results.strips import NUM_EXTREMES, StripPanel, best, extremes, strip

DEPENDS = InputDependence(num_clips=6, num_routes=2, rank_correlation=1, low=1, high=1)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12))
def test_the_cheapest_and_dearest_are_the_outermost_and_never_the_same(told):
    clips = Clips(
        key="k",
        class_names=("a",),
        clips=tuple(
            Clip(name=str(i), label=0, prediction=0, share=s / 5, motion=1.0 if ok else None)
            for i, (s, ok) in enumerate(told)
        ),
    )
    cheap, dear = extremes(clips)
    shares = sorted(share / 5 for share, ok in told if ok)
    if len(set(shares)) < 2:
        assert (cheap, dear) == ([], [])
        return
    num = min(NUM_EXTREMES, len(shares) // 2)
    assert [clip.share for clip in cheap] == shares[:num]
    assert [clip.share for clip in dear] == shares[::-1][:num]
    assert not {clip.name for clip in cheap} & {clip.name for clip in dear}


def test_the_best_trial_has_gates_and_is_the_most_accurate(make_record):
    records = [
        make_record("dense", name="dense", budget=None, top1=0.99, share=1.0),
        make_record(budget=0.8, top1=0.9, share=0.8, input_dependence=DEPENDS),
        make_record(budget=0.6, top1=0.9, share=0.6, input_dependence=DEPENDS),
        make_record(budget=0.5, top1=0.7, share=0.5, input_dependence=DEPENDS),
    ]
    assert best(frontiers(records)[0]) == records[2]
    assert best(frontiers(records[:1])[0]) is None


def test_the_page_has_the_pictures_and_says_what_they_cost(make_record, make_clips):
    record = make_record(input_dependence=DEPENDS)
    clips = make_clips(record.key)
    shown = strip(clips, clips.clips[1], "data:image/jpeg;base64,AAAA")
    content = content_of([record], "A sweep").with_strips(
        [StripPanel("TSM", record.key, (shown,), (shown,)), StripPanel("x", "", why_not="None <b>")]
    )
    html = page(content)
    assert html.count('src="data:image/jpeg;base64,AAAA"') == 2
    assert f"Cheapest: {100 * clips.clips[1].share:.1f} %" in html
    assert "1 of 1 layers save frames, 1 save channels" in html
    assert "None &lt;b&gt;" in html


def test_a_wrong_prediction_is_told(make_clips):
    wrong = strip(make_clips("k"), make_clips("k").clips[1], "")
    assert (wrong.label, wrong.prediction) == ("class 1", "class 0")
    assert wrong.share == pytest.approx(make_clips("k").clips[1].share)
