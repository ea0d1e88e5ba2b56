"""What is added to settings changes no trial that does not set it."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.settings import Settings
from registry.tables import METHODS
from registry.vared.settings import TrainingSettings


class Before(Settings):
    channels: int = 4


class After(Before):
    added: ClassVar[frozenset[str]] = frozenset({"frames"})

    frames: int = 8


@given(channels=st.integers(), frames=st.integers())
def test_what_is_not_asked_for_is_left_out(channels: int, frames: int) -> None:
    data = After(channels=channels, frames=frames).model_dump(mode="json")
    assert After(**data) == After(channels=channels, frames=frames)
    expected = Before(channels=channels).model_dump(mode="json")
    assert data == (expected if frames == 8 else expected | {"frames": frames})


@pytest.mark.parametrize("name", sorted(METHODS))
def test_of_every_method_what_was_added_is_a_field(name: str) -> None:
    def check(model: Any) -> None:
        assert model.added <= model.model_fields.keys()
        for field in model.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
                check(field.annotation)

    check(METHODS.load(name).settings_type)


def test_a_part_of_settings_keeps_its_values() -> None:
    training = TrainingSettings(ramp=0.5, spread=0.25, warmup=0.3)
    assert (training.control.ramp, training.control.warmup) == (0.5, 0.3)
    assert (training.loss.spread, training.loss.distil) == (0.25, 0.0)
