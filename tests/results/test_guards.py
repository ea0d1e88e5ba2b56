"""Guards: what is too good is flagged with its figures, what is not is left alone."""

from __future__ import annotations

import io
import math
import statistics
from pathlib import Path

import pytest
from rich.console import Console

from results.content import CHECK, EXPLAINED, MAX_FLAGS, content_of
from results.files import read_jsonl
from results.frontier import frontiers
from results.guards import flags
from results.page import page
from results.record import EngineCheck, Macs
from results.report import terminal, write_report

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DENSE = 1000


def found(records):
    return {flag.name.split("/")[0]: flag for flag in flags(frontiers(records))}


def macs(mean, low=None, high=None, dense=DENSE):
    low, high = low or int(mean), high or int(mean)
    return Macs(dense=dense, mean=mean, p5=low, p50=mean, p95=high, min=low, max=high)


def with_settings(record, **parts):
    """The record with settings, and names, of parts of its trial."""
    trial = {**record.trial}
    for part, changes in parts.items():
        trial[part] = {**trial[part], **changes}
    return record.model_copy(update={"trial": trial})


def pairs(make_record, gains, dense=0.5):
    records = []
    for seed, gain in enumerate(gains):
        own = dense + 0.01 * seed
        records.append(
            make_record("dense", name="dense", budget=None, seed=seed, top1=own, share=1.0)
        )
        records.append(make_record(seed=seed, top1=own + gain))
    return records


@pytest.mark.parametrize("mean_gain", [0.02, 0.08, 0.2])
def test_above_dense_by_more_than_three_standard_errors(make_record, mean_gain):
    gains = [mean_gain + step for step in (-0.03, -0.01, 0.01, 0.03)]
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    flagged = "above-dense" in found(pairs(make_record, gains))
    assert flagged == (mean_gain > 3 * error)


def test_the_sentence_has_the_figures(make_record):
    flag = found(pairs(make_record, [0.1, 0.1, 0.1]))["above-dense"]
    assert flag.name == "above-dense/UCF-101/TSM/VA-RED²/0.7"
    assert flag.sentence == (
        "VA-RED² at 0.7, TSM on UCF-101: 10.0 points above dense, more than 3 standard errors of "
        "the difference paired by seed, 0.00 points (n = 3)"
    )


def test_as_accurate_as_dense_or_one_pair_alone_is_not_flagged(make_record):
    assert found(pairs(make_record, [0.0, 0.0, 0.0])) == {}
    assert found(pairs(make_record, [0.3])) == {}


@pytest.mark.parametrize(
    ("axes", "space", "floor"),
    [
        (["channel", "time"], 2, 1 / 4),
        (["channel", "time"], 3, 1 / 16),
        (["time"], 2, 1 / 2),
        (["channel"], 3, 1 / 4),
    ],
)
def test_executed_below_what_the_gates_can_reach(make_record, axes, space, floor):
    settings = {"method": {"settings": {"axes": axes, "search_space": space}}}
    at, below = int(DENSE * floor) + 1, int(DENSE * floor) - 1
    reached = with_settings(make_record(macs=macs(at)), **settings)
    too_low = with_settings(make_record(macs=macs(at, low=below, high=at)), **settings)
    assert "below-floor" not in found([reached])
    assert f"below {100 * floor:.2f} %" in found([too_low])["below-floor"].sentence


def test_a_layer_that_computed_less_than_its_gate_can(make_record):
    method = {"settings": {"axes": ["time"], "search_space": 2}}
    routes = {"conv1": {"frames": 0.5, "channels": 1.0}, "conv2": {"frames": 0.49, "channels": 1.0}}
    flag = found([with_settings(make_record(routes=routes), method=method)])["below-floor"]
    assert "layer conv2 computed 49.00 % of its frames" in flag.sentence
    narrower = {"conv1": {"frames": 1.0, "channels": 0.9}}
    flag = found([with_settings(make_record(routes=narrower), method=method)])["below-floor"]
    assert "90.00 % of its channels, and its gate can reduce them to 100 %" in flag.sentence


def test_a_method_without_gates_has_no_floor(make_record):
    assert found([make_record("narrow", name="narrow", macs=macs(1.0))]) == {}


