"""A registry of light stand-ins, so that these tests load no torch."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from registry import tables
from registry.catalog import Catalog, Entry
from registry.interfaces import ClipShape, ClipSource, Manifest, Method, Prepared, Splits


class GateSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, gt=0)
    channels: bool = True


class ClipSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    num_classes: int = Field(4, ge=2)


class FakeMethod(Method):
    settings_type = GateSettings

    def __init__(self, name: str, takes_budget: bool) -> None:
        self.name, self.takes_budget = name, takes_budget

    def prepare(self, config: Any, example: Any, budget: Any, settings: Any) -> Prepared:
        raise NotImplementedError


class FakeSource(ClipSource):
    settings_type = ClipSettings

    def __init__(self, name: str) -> None:
        self.name = name

    def manifest(self, settings: ClipSettings, data_root: Path | None) -> Manifest:
        if self.name == "absent":
            raise ValueError("no clips under /nowhere")
        return Manifest(f"{self.name}-{settings.num_classes}", 80, 20)

    def splits(self, settings: Any, data_root: Any, clip: ClipShape, seed: int) -> Splits:
        raise NotImplementedError


STAND_INS = types.ModuleType("stand_ins")
STAND_INS.DENSE = FakeMethod("dense", takes_budget=False)  # type: ignore[attr-defined]
STAND_INS.GATED = FakeMethod("gated", takes_budget=True)  # type: ignore[attr-defined]
STAND_INS.CLIPS = FakeSource("clips")  # type: ignore[attr-defined]
STAND_INS.ABSENT = FakeSource("absent")  # type: ignore[attr-defined]


def table(kind: str, **targets: str) -> Catalog:
    return Catalog(kind, {name: Entry(f"stand_ins:{what}", name) for name, what in targets.items()})


@pytest.fixture(autouse=True)
def light_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stand_ins", STAND_INS)
    monkeypatch.setattr(tables, "METHODS", table("method", dense="DENSE", gated="GATED"))
    monkeypatch.setattr(tables, "DATASETS", table("data set", clips="CLIPS", absent="ABSENT"))


@pytest.fixture
def document() -> dict[str, Any]:
    """A right budgets.yaml: 2 recognizers x (dense + gated at 2 budgets) x 2 seeds."""
    return {
        "name": "small",
        "datasets": ["clips"],
        "recognizers": ["tsn", "tsm"],
        "methods": ["dense", "gated"],
        "budgets": [0.8, 0.6],
        "seeds": 2,
        "tracking": {"mlflow": "off"},
    }
