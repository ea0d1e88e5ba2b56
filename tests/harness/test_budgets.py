"""What a person may get wrong in budgets.yaml, and what they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.budgets import BudgetsError, load, parse
from harness.problems import path_text
from jobs.executor import Resources

ASHA = {"name": "ray", "asha": {"metric": "a", "mode": "max", "max_t": 9, "graceperiod": 1}}
EPOCH = {"name": "clips", "recipe": {"epoch": 3}}
UNEVEN = {"mode": "zip", "recipe.lr": [1], "recipe.batch": [1, 2]}
MISTAKES: list[tuple[str, Any, list[str]]] = [
    ("datasets", ["clps"], ["`datasets[0].name`", "'clps'", "'clips'", "absent"]),
    ("datasets", [], ["`datasets`", "at least 1"]),
    (
        "datasets",
        [{"name": "clips", "num_clases": 3}],
        ["`datasets[0].num_clases`", "'num_classes'"],
    ),
    (
        "datasets",
        [EPOCH],
        ["`datasets[0].recipe.epoch`", "'epochs'"],
    ),
    ("datasets", [{"num_classes": 3}], ["`datasets[0].name` is missing"]),
    ("datasets", [7], ["`datasets[0]`", "got 7"]),
    ("datasets", ["clips", "clips"], ["`datasets`", "clips", "label"]),
    ("recognizers", ["tsn", {"name": "tsm", "width": 3}], ["`recognizers[1].width`", "Choices"]),
    ("methods", ["gatd"], ["`methods[0].name`", "'gated'"]),
    ("methods", [{"name": "gated", "temprature": 2}], ["`methods[0].temprature`", "'temperature'"]),
    ("methods", [{"name": "gated", "temperature": -1}], ["`methods[0].temperature`", "-1"]),
    ("methods", [{"name": "gated", "budget": [0.5]}], ["`methods[0].budget`", "'budgets'"]),
    ("methods", [{"name": "gated", "budgets": [2]}], ["`methods[0].budgets[0]`", "2"]),
    ("methods", [{"name": "dense", "budgets": [0.5]}], ["`methods[0].budgets`", "takes no budget"]),
    ("budgets", [0.8, 0], ["`budgets[1]`", "greater than 0", "got 0"]),
    ("budgets", [1.5], ["`budgets[0]`", "(0, 1]", "1.5"]),
    ("budgets", [80], ["`budgets[0]`", "80", "0.8"]),
    ("budgets", ["word"], ["`budgets[0]`", "'word'"]),
    ("budgets", [True], ["`budgets[0]`", "True"]),
    ("budgets", [float("nan")], ["`budgets[0]`", "nan"]),
    ("budgets", 0.8, ["`budgets`", "0.8"]),
    ("budgets", [], ["`budgets`", "gated needs it"]),
    ("seeds", 0, ["`seeds`", "got 0"]),
    ("seeds", [0, -1], ["`seeds[1]`", "-1"]),
    ("seeds", [], ["`seeds`"]),
    ("scale", "dsk", ["`scale`", "'dsk'", "Did you mean 'desk'?"]),
    ("recipe", {"epoch": 3}, ["`recipe.epoch`", "'epochs'"]),
    ("recipe", {"epochs": 0}, ["`recipe.epochs`", "got 0"]),
    ("search", {"recipe.lrr": [1]}, ["`search[0].recipe.lrr`", "'recipe.lr'"]),
    ("search", {"recipe.lr": [0.1, -1]}, ["`search[0].recipe.lr[1]`", "-1"]),
    ("search", {"mode": "zpi"}, ["`search[0].mode`", "'zip'"]),
    (
        "search",
        {"mode": "zip", "recipe.lr": [1], "recipe.batch": [1, 2]},
        ["`search[0]`", "equally"],
    ),
    ("search", [{"recipe.lr": [1]}, {"recipe.lr": [2]}], ["`search[1].recipe.lr`", "two blocks"]),
    ("executor", "rya", ["`executor.name`", "rya", "inline"]),
    ("executor", {"name": "ray", "num_cpu": 2}, ["`executor.num_cpu`", "'num_cpus'"]),
    ("executor", ASHA, ["`executor.asha.graceperiod`", "'grace_period'"]),
    ("resources", {"cpu": 2}, ["`resources.cpu`", "'cpus'"]),
    ("tracking", {"mlflo": "off"}, ["`tracking.mlflo`", "'mlflow'"]),
    ("name", "../up", ["`name`", "'../up'"]),
    ("name", "trials", ["`name`", "shared"]),
    ("badgets", [0.5], ["`badgets`", "'budgets'", "recognizers"]),
]


@pytest.mark.parametrize(
    ("key", "value", "said"), MISTAKES, ids=[f"{key}-{n}" for n, (key, _, _) in enumerate(MISTAKES)]
)
def test_a_mistake_is_told_with_path_value_and_choices(
    document: dict[str, Any], key: str, value: Any, said: list[str]
) -> None:
    with pytest.raises(BudgetsError) as caught:
        parse(document | {key: value})
    assert len(caught.value.problems) == 1, caught.value
    for part in said:
        assert part in str(caught.value)


def test_all_mistakes_are_told_at_once(document: dict[str, Any]) -> None:
    wrong = {
        "datasets": ["clps"],
        "methods": [{"name": "gated", "temprature": 1, "channels": "maybe"}],
        "budgets": [0.8, 2],
        "recipe": {"epoch": 1, "lr": 0},
        "executor": {"name": "ray", "num_cpu": 1},
        "speed": 9,
    }
    with pytest.raises(BudgetsError) as caught:
        parse(document | wrong)
    paths = [problem.split("`")[1] for problem in caught.value.problems]
    assert sorted(paths) == sorted(
        [
            "datasets[0].name",
            "methods[0].temprature",
            "methods[0].channels",
            "budgets[1]",
            "recipe.epoch",
            "recipe.lr",
            "executor.num_cpu",
            "speed",
        ]
    )


@pytest.mark.parametrize("key", ["datasets", "recognizers", "methods"])
def test_a_missing_list_is_told(document: dict[str, Any], key: str) -> None:
    del document[key]
    with pytest.raises(BudgetsError, match=f"`{key}` is missing"):
        parse(document)


def test_defaults_are_filled_in(document: dict[str, Any]) -> None:
    sweep = parse(document | {"methods": ["dense", {"name": "gated", "temperature": 2}]})
    assert sweep.methods[1].settings == {"temperature": 2.0, "channels": True}
    assert sweep.methods[1].label == "gated"
    assert sweep.seeds == (0, 1)
    assert sweep.needs == Resources(cpus=1)


def test_a_sweep_is_frozen(document: dict[str, Any]) -> None:
    sweep = parse(document)
    with pytest.raises(ValueError, match="frozen"):
        sweep.scale = "paper"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budgets: [0.8\nseeds: 2", "line 2"),
        ("seeds: 1\nseeds: 2", "line 2, column 1: the key 'seeds' is given twice"),
        ("- tsn", "the root must be a mapping of keys, but is a list"),
        ("", "but is empty"),
        ("a: !!python/object:os.system x", "line 1"),
    ],
    ids=["syntax", "twice", "list", "empty", "unsafe"],
)
def test_a_file_that_is_no_budgets_yaml(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "budgets.yaml"
    path.write_text(text)
    with pytest.raises(BudgetsError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"], ids=["missing", "binary"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "budgets.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BudgetsError, match="cannot be read"):
        load(path)


MINIMAL = "datasets: [clips]\nrecognizers: [tsn]\nmethods: [gated]\nbudgets: [0.7]\n"


def test_the_file_names_the_sweep_and_yaml_traps_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "my sweep.yaml"
    path.write_text(MINIMAL + "recipe: {lr: 1e-3}\ntracking: {mlflow: off}\n")
    sweep = load(path)
    assert sweep.name == "my-sweep"
    assert sweep.recipe.lr == 1e-3
    assert sweep.tracking.mlflow == "off"


def test_an_executor_on_the_command_line_keeps_options_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "budgets.yaml"
    path.write_text(MINIMAL + "executor: {name: ray, num_cpus: 3}\n")
    assert load(path, executor="ray").executor.options["num_cpus"] == 3
    assert load(path, executor="inline").executor.options == {}
    with pytest.raises(BudgetsError, match="rya"):
        load(path, executor="rya")


def test_path_text() -> None:
    assert path_text(["budgets", 2]) == "budgets[2]"
    assert path_text(["recipe", "epochs"]) == "recipe.epochs"
