"""A preset is a bundle of settings: what stands beside it wins, and its name leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from registry.vared.method import VaRedMethodSettings
from registry.vared.presets import PRESETS

OWN = {
    "cheap": st.sampled_from(["copy", "scale"]),
    "weights": st.sampled_from(["soft", "hard"]),
    "gate_width": st.integers(1, 9),
    "training": st.fixed_dictionaries({}, optional={"square": st.booleans()}),
}


def settings_of(**given: Any) -> dict[str, Any]:
    return VaRedMethodSettings.model_validate(given).model_dump(mode="json")


@settings(deadline=None)
@given(name=st.sampled_from(sorted(PRESETS)), own=st.fixed_dictionaries({}, optional=OWN))
def test_what_is_set_wins_then_the_preset_then_the_default(name: str, own: dict[str, Any]) -> None:
    preset, found, default = PRESETS[name], settings_of(preset=name, **own), settings_of()
    for key in default.keys() - {"training"}:
        assert found[key] == own.get(key, preset.get(key, default[key]))
    for key, value in default["training"].items():
        bundled = preset.get("training", {}).get(key, value)
        assert found["training"][key] == own.get("training", {}).get(key, bundled)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_settings(name: str) -> None:
    assert settings_of(preset=name) == settings_of(**PRESETS[name])


def test_an_unknown_preset_is_told_with_the_nearest() -> None:
    for wrong in ("fodable", ["foldable"]):
        with pytest.raises(ValidationError, match=r"unknown preset .*Choices: paper-like, fold"):
            settings_of(preset=wrong)