def test_identical_seeds(make_record):
    varied = macs(700.5, low=600, high=800)
    same = [make_record(seed=seed, macs=varied) for seed in (0, 1)]
    flag = found(same)["identical-0-1"]
    assert "seeds 0, 1 have the same accuracy, 50.00 %, and the same executed MACs" in flag.sentence
    assert found([same[0], make_record(seed=1, top1=0.51, macs=varied)]) == {}
    other = macs(700.6, low=600, high=800)
    assert found([same[0], make_record(seed=1, macs=other)]) == {}


def test_where_all_clips_cost_the_same_the_losses_decide(make_record):
    runs = [make_record(seed=seed, top1=1.0) for seed in (0, 1, 2)]
    assert "identical-0-1-2" in found(runs)
    learned = [
        run.model_copy(update={"history": ({"epoch": 1.0, "loss": 2.0 + run.seed},)})
        for run in runs
    ]
    assert found(learned) == {}


@pytest.mark.parametrize(("in_memory", "ceiling"), [(True, 0.50), (False, 0.55)])
def test_tsn_above_its_ceiling_where_only_order_tells(make_record, in_memory, ceiling):
    dataset = {"name": "weizmann", "settings": {"task": "phase", "reversed_in_memory": in_memory}}

    def of(top1, **parts):
        return found(
            [
                with_settings(
                    make_record(recognizer="TSN", top1=top1), **{"dataset": dataset} | parts
                )
            ]
        )

    assert of(ceiling) == {}
    assert "does not say `keep: mirrored`" in of(ceiling + 0.01)["above-ceiling"].sentence
    blind = {"settings": {"keep": "mirrored"}}
    assert "keep" not in of(ceiling + 0.01, method=blind)["above-ceiling"].sentence
    assert of(0.99, dataset={"name": "weizmann", "settings": {"task": "action"}}) == {}
    assert of(0.99, recognizer={"name": "tsm"}) == {}


def test_an_engine_that_disagrees(make_record):
    def check(disagreeing):
        return EngineCheck(
            num_clips=100, num_disagreeing=disagreeing, worst_difference=0.25, macs_mean=1.0
        )

    assert found([make_record(engine=check(0))]) == {}
    sentence = found([make_record(engine=check(3), seed=4)])["engine"].sentence
    assert "another prediction for 3 of 100 clips (seed 4)" in sentence


def test_failed_trials_and_records_without_a_trial_are_left_alone(make_record):
    assert found([make_record(failed=True), make_record(seed=1, trial={})]) == {}


def test_committed_records():
    for name in ("weizmann", "weizmann-accuracy", "quick"):
        assert found(read_jsonl(BENCHMARKS / name / "records.jsonl")) == {}
    # TSM learns about order sooner with gates than without: docs/findings.md
    (flag,) = found(read_jsonl(BENCHMARKS / "weizmann-splits" / "records.jsonl")).values()
    assert flag.name == "above-dense/two people/TSM/vared/0.7"


def test_every_form_of_the_report_shows_them_until_they_are_explained(make_record, tmp_path):
    records = pairs(make_record, [0.1, 0.1, 0.1])
    (flag,) = flags(frontiers(records))
    write_report(records, tmp_path, "Sweep", formats=["md"])
    content = content_of(records, "Sweep")
    console = Console(file=io.StringIO(), width=300)
    console.print(terminal(content))
    for text in ((tmp_path / "table.md").read_text(), page(content), console.file.getvalue()):
        assert CHECK in text
        assert "10.0 points above dense" in text
    explained = content_of(records, "Sweep", explained={flag.name: "Dense had not converged."})
    (claim,) = explained.judged
    assert claim.verdict == EXPLAINED
    assert claim.evidence.endswith("Dense had not converged.")


def test_an_explanation_of_nothing_is_told(make_record):
    (claim,) = content_of([make_record()], "Sweep", explained={"engine/x": "old"}).judged
    assert (claim.verdict, claim.evidence) == (CHECK, "nothing is flagged engine/x")


def test_many_flags_are_counted(make_record):
    check = EngineCheck(num_clips=9, num_disagreeing=1, worst_difference=0.1, macs_mean=1.0)
    records = [make_record(f"method {i}", engine=check) for i in range(MAX_FLAGS + 7)]
    judged = content_of(records, "Sweep").judged
    assert len(judged) == MAX_FLAGS + 1
    assert judged[-1].claim == "7 more figures are too good"
