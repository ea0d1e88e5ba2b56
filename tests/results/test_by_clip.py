"""What the report says of single clips, and the chart of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results import by_clip as by_clip_module
from results import clouds as clouds_module
from results.by_clip import dependence_table, dependence_told, excludes_zero, to_show
from results.clouds import CLIP_FIELDS, clouds
from results.content import content_of
from results.frontier import frontiers
from results.page import page
from results.record import Frozen, InputDependence

UP, DOWN, NEITHER = (0.1, 0.4), (-0.4, -0.1), (-0.2, 0.3)


def depends(low, high, num_routes=5):
    middle = None if low is None else (low + high) / 2
    frozen = Frozen(num_clips=9, share=0.6, difference=-0.01, low=-0.02, high=-0.005)
    return InputDependence(
        num_clips=10,
        num_routes=num_routes,
        rank_correlation=middle,
        low=low,
        high=high,
        frozen=frozen,
    )


def answers(make_record, *all_ends):
    records = [
        make_record(seed=seed, input_dependence=depends(*ends))
        for seed, ends in enumerate(all_ends)
    ]
    table = dependence_table(frontiers(records))
    return table, table.column("answer")[0]


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ((UP, UP), "yes: clips that move more execute more"),
        ((DOWN, DOWN), "yes: clips that move more execute less"),
        ((UP, NEITHER), "not in every seed: 1 of 2 intervals exclude zero"),
        ((UP, DOWN), "not in every seed: 2 of 2 intervals exclude zero"),
        ((NEITHER, NEITHER), "not shown: no seed's interval excludes zero"),
        (((None, None, 1),) * 2, "no: every clip takes the same route"),
        (((None, None, 2),) * 2, "not shown: no seed's interval excludes zero"),
    ],
)
def test_it_says_yes_only_where_every_seed_does(make_record, ends, says):
    table, answer = answers(make_record, *ends)
    assert answer == says
    assert (answer.partition(":")[0] == "yes") == (
        f" in every seed in {1};" in dependence_told(table)
    )


@given(st.floats(-1, 1), st.floats(0, 1))
def test_an_interval_excludes_zero_on_one_side_or_not_at_all(low, width):
    sign = excludes_zero((low, low + width))
    assert (sign == 0) == (low <= 0 <= low + width)
    assert sign == 0 or sign * low > 0


def test_figures_are_means_and_outermost_ends(make_record):
    table, _ = answers(make_record, UP, NEITHER)
    (row,) = (dict(zip([c.name for c in table.columns], r, strict=True)) for r in table.rows)
    assert row["rank_correlation"] == pytest.approx((sum(UP) / 2 + sum(NEITHER) / 2) / 2)
    assert (row["correlation_low"], row["correlation_high"]) == (-0.2, 0.4)
    assert (row["n_correlated"], row["n_frozen_differ"], row["n"]) == (1, 2, 2)


def test_records_from_before_have_no_row_and_no_section(make_record):
    content = content_of(
        [make_record(), make_record("dense", name="dense", budget=None)], "A sweep"
    )
    assert content.dependence.rows == ()
    assert dependence_told(content.dependence) == ""
    assert 'id="motion"' not in page(content)


def test_the_chart_has_the_clips_that_decode(make_record, make_clips):
    record = make_record(input_dependence=depends(*UP))
    clips = make_clips(record.key, num_clips=7, unreadable=2)
    (trial,) = clouds(frontiers([record]), {record.key: clips})["trials"]
    assert trial["num_clips"] == len(trial["clips"]) == 5
    for point, clip in zip(trial["clips"], [c for c in clips.clips if c.motion], strict=True):
        told = dict(zip(CLIP_FIELDS, point, strict=True))
        assert told["share"] == pytest.approx(clip.share, abs=1e-4)
        assert (told["label"], told["name"]) == (clip.label, clip.name)
        assert told["is_right"] == (clip.label == clip.prediction)


def test_too_many_clips_and_cells_are_thinned_and_told(make_record, make_clips, monkeypatch):
    monkeypatch.setattr(clouds_module, "MAX_CLIPS", 4)
    monkeypatch.setattr(by_clip_module, "MAX_CLOUDS", 2)
    records = [make_record(budget=b / 10, input_dependence=depends(*UP)) for b in range(3, 8)]
    found = frontiers(records)
    shown = to_show(found)
    assert (len(shown.keys), shown.num_left_out) == (2, 3)
    clips = {key: make_clips(key, num_clips=10) for key in shown.keys}
    data = clouds(found, clips)
    assert [len(trial["clips"]) for trial in data["trials"]] == [4, 4]
    text = page(content_of(records, "A sweep").with_clips(clips))
    assert "3 cells are not offered" in text


def test_only_the_first_seed_of_a_cell_is_shown(make_record):
    records = [make_record(seed=s, input_dependence=depends(*UP)) for s in (2, 0, 1)]
    assert to_show(frontiers(records)).keys == (records[1].key,)


def test_without_the_files_the_page_says_so(make_record):
    content = content_of([make_record(input_dependence=depends(*UP))], "A sweep")
    assert "clips.json is not at hand" in page(content)
    assert "`x` is damaged. Its clips are not shown." in page(
        content.with_clips({}, ["`x` is damaged."])
    )
