"""budgets.yaml: validated once at the door, every mistake at once, then frozen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from jobs.executor import Resources

from .document import read_mapping
from .entries import DatasetEntry, Entry, MethodEntry, RecognizerEntry, Share
from .execution import ExecutorChoice, Needs, Tracking
from .problems import BudgetsError, Strict, checked, not_empty, sentences
from .search import Block, check_axes
from .trial import SCRATCH, Recipe

__all__ = ["BudgetsError", "Sweep", "load", "parse"]

RESERVED_NAMES = ("trials",)
"""Folders in `runs/` that belong to all sweeps."""

MAX_SEEDS = 1000


def _count_to_list(seeds: Any) -> Any:
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if not 1 <= seeds <= MAX_SEEDS:
            raise ValueError(f"a number of seeds must be 1 to {MAX_SEEDS}, but got {seeds}")
        return list(range(seeds))
    return seeds


def _block_to_list(search: Any) -> Any:
    return [search] if isinstance(search, dict) else search


Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Seeds = Annotated[tuple[Seed, ...], AfterValidator(not_empty), BeforeValidator(_count_to_list)]
Search = Annotated[tuple[Block, ...], BeforeValidator(_block_to_list)]
StrictRecipe = Annotated[Recipe, BeforeValidator(lambda recipe: checked(Recipe, recipe))]


class Sweep(Strict):
    """All that a budgets.yaml asks for, resolved and frozen."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="names the folder of the results; letters, digits, '.', '_' and '-'",
    )
    datasets: Annotated[tuple[DatasetEntry, ...], AfterValidator(not_empty)]
    recognizers: Annotated[tuple[RecognizerEntry, ...], AfterValidator(not_empty)]
    methods: Annotated[tuple[MethodEntry, ...], AfterValidator(not_empty)]
    budgets: tuple[Share, ...] = Field(
        default=(), validate_default=True, description="shares of the dense MACs in (0, 1]"
    )
    any_budget: tuple[Share, ...] = Field(
        default=(), description="budgets that trained gates are shifted to, without retraining"
    )
    seeds: Seeds = Field(default=(0,), description="a list of seeds, or how many: 3 means 0, 1, 2")
    scale: Literal["desk", "paper"] = "desk"
    recipe: StrictRecipe = Recipe()
    search: Search = Field(
        default=(), description="axes over `recipe.*` and `<method>.*`; blocks multiply"
    )
    executor: ExecutorChoice = ExecutorChoice()
    resources: Needs = Needs()
    tracking: Tracking = Tracking()
    keep_weights: bool | None = Field(
        default=None,
        validate_default=True,
        description="keep the trained weights of each trial; by default at desk scale alone",
    )
    max_trials: int = Field(default=2000, ge=1, description="guards against a list too many")

    @property
    def needs(self) -> Resources:
        """What one trial needs, in the executors' terms."""
        return Resources(**self.resources.model_dump(exclude={"checkpoint_s"}))

    @property
    def keeps_weights(self) -> bool:
        """Whether trained weights are kept: megabytes a trial at desk scale, 100 at paper scale."""
        return self.scale == "desk" if self.keep_weights is None else self.keep_weights

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in RESERVED_NAMES:
            raise ValueError(f"{name!r} is a folder shared by all sweeps; choose another name")
        return name

    @field_validator("datasets", "recognizers", "methods")
    @classmethod
    def _labels_differ(cls, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        labels = [entry.label for entry in entries]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(
                f"{', '.join(twice)} stands here twice; give each its own `label:`, "
                "or tables would mix the two"
            )
        return entries

    @field_validator("datasets")
    @classmethod
    def _pools_differ(cls, datasets: tuple[DatasetEntry, ...]) -> tuple[DatasetEntry, ...]:
        alone = {entry.label for entry in datasets if not entry.pool}
        if twice := sorted(alone & {entry.pool for entry in datasets}):
            raise ValueError(f"{', '.join(twice)} is both a `pool:` and a data set outside of it")
        return datasets

    @field_validator("budgets")
    @classmethod
    def _given_where_needed(
        cls, budgets: tuple[float, ...], info: ValidationInfo
    ) -> tuple[float, ...]:
        methods: Sequence[MethodEntry] = info.data.get("methods", ())
        waiting = [m.label for m in methods if m.takes_budget and m.budgets is None]
        if waiting and not budgets:
            raise ValueError(f"is missing or empty, but {', '.join(waiting)} needs it")
        return budgets

    @field_validator("any_budget")
    @classmethod
    def _where_gates_are(
        cls, budgets: tuple[float, ...], info: ValidationInfo
    ) -> tuple[float, ...]:
        methods: Sequence[MethodEntry] = info.data.get("methods", ())
        if budgets and methods and not any(method.has_gates for method in methods):
            labels = ", ".join(method.label for method in methods)
            raise ValueError(
                f"needs a method with gates, but {labels} has none; leave this key out"
            )
        return tuple(sorted(set(budgets), reverse=True))

    @field_validator("keep_weights")
    @classmethod
    def _where_started_from(cls, keep: bool | None, info: ValidationInfo) -> bool | None:
        methods: Sequence[MethodEntry] = info.data.get("methods", ())
        starting = [method.label for method in methods if method.start != SCRATCH]
        if starting and not (info.data.get("scale") == "desk" if keep is None else keep):
            raise ValueError(f"must be true, since {', '.join(starting)} starts from dense")
        return keep

    @field_validator("search")
    @classmethod
    def _axes_exist(cls, blocks: tuple[Block, ...], info: ValidationInfo) -> tuple[Block, ...]:
        if "methods" in info.data:
            check_axes(blocks, info.data["methods"])
        return blocks


def parse(document: dict[str, Any], source: str = "budgets") -> Sweep:
    """Return the sweep that plain data describes.

    Args:
        document: What the file holds.
        source: Names the file in messages.

    Raises:
        BudgetsError: All mistakes at once, each with its path.
    """
    try:
        return checked(Sweep, document)
    except ValidationError as error:
        raise BudgetsError(source, sentences(error)) from None


def load(path: Path, executor: str | None = None) -> Sweep:
    """Return the sweep in a file; its name is the file's stem where it gives none.

    Args:
        path: A budgets.yaml.
        executor: Takes the place of the file's executor, without its options if it is another.

    Raises:
        BudgetsError: All mistakes at once, each with its path.
    """
    document = {"name": _safe(path.stem)} | read_mapping(path)
    if executor and executor != _executor_name(document.get("executor")):
        document["executor"] = executor
    return parse(document, source=str(path))


def _safe(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:100] or "sweep"


def _executor_name(executor: Any) -> Any:
    return executor.get("name") if isinstance(executor, dict) else executor
