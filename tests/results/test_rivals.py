"""Where the method beats which baseline is said in words, and where not as well."""

from __future__ import annotations

import pytest

from results import rivals
from results.content import content_of
from results.page import page
from results.report import write_content
from results.rivals import rivals_told


@pytest.fixture
def records(make_record):
    """On TSM slices are beaten; on TSN they win; on SlowFast nothing is shown."""
    gains = {"TSM": [0.1] * 8, "TSN": [-0.1] * 8, "SlowFast": [0.1, -0.1] * 4}
    return [
        made
        for recognizer, rows in gains.items()
        for seed, gain in enumerate(rows)
        for made in (
            make_record(seed=seed, recognizer=recognizer, top1=0.8 + gain),
            make_record("slice", name="slice", seed=seed, recognizer=recognizer, top1=0.8),
        )
    ]


def test_each_cell_is_told_with_what_can_be_said_of_it(records):
    assert rivals_told(content_of(records, "A sweep").comparisons) == [
        "VA-RED² against slice: more accurate in 1 (TSM on UCF-101 at 0.7: +10.0); "
        "less accurate in 1 (TSN on UCF-101 at 0.7: -10.0); "
        "no difference shown in 1 (SlowFast on UCF-101 at 0.7: +0.0)."
    ]


def test_few_seeds_are_told_as_such(records):
    few = [record for record in records if record.seed < 3]
    (told,) = rivals_told(content_of(few, "A sweep").comparisons)
    assert told.startswith(
        "VA-RED² against slice: more accurate nowhere; less accurate nowhere; too few seeds to say "
        "in 3 (TSM on UCF-101 at 0.7: +10.0, "
    )
    assert told.endswith("the mean is higher in 2, lower in 1.")


def test_page_and_table_hold_the_sentences(records, tmp_path):
    content = content_of(records, "A sweep")
    (told,) = rivals_told(content.comparisons)
    assert told in page(content)
    write_content(content, tmp_path, ("md",))
    assert "VA-RED² against slice: more accurate in 1" in (tmp_path / "table.md").read_text()


def test_of_many_pairs_the_number_is_told(records, monkeypatch):
    monkeypatch.setattr(rivals, "MAX_TOLD", 0)
    assert rivals_told(content_of(records, "A sweep").comparisons) == [
        "and 1 more pairs of methods."
    ]


def test_nothing_to_compare_nothing_to_say(records):
    alone = [record for record in records if record.method != "slice"]
    assert rivals_told(content_of(alone, "A sweep").comparisons) == []
