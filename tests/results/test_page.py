"""The page: what it says, that it is one file, that no label can break it."""

from __future__ import annotations

import json
import math
import re
import time
from html.parser import HTMLParser

import pytest

from results import charts as charts_module
from results import page as page_module
from results.charts import charts
from results.content import Claim, content_of
from results.frontier import frontiers
from results.overview import overview
from results.page import page
from results.record import Macs
from results.shortlist import shortlist
from results.spread import distributions, policy_maps
from results.surroundings import environment, notes, recipe

HOSTILE = "</script><b id=bold>&\"'{{ 7 * 7 }}\u2028</style>"
ROUTES = {
    "backbone.conv1": {"frames": 0.5, "channels": 1.0},
    "backbone.conv2": {"frames": 1.0, "channels": 0.75},
}


@pytest.fixture
def records(make_record):
    return [
        *(
            make_record("dense", name="dense", budget=None, seed=seed, top1=0.9, share=1.0)
            for seed in range(6)
        ),
        *(make_record(seed=seed, top1=0.95 + 0.001 * seed, routes=ROUTES) for seed in range(6)),
        make_record("slice", name="slice", top1=0.7, budget_status="infeasible"),
        make_record("slice", name="slice", seed=1, failed=True),
    ]


def written(records, **also):
    return page(content_of(records, "A sweep", **also))


def data_of(html):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', html)[1]
    )


