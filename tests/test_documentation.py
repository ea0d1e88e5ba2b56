"""The documentation agrees with the code: links, commands, settings, keys and snippets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import BaseModel

from harness.budgets import Sweep, parse
from harness.cli import app
from harness.document import read_mapping
from harness.trial import Recipe
from registry.catalog import Catalog
from registry.tables import DATASETS, METHODS, RECOGNIZERS
from registry.vared.settings import TrainingSettings, VaRedSettings

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SMALLEST = {"name": "page", "datasets": ["motion"], "recognizers": ["tsn"], "methods": ["dense"]}
ALL_METHODS = {"methods": list(METHODS), "budgets": [0.5]}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fences(name: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text_of(name)) if found == language]


def links() -> Iterator[Any]:
    for page in PAGES:
        for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            if not re.match(r"[a-z]+:", target):
                where = page.relative_to(ROOT)
                yield pytest.param(page, target, id=f"{where}-{target}")


def anchors(page: Path) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize(("page", "target"), [*links()])
def test_links_lead_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    assert file.exists(), f"{page.name} links to {path}, which is not there"
    if anchor:
        assert anchor in anchors(file), f"{file.name} has no heading #{anchor}"


def test_the_readme_shows_a_figure() -> None:
    assert re.search(r"!\[[^\]]+\]\(docs/quick\.png\)", text_of("README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_no_folder_of_one_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.:/])/(work|home|root|Users|tmp)/", page.read_text("utf-8"))


def commands() -> list[str]:
    return [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_readme_with_its_example(command: str) -> None:
    readme = text_of("README.md")
    assert f"| `harness {command}` |" in readme
    example = next(
        c.epilog for c in app.registered_commands if command in (c.name, c.callback.__name__)
    )
    assert example.removeprefix("Example: ") in readme


@pytest.mark.parametrize("catalog", [RECOGNIZERS, METHODS, DATASETS], ids=lambda c: c.kind)
def test_every_name_of_the_tables_is_documented(catalog: Catalog) -> None:
    budgets = text_of("docs/budgets.md")
    assert [name for name in catalog if name not in budgets] == []


def setting_rows(model: type[BaseModel]) -> Iterator[Any]:
    for name, field in model.model_fields.items():
        value = list(field.default) if isinstance(field.default, tuple) else field.default
        yield pytest.param(f"| `{name}` | `{value}` | {field.description} |", id=name)


@pytest.mark.parametrize("row", [*setting_rows(VaRedSettings), *setting_rows(TrainingSettings)])
def test_every_setting_of_the_method_is_documented(row: str) -> None:
    assert row in text_of("docs/method.md")


@pytest.mark.parametrize("row", [*setting_rows(Recipe)])
def test_the_recipe_is_documented(row: str) -> None:
    assert row in text_of("docs/budgets.md")


@pytest.mark.parametrize("key", list(Sweep.model_fields))
def test_every_key_of_budgets_yaml_is_documented(key: str) -> None:
    assert f"| `{key}` |" in text_of("docs/budgets.md")


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_setting_of_a_data_set_is_documented(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", text_of("docs/budgets.md"), re.M)
    assert set(re.findall(r"`(\w+)`", row)) == set(DATASETS.load(name).settings_type.model_fields)


@pytest.mark.parametrize("body", [*fences("docs/budgets.md", "yaml"), *fences("README.md", "yaml")])
def test_examples_of_budgets_yaml_are_valid(body: str, tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(body, encoding="utf-8")
    shown = read_mapping(file)
    others = ALL_METHODS if "search" in shown else {}
    parse(SMALLEST | others | shown)


@pytest.mark.parametrize("file", ["budgets.yaml", *sorted(ROOT.glob("examples/*.yaml"))], ids=str)
def test_the_files_that_come_along_are_valid(file: str | Path) -> None:
    parse({"name": "example"} | yaml.safe_load((ROOT / file).read_text("utf-8")))


def snippets() -> Iterator[Any]:
    for page in PAGES:
        for number, body in enumerate(fences(str(page.relative_to(ROOT)), "python")):
            yield pytest.param(body, id=f"{page.name}-{number}")


@pytest.mark.parametrize("body", [*snippets()])
def test_python_compiles(body: str) -> None:
    compile(body, "snippet", "exec")


def test_the_plain_config_of_the_readme_builds(tmp_path: Path) -> None:
    from mmengine.config import Config
    from mmengine.registry import HOOKS, MODELS, DefaultScope

    (body,) = (b for b in fences("README.md", "python") if "custom_imports" in b)
    file = tmp_path / "config.py"
    file.write_text(body, encoding="utf-8")
    config = Config.fromfile(file)
    with DefaultScope.overwrite_default_scope("mmaction"), torch.device("meta"):
        recognizer = MODELS.build(config.model)
        hooks = [HOOKS.build(hook) for hook in config.custom_hooks]
    assert len(recognizer.vared.costs) > 40
    assert [hook.budget for hook in hooks] == [0.7]
    prefix = next(iter(config.optim_wrapper.paramwise_cfg.custom_keys))
    assert any(prefix in name for name, _ in recognizer.named_parameters())


def test_the_method_of_the_readme_is_one() -> None:
    from registry.recognizers.build import example_input

    (body,) = (b for b in fences("README.md", "python") if "Method" in b)
    scope: dict[str, Any] = {"__name__": "snippet"}
    exec(body, scope)
    method = scope["FEWER_BLOCKS"]
    tsn = RECOGNIZERS.load("tsn")
    config = tsn.config(scale="desk", num_classes=3, num_frames=8, dropout=0.0)
    example = example_input("NCHW", 8, 56, device="meta")
    assert method.prepare(config, example, 0.5, method.settings_type()).notes


def test_the_recognizer_of_the_guide_runs(capsys: pytest.CaptureFixture[str]) -> None:
    from registry.macs import count
    from registry.recognizers.build import build, example_input

    scope: dict[str, Any] = {"__name__": "snippet"}
    for body in fences("docs/adding-a-recognizer.md", "python"):
        exec(body, scope)
    assert "convolutions got a gate" in capsys.readouterr().out
    assert 0.2 < scope["recognizer"].vared.costs.floor() < 0.6
    published = scope["SLOWONLY"].config(scale="paper", num_classes=400, num_frames=8, dropout=0.5)
    example = example_input("NCTHW", 8, 256, device="meta")
    ledger = count(build(published, example), example)
    assert f"{ledger.total / 1e9:.2f}" == "54.75"  # as the model zoo lists it
    assert not ledger.unknown


def modules() -> list[Path]:
    rooms = ("harness", "registry", "jobs", "results")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    return [path for path in files if path.name != "__init__.py"]


def test_every_module_is_on_the_map() -> None:
    page = text_of("docs/architecture.md")
    assert [str(p.relative_to(ROOT)) for p in modules() if f"`{p.name}`" not in page] == []


def test_every_module_on_the_map_is_there() -> None:
    named = set(re.findall(r"`(\w+\.py)`", text_of("docs/architecture.md")))
    assert named - {path.name for path in modules()} == set()
