"""From a sweep to trials: what is multiplied by what, and what a key depends on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.budgets import BudgetsError, parse
from harness.expand import expand
from harness.plan import name_of, stored
from harness.resolved import resolve
from harness.schema import schema
from harness.starts import source_of, waves
from harness.trial import KEY_LENGTH, Choice, Recipe, Trial
from registry import tables
from results.record import Record


def test_dense_is_trained_once_and_gated_at_every_budget(document: dict[str, Any]) -> None:
    trials = expand(parse(document))
    assert len(trials) == 2 * 2 * (1 + 2)
    count = Counter((t.recognizer.name, t.method.name, t.budget, t.seed) for t in trials)
    assert set(count.values()) == {1}
    assert {t.budget for t in trials if t.method.name == "dense"} == {None}
    assert {t.budget for t in trials if t.method.name == "gated"} == {0.8, 0.6}


def test_order_and_keys_are_the_same_twice(document: dict[str, Any]) -> None:
    first, second = (expand(parse(document)) for _ in range(2))
    assert [t.key for t in first] == [t.key for t in second]
    assert [t.seed for t in first] == sorted(t.seed for t in first)


def test_a_trial_is_resolved(document: dict[str, Any]) -> None:
    trial = expand(parse(document))[1]
    assert trial.method.settings == {"temperature": 1.0, "channels": True}
    assert trial.dataset.settings == {"num_classes": 4}
    assert trial.data_digest == "clips-4"
    assert name_of(trial) == "clips tsn gated 0.8 seed 0"


def test_what_is_twice_in_the_file_runs_once(document: dict[str, Any]) -> None:
    assert len(expand(parse(document | {"budgets": [0.8, 0.6, 0.8]}))) == 12
    relabelled = ["gated", {"name": "gated", "label": "same", "temperature": 1}]
    assert len(expand(parse(document | {"methods": relabelled}))) == 8


def test_recipes_override_from_the_general_to_the_particular(document: dict[str, Any]) -> None:
    layered = document | {
        "recipe": {"epochs": 2, "batch": 4, "lr": 0.5},
        "datasets": [{"name": "clips", "recipe": {"batch": 8, "lr": 0.25}}],
        "recognizers": [{"name": "tsn", "recipe": {"lr": 0.125}}],
    }
    assert expand(parse(layered))[0].recipe == Recipe(epochs=2, batch=8, lr=0.125)


def test_a_method_may_have_budgets_of_its_own(document: dict[str, Any]) -> None:
    methods = ["gated", {"name": "gated", "label": "cool", "temperature": 2, "budgets": [0.3]}]
    trials = expand(parse(document | {"methods": methods}))
    assert {(t.method.label, t.budget) for t in trials} == {
        ("gated", 0.8),
        ("gated", 0.6),
        ("cool", 0.3),
    }


def test_a_grid_multiplies_and_zip_goes_in_step(document: dict[str, Any]) -> None:
    small = document | {"recognizers": ["tsn"], "seeds": 1, "budgets": [0.8]}
    grid = {"recipe.lr": [0.1, 0.2], "gated.temperature": [1, 2, 3]}
    labels = [t.method.label for t in expand(parse(small | {"search": grid}))]
    assert labels[:2] == ["dense lr=0.1", "dense lr=0.2"]
    assert len(labels) == 2 + 2 * 3
    step = {"mode": "zip", "recipe.lr": [0.1, 0.2], "recipe.batch": [4, 8]}
    trials = expand(parse(small | {"search": [step, {"gated.temperature": [1, 2]}]}))
    assert [(t.recipe.lr, t.recipe.batch) for t in trials[:2]] == [(0.1, 4), (0.2, 8)]
    assert len(trials) == 2 + 2 * 2


def test_too_many_trials_are_refused_with_both_numbers(document: dict[str, Any]) -> None:
    with pytest.raises(BudgetsError, match=r"12 trials.*`max_trials`, 11"):
        expand(parse(document | {"max_trials": 11}))


def test_every_unusable_data_set_is_told(document: dict[str, Any]) -> None:
    wrong = ["clips", "absent", {"name": "absent", "label": "other"}]
    with pytest.raises(BudgetsError) as caught:
        expand(parse(document | {"datasets": wrong}), Path("/nowhere"))
    assert [p.split("`")[1] for p in caught.value.problems] == ["datasets[1]", "datasets[2]"]


def test_the_schema_knows_the_choices(document: dict[str, Any]) -> None:
    described = schema()
    names, *mappings = described["properties"]["methods"]["items"]["anyOf"]
    assert names == {"enum": ["dense", "gated"]}
    assert "temperature" in mappings[1]["properties"]
    assert described["properties"]["executor"]["anyOf"][0]["enum"][:2] == ["inline", "ray"]
    assert sorted(described["properties"]) == sorted(type(parse(document)).model_fields)
    json.dumps(described)


settings = st.dictionaries(
    st.sampled_from("abcdef"), st.one_of(st.booleans(), st.integers(), st.text(max_size=5))
)


@given(settings, st.permutations("abcdef"), st.text(max_size=10))
def test_a_key_depends_on_neither_order_nor_label(
    values: dict[str, Any], order: list[str], label: str
) -> None:
    shuffled = {name: values[name] for name in order if name in values}
    assert _trial(values, "").key == _trial(shuffled, label).key


@given(settings, settings)
def test_other_settings_have_another_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (_trial(one, "").key == _trial(other, "").key) is same


def test_a_key_is_the_digest_of_the_trial_as_json(document: dict[str, Any]) -> None:
    for trial in expand(parse(document)):
        resolved = trial.model_dump(mode="json")
        for choice in ("dataset", "recognizer", "method"):
            del resolved[choice]["label"]
        text = json.dumps(resolved, sort_keys=True, separators=(",", ":"))
        assert trial.key == hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
        assert trial == Trial.model_validate(trial.model_dump())


def test_keys_stay_what_they_were() -> None:
    # another key for the same trial orphans every record there is
    resolved = _trial({"a": 1}, "").model_copy(update={"recipe": RECIPE})
    assert resolved.key == "113a9534c33a"


RECIPE = Recipe(
    epochs=1,
    batch=1,
    lr=1,
    weight_decay=0,
    warmup=0,
    dropout=0,
    frames=8,
    size=56,
)


def _trial(values: dict[str, Any], label: str) -> Trial:
    method = Choice(name="gated", settings=values, label=label)
    return Trial(
        dataset=Choice(name="clips"), recognizer=Choice(name="tsn"), method=method, budget=0.5
    )


@pytest.fixture
def pooled(document: dict[str, Any]) -> dict[str, Any]:
    """Three data sets, two of them parts of one."""
    parts = [
        {"name": "clips", "label": f"part {i}", "num_classes": 5 + i, "pool": "parts"}
        for i in range(2)
    ]
    return document | {"datasets": ["clips", *parts], "seeds": [7, 3]}


def test_pooled_data_sets_are_one_cell_with_a_run_each(pooled: dict[str, Any]) -> None:
    sweep = parse(pooled)
    trials = expand(sweep)
    labels = stored(sweep, trials).labels
    told = {(t.dataset.label, t.seed): labels[t.key] for t in trials}
    assert {label.dataset for label in labels.values()} == {"clips", "parts"}
    assert {told["clips", seed].seed for seed in (7, 3)} == {None}
    runs = [told[f"part {part}", seed].seed for part in (0, 1) for seed in (7, 3)]
    assert runs == [0, 1, 2, 3]
    unpooled = [{k: v for k, v in entry.items() if k != "pool"} for entry in pooled["datasets"][1:]]
    assert {t.key for t in trials} == {
        t.key for t in expand(parse(pooled | {"datasets": ["clips", *unpooled]}))
    }


def test_a_pool_does_not_count_the_same_clips_twice(pooled: dict[str, Any]) -> None:
    first, *_, last = (entry for entry in pooled["datasets"] if isinstance(entry, dict))
    last["num_classes"] = first["num_classes"]
    with pytest.raises(BudgetsError, match=f"{last['label']}.* has the clips of {first['label']}"):
        expand(parse(pooled))


def test_a_pool_is_called_like_no_data_set_outside_of_it(pooled: dict[str, Any]) -> None:
    pooled["datasets"][0] = {"name": "clips", "label": "parts"}
    with pytest.raises(BudgetsError, match="parts is both a `pool:` and a data set outside of it"):
        parse(pooled)


def test_records_of_a_pool_give_back_the_file_that_asked_for_them(pooled: dict[str, Any]) -> None:
    sweep = parse(pooled | {"methods": [*pooled["methods"], FROM_DENSE]})
    trials = expand(sweep)
    labels = stored(sweep, trials).labels
    records = [
        Record(
            key=trial.key,
            status="failed",
            trial=trial.model_dump(mode="json"),
            manifest_digest=trial.data_digest,
            budget=trial.budget,
            **{"seed": trial.seed} | labels[trial.key].model_dump(exclude_none=True),
        )
        for trial in trials
    ]
    found = resolve("again", records, [trial.key for trial in trials])
    assert found.is_exact, found.note
    assert stored(parse(yaml.safe_load(found.text)), trials).labels == labels


def test_only_methods_with_gates_are_shifted_to_any_budget(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {trial.key for trial in expand(parse(document))}
    asked = document | {"any_budget": [0.5, 0.9, 0.5]}
    monkeypatch.setattr(tables.METHODS.load("gated"), "has_gates", True)
    trials = expand(parse(asked))
    assert {t.any_budget for t in trials if t.method.name == "dense"} == {()}
    gated = [t for t in trials if t.method.name == "gated"]
    assert {t.any_budget for t in gated} == {(0.9, 0.5)}
    # a record without these figures is not what is asked for; all others are
    assert before & {t.key for t in trials} == {t.key for t in trials if t not in gated}
    assert all(Trial.model_validate(t.model_dump(mode="json")) == t for t in trials)


FROM_DENSE = {"name": "gated", "label": "from dense", "start": "dense"}


def test_trials_that_start_from_dense_rest_on_the_dense_trial_of_their_cell(
    document: dict[str, Any],
) -> None:
    plain = expand(parse(document))
    trials = expand(parse(document | {"methods": [FROM_DENSE, "dense", "gated"]}))
    by_key = {trial.key: trial for trial in trials}
    assert by_key.keys() > {trial.key for trial in plain}
    starting = [trial for trial in trials if trial.method.label == "from dense"]
    for trial in starting:
        source = by_key[source_of(trial).key]
        assert source.method.name == "dense"
        assert (source.recognizer, source.seed) == (trial.recognizer, trial.seed)
        assert Trial.model_validate(trial.model_dump(mode="json")).key == trial.key
    # and so they run after those
    first, second = waves(trials)
    assert second == starting
    assert len(first) + len(second) == len(trials)


def test_there_is_no_start_from_a_dense_recognizer_that_is_not_trained(
    document: dict[str, Any],
) -> None:
    with pytest.raises(BudgetsError, match="from dense starts from dense, which must be among"):
        expand(parse(document | {"methods": [FROM_DENSE]}))
    with pytest.raises(BudgetsError, match="`keep_weights`.* since from dense starts from dense"):
        parse(document | {"methods": ["dense", FROM_DENSE], "keep_weights": False})
    with pytest.raises(BudgetsError, match=r"`methods\[0\].start` must be 'scratch' or 'dense'"):
        parse(document | {"methods": [FROM_DENSE | {"start": "dens"}]})


def test_any_budget_without_gates_is_a_mistake(document: dict[str, Any]) -> None:
    with pytest.raises(
        BudgetsError, match="any_budget.*needs a method with gates, but dense, gated"
    ):
        parse(document | {"any_budget": [0.5]})
