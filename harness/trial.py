"""Trial: one fully resolved experiment, frozen; its key is a hash of itself."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from registry.settings import Settings

Start = Literal["scratch", "dense"]
SCRATCH: Start = "scratch"

KEY_LENGTH = 12
"""Hexadecimal digits of a key: 48 bits, a collision in a million trials has odds of 1 in 500."""


class Choice(BaseModel):
    """A name from the registry's tables with its settings, all defaults filled in.

    `label` is what people see in tables and plots; it is not part of the trial's identity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    settings: dict[str, Any] = {}
    label: str = ""

    @cached_property
    def canonical(self) -> str:
        """As JSON, less the label. Kept, since thousands of trials share one choice."""
        return _canonical(self.model_dump(mode="json", exclude={"label"}))


class Recipe(BaseModel):
    """How a recognizer is trained. Every method of a cell trains by the same recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=15, ge=1, description="passes over the training list")
    batch: int = Field(default=16, ge=1, description="clips a step")
    lr: float = Field(default=2e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(
        default=1e-2, ge=0, description="weight decay; none on norms and biases"
    )
    warmup: float = Field(
        default=0.08, ge=0, lt=1, description="share of the steps in linear warm-up"
    )
    dropout: float = Field(default=0.2, ge=0, lt=1, description="dropout before the classifier")
    frames: int = Field(default=8, ge=1, description="frames a clip is sampled to")
    size: int = Field(default=56, ge=16, description="side of the square input, pixels")

    @cached_property
    def canonical(self) -> str:
        """As JSON; kept, since thousands of trials share one recipe."""
        return _canonical(self.model_dump(mode="json"))


class Trial(Settings):
    """One experiment: data set, recognizer, method, budget, recipe and seed.

    `data_digest` stands for the clips themselves: the digest of the data set's manifest.
    """

    added = frozenset({"any_budget", "start"})

    dataset: Choice
    recognizer: Choice
    method: Choice
    budget: float | None = None
    scale: Literal["desk", "paper"] = "desk"
    recipe: Recipe = Recipe()
    seed: int = 0
    data_digest: str = ""
    any_budget: tuple[float, ...] = ()
    """Budgets that the trained gates are shifted to and measured at. It changes no weight; it is
    part of the trial since a record without these figures is not what was asked for."""
    start: Start = SCRATCH
    """Where weights come from: drawn, or those that the dense trial of the same data set,
    recognizer, recipe and seed ended with."""

    def with_seed(self, seed: int) -> Trial:
        """Return the same experiment with another seed."""
        return Trial.model_construct(**{**dict(self), "seed": seed})

    @cached_property
    def key(self) -> str:
        """Hexadecimal digest of everything that can change the outcome. Labels cannot."""
        parts = ("dataset", "method", "recipe", "recognizer")
        fields = {name: getattr(self, name).canonical for name in parts}
        fields |= {name: json.dumps(getattr(self, name)) for name in _PLAIN}
        if self.any_budget:
            fields["any_budget"] = _canonical(self.any_budget)
        if self.start != SCRATCH:
            fields["start"] = _canonical(self.start)
        # what `_canonical` would make of the whole, put together from its parts
        text = "{" + ",".join(f'"{name}":{fields[name]}' for name in sorted(fields)) + "}"
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


_PLAIN = ("budget", "data_digest", "scale", "seed")


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))