class Elements(HTMLParser):
    """Tags with their attributes, and all text outside of scripts."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_paragraph_says_what_was_compared_saved_shown_and_broken(records):
    text = " ".join(overview(content_of(records, "A sweep", num_missing=3)))
    assert text == (
        "14 trials of dense, VA-RED² and slice with TSM on UCF-101, at a budget of 0.7 of the "
        "dense multiply-adds; 2 to 6 a cell. "
        "VA-RED² executed 70.0 % of the dense multiply-adds in 0.80 times the dense recognizer's "
        "time for a clip; its top-1 accuracy is +5.2 points from the dense one's. "
        "slice executed 70.0 % of the dense multiply-adds in 0.80 times the dense recognizer's "
        "time for a clip; its top-1 accuracy is -20.0 points from the dense one's. "
        "No difference can be shown to be real: of 2 comparisons by seed 1 cannot be significant "
        "at 0.05 with n = 6 and 2 comparisons, whatever the outcome. "
        "1 cannot be significant at 0.05 with n = 1, whatever the outcome. "
        "1 trial failed, 1 stayed over budget and 3 of the sweep have no record yet."
    )


def test_significant_differences_are_named(records):
    without_slice = [record for record in records if record.method != "slice"]
    text = " ".join(overview(content_of(without_slice, "A sweep")))
    assert (
        "Of 1 comparison by seed 1 shows a difference significant at 0.05: "
        "VA-RED² at 0.7 is higher than dense, TSM on UCF-101 (+5.2 points)." in text
    )
    assert "No trial failed and none stayed over its budget." in text


def test_too_few_seeds_are_told(records):
    few = [record for record in records if record.seed < 3 and record.method != "slice"]
    text = " ".join(overview(content_of(few, "A sweep")))
    assert (
        "None of 1 comparison by seed can be significant at 0.05 with n = 3, whatever the outcome."
        in text
    )


def test_nothing_of_the_page_is_elsewhere(records):
    tags = Elements(written(records)).tags
    links = [a[name] for _, a in tags for name in ("src", "href", "srcset", "action") if name in a]
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    assert all("rel" not in a or a["rel"] == "icon" for tag, a in tags if tag == "link")
    assert "url(" not in written(records)


def test_all_tables_failures_and_notes_are_on_the_page(records):
    records = [r.model_copy(update={"warnings": ("20 gates",)}) for r in records]
    text = Elements(written(records, claims=[Claim("it saves", "HOLDS", "n = 6")])).text
    for part in ("Every cell", "Which differences are real", "Hypervolume", "out of memory",
                 "20 gates", "it saves", "HOLDS", "conv2", "over budget: TSM slice"):  # fmt: skip
        assert part in text


def test_sections_without_content_are_absent(make_record):
    html = written([make_record(failed=True)])
    for section in ("claims", "executed", "policies", "curves"):
        assert f'id="{section}"' not in html
    assert "VA-RED² has no figures." in html


def test_a_sweep_of_dense_recognizers_alone_has_a_page(make_record):
    html = written([make_record("dense", name="dense", budget=None, share=1.0)])
    assert "1 trial of dense with TSM on UCF-101; 1 a cell." in html


def test_labels_are_text_wherever_they_stand(make_record):
    labels = dict(dataset=HOSTILE, recognizer=HOSTILE)
    html = written(
        [
            make_record(HOSTILE, routes={HOSTILE: {"frames": 0.5, "channels": 0.5}}, **labels,
                        warnings=(HOSTILE,), environment={HOSTILE: HOSTILE}),
            make_record(HOSTILE, failed=True, seed=1, **labels),
        ],
        claims=[Claim(HOSTILE, HOSTILE, HOSTILE)],
    )  # fmt: skip
    found = Elements(html)
    assert not any(tag == "b" for tag, _ in found.tags)
    assert found.text.count("{{ 7 * 7 }}") > 10
    assert html.count("</script>") == 2
    assert data_of(html)["methods"][0]["label"] == HOSTILE


def test_the_same_records_give_the_same_page(records):
    assert written(records) == written(records)


def test_the_script_is_given_every_trial(records):
    data = charts(frontiers(records)).data
    (panel,) = data["panels"]
    trials = {t[1] for cell in panel["cells"] for t in cell["trials"]}
    assert trials == {record.key for record in records if record.status == "ok"}
    assert [(cell["budget"], cell["failed"]) for cell in panel["cells"]] == [
        (None, 0),
        (0.7, 0),
        (0.7, 1),
    ]


def test_half_widths_are_those_of_the_tables(records):
    (frontier,) = frontiers(records)
    widths = charts([frontier]).data["half_widths"]
    cell = frontier.cells[1]
    half = widths[cell.n] * cell.accuracy.sd
    assert cell.accuracy.mean + half == pytest.approx(cell.accuracy.high)


def test_curves_are_means_with_extremes_thinned_and_without_nan(make_record):
    def history(offset):
        return tuple({"epoch": float(e), "loss": offset + e} for e in range(1, 200)) + (
            {"epoch": 200.0, "loss": math.nan},
        )

    records = [make_record(seed=seed, history=history(10.0 * seed)) for seed in range(2)]
    (curves,) = charts(frontiers(records)).data["curves"]
    line = curves["cells"][0]["lines"]["loss"]
    assert len(line) <= charts_module.MAX_EPOCHS
    assert line[-1] == [199.0, 204.0, 199.0, 209.0]


def test_too_many_trials_are_left_out_by_panel_and_told(records, monkeypatch):
    monkeypatch.setattr(charts_module, "MAX_TRIALS", 10)
    assert charts(frontiers(records)).num_trials_left_out == 13
    assert "13 trials are not drawn" in written(records)


def test_long_tables_are_cut_and_the_page_says_so(records, monkeypatch):
    monkeypatch.setattr(page_module, "MAX_ROWS", 2)
    assert "2 of 3 rows are shown; frontier.csv has all." in written(records)


def test_the_frontier_comes_first_where_not_all_fit(records):
    found = frontiers(records)
    chosen = shortlist(found, 1, lambda cell: True)
    assert [cell.method for _, cells in chosen.panels for cell in cells] == ["VA-RED²"]
    assert chosen.num_left_out == 2


def test_ten_thousand_records_make_a_page_that_opens(make_record):
    records = [
        make_record("dense", name="dense", budget=None, seed=s, recognizer=f"net {r}", share=1.0)
        if b == 0
        else make_record(budget=b / 50, seed=s, recognizer=f"net {r}", share=b / 50, routes=ROUTES)
        for r in range(40)
        for b in range(50)
        for s in range(5)
    ]
    start = time.process_time()
    html = written(records)
    assert time.process_time() - start < 20
    assert len(html.encode()) < 6e6


def test_distributions_span_all_seeds(make_record):
    def macs(low, high):
        return Macs(dense=100, mean=70, p5=60, p50=70, p95=80, min=low, max=high)

    records = [make_record(seed=0, macs=macs(50, 90)), make_record(seed=1, macs=macs(40, 85))]
    ((panel,), left_out) = distributions(frontiers(records))
    (row,) = panel.rows
    assert (row.low, row.p5, row.mean, row.high, left_out) == (0.4, 0.6, 0.7, 0.9, 0)


def test_policies_are_means_over_seeds(make_record):
    half = {
        "backbone.conv1": {"frames": 0.5, "channels": 0.5},
        "backbone.conv2": ROUTES["backbone.conv2"],
    }
    records = [make_record(seed=0, routes=ROUTES), make_record(seed=1, routes=half)]
    ((found,), _) = policy_maps(frontiers(records))
    (policy,) = found.policies
    assert found.layers == ("backbone.conv1", "backbone.conv2")
    assert found.prefix == "backbone."
    assert policy.channels == {"backbone.conv1": 0.75, "backbone.conv2": 0.75}
    assert policy.told == "1 of 2 layers save frames, 2 save channels"


def test_where_trials_differ_is_told(make_record):
    records = [
        make_record(seed=0, code_revision="a" * 40, environment={"torch": "2.12"}),
        make_record(seed=1, code_revision="b" * 40, environment={"torch": "2.12"}),
    ]
    facts = {fact.name: fact for fact in environment(records)}
    assert facts["code revision"].differs
    assert facts["torch"].values == (("2.12", 2),)
    assert {fact.name for fact in recipe(records)} == {"timed repeats", "timed threads"}
    assert "The trials are not alike in: code revision." in written(records)


def test_warnings_are_counted_by_trial(make_record):
    records = [make_record(seed=s, warnings=("a", "a", f"only {s}")) for s in range(2)]
    assert notes(records)[0][0] == ("a", 2)
