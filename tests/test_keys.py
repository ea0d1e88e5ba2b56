"""What was run before is found again: today's code gives committed trials the keys they had."""

from __future__ import annotations

import json
from pathlib import Path

from harness.trial import Trial
from registry.tables import DATASETS, METHODS

COMMITTED = Path(__file__).parents[1] / "benchmarks" / "weizmann-splits" / "records.jsonl"


def test_committed_trials_are_resolved_to_what_they_were() -> None:
    records = [json.loads(line) for line in COMMITTED.read_text().splitlines()]
    assert {record["trial"]["method"]["name"] for record in records} == {"dense", "vared", "narrow"}
    for record in records:
        trial = record["trial"]
        for table, part in ((METHODS, trial["method"]), (DATASETS, trial["dataset"])):
            resolved = table.load(part["name"]).settings_type(**part["settings"])
            assert resolved.model_dump(mode="json") == part["settings"]
        assert Trial.model_validate(trial).key == record["key"]
