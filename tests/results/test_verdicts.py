"""Verdicts: every claim gets one, by the tolerance that stands beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from results.citation import MARGIN, SAVING, SPREAD, WINDOW, Count, NotHere, OnSweep
from results.files import read_jsonl
from results.frontier import frontiers
from results.published import CLAIMS, PUBLISHED
from results.record import Correlation, InputDependence, Macs
from results.stats import ALPHA
from results.verdicts import Counted, clip_of, judge

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SAVES = next(one for one in CLAIMS if one.id == "paper-saving")
DEPENDS = next(one for one in CLAIMS if one.id == "paper-input-dependent")
STILL = next(one for one in CLAIMS if one.id == "paper-static-videos")


def sweep(make_record, losses, share=0.7, budgets=(0.7,)):
    """Dense and VA-RED² by seed, the latter less accurate by `losses`."""
    records = []
    for seed, loss in enumerate(losses):
        dense = 0.8 + 0.001 * seed
        records.append(
            make_record("dense", name="dense", budget=None, seed=seed, top1=dense, share=1.0)
        )
        records += [
            make_record(budget=budget, seed=seed, top1=dense - loss, share=share)
            for budget in budgets
        ]
    return frontiers(records)


def words(claim, panels):
    return [verdict.word for verdict in judge([claim], panels)]


def test_ids_differ_and_everything_is_said_of_each():
    assert len({one.id for one in PUBLISHED}) == len(PUBLISHED)
    for one in PUBLISHED:
        assert all((one.id, one.text, one.source, one.protocol, one.tolerance)), one.id
        assert re.fullmatch(r"[a-z0-9.-]+", one.id)


def test_recalled_claims_have_no_figures_and_say_what_they_are():
    recalled = [one for one in PUBLISHED if one.kind == "recalled"]
    assert recalled
    for one in recalled:
        (verdict,) = judge([one])
        assert verdict.word == "NOT RUN"
        assert "recalled, not read in the paper" in verdict.claim.claim
        assert not re.search(r"\d %|\d\.\d", one.text)


def test_every_claim_has_a_verdict_without_anything_measured():
    verdicts = judge(PUBLISHED)
    assert [verdict.published for verdict in verdicts] == list(PUBLISHED)
    assert {verdict.word for verdict in verdicts} == {"NOT RUN"}
    assert all(verdict.evidence for verdict in verdicts)


COUNTS = [one for one in PUBLISHED if isinstance(one.check, Count)]


@pytest.mark.parametrize("one", COUNTS, ids=lambda one: one.id)
def test_a_count_is_reproduced_within_half_of_the_last_printed_digit(one):
    printed, tolerance = float(one.check.printed), one.check.tolerance
    decimals = len(one.check.printed.partition(".")[2])
    assert tolerance == pytest.approx(0.5 * 10**-decimals)

    def word(value):
        found = Counted(value, round(value * 1e6), (1, 8, 3, 224, 224))
        (verdict,) = judge([one], counted={clip_of(one.check): found})
        return verdict.word

    assert word(printed + 0.9 * tolerance) == "REPRODUCED"
    assert word(printed - 0.9 * tolerance) == "REPRODUCED"
    assert word(printed + 1.1 * tolerance) == "NOT REPRODUCED"


def test_what_could_not_be_counted_says_why():
    one = next(p for p in PUBLISHED if isinstance(p.check, Count))
    (verdict,) = judge([one], counted={clip_of(one.check): "no such config"})
    assert (verdict.word, verdict.evidence) == ("NOT RUN", "no such config")


def test_accuracies_of_others_are_not_run():
    for one in PUBLISHED:
        if one.kind == "peer" or one.id.endswith(".top1"):
            assert isinstance(one.check, NotHere)


@pytest.mark.parametrize(
    ("loss", "word"),
    [
        (-0.1, "REPRODUCED"),
        (0.0, "REPRODUCED"),
        (0.9 * MARGIN, "REPRODUCED"),
        (1.1 * MARGIN, "NOT REPRODUCED"),
        (0.3, "NOT REPRODUCED"),
    ],
)
def test_no_loss_means_less_than_the_margin(make_record, loss, word):
    assert words(SAVES, sweep(make_record, [loss] * 6)) == [word]


def test_a_loss_that_differs_by_seed_is_within_noise(make_record):
    losses = [MARGIN + step for step in (-0.05, -0.03, -0.01, 0.01, 0.03, 0.05)]
    assert words(SAVES, sweep(make_record, losses)) == ["WITHIN NOISE"]


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("num_cells", [1, 2])
def test_few_seeds_decide_nothing(make_record, n, num_cells):
    panels = sweep(make_record, [0.0] * n, budgets=(0.7, 0.65)[:num_cells])
    smallest = num_cells * 2.0**-n  # all signs alike, one-sided, Holm's first step
    expected = "NOT RUN" if n < 3 else "WITHIN NOISE" if smallest > ALPHA else "REPRODUCED"
    verdicts = judge([SAVES], panels)
    assert [verdict.word for verdict in verdicts] == [expected] * num_cells
    if expected == "WITHIN NOISE":
        assert f"cannot be decided at 0.05 with n = {n}" in verdicts[0].evidence


@pytest.mark.parametrize(
    ("share", "is_run"),
    [
        (1 - SAVING[0], True),
        (1 - SAVING[1], True),
        (1 - SAVING[1] - WINDOW, True),
        (1 - SAVING[0] + 0.01, False),
        (1 - SAVING[1] - WINDOW - 0.01, False),
    ],
)
def test_only_what_saves_as_much_as_is_claimed_is_judged(make_record, share, is_run):
    (word,) = words(SAVES, sweep(make_record, [0.0] * 6, share=share))
    assert (word != "NOT RUN") == is_run


def test_a_sweep_without_dense_or_without_the_method_is_not_run(make_record):
    alone = frontiers([make_record(seed=seed) for seed in range(6)])
    (verdict,) = judge([SAVES], alone)
    assert (verdict.word, verdict.evidence) == ("NOT RUN", "no dense recognizer with figures")
    narrow = frontiers([make_record("narrow", name="narrow")])
    (verdict,) = judge([SAVES], narrow)
    assert verdict.evidence == "the sweep has no vared with figures"


@pytest.mark.parametrize(
    ("spread", "word"), [(SPREAD, "REPRODUCED"), (0.5 * SPREAD, "NOT REPRODUCED")]
)
def test_how_much_the_clips_must_differ(make_record, spread, word):
    dense = 10_000
    low, high = 5000, 5000 + round(spread * dense)
    macs = Macs(dense=dense, mean=low + 1, p5=low, p50=low, p95=high, min=low, max=high)
    assert words(DEPENDS, frontiers([make_record(macs=macs)])) == [word]


def test_the_committed_sweep():
    """The verdicts that docs/reproduction.md states."""
    panels = frontiers(read_jsonl(BENCHMARKS / "weizmann-accuracy" / "records.jsonl"))
    assert words(SAVES, panels) == ["REPRODUCED"] * 3
    assert words(DEPENDS, panels) == ["NOT REPRODUCED"] * 3
    on_sweep = [one for one in CLAIMS if isinstance(one.check, OnSweep)]
    for verdict in judge(on_sweep, panels):
        assert "vared at 0.7" in verdict.claim.claim


UP, DOWN, NEITHER, ALIKE = (0.1, 0.3), (-0.3, -0.1), (-0.1, 0.1), (None, None)


@pytest.mark.parametrize(
    ("ends_by_seed", "word"),
    [
        ([UP, UP, UP], "REPRODUCED"),
        ([UP, UP, NEITHER], "WITHIN NOISE"),
        ([NEITHER, DOWN, UP], "WITHIN NOISE"),
        ([UP, ALIKE, UP], "WITHIN NOISE"),
        ([DOWN, DOWN, DOWN], "NOT REPRODUCED"),
        ([ALIKE, ALIKE, ALIKE], "NOT REPRODUCED"),
    ],
)
def test_still_clips_compute_fewer_frames_only_where_every_seed_says_so(
    make_record, ends_by_seed, word
):
    def record(seed, low, high):
        middle = None if low is None else (low + high) / 2
        depends = InputDependence(
            num_clips=9,
            num_routes=3,
            rank_correlation=None,
            low=None,
            high=None,
            frames=Correlation(value=middle, low=low, high=high),
        )
        return make_record(seed=seed, input_dependence=depends)

    panels = frontiers([record(seed, *ends) for seed, ends in enumerate(ends_by_seed)])
    assert words(STILL, panels) == [word]


def test_records_without_the_frames_of_clips_say_nothing_of_them(make_record):
    assert words(STILL, frontiers([make_record()])) == ["NOT RUN"]
