"""What budgets.yaml names from the registry's tables: data sets, recognizers, methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic import model_validator as _model_validator

from registry import tables
from registry.catalog import Catalog

from .problems import Strict, checked, not_empty
from .trial import SCRATCH, Choice, Recipe, Start


def _share_not_percent(value: object) -> object:
    if isinstance(value, (int, float)) and value > 1:
        hint = f" Did you mean {value / 100:g}?" if 5 <= value <= 100 else ""
        raise ValueError(f"must be a share of the dense MACs in (0, 1], but got {value!r}.{hint}")
    return value


Share = Annotated[
    float,
    Field(gt=0, le=1, strict=True, allow_inf_nan=False),
    BeforeValidator(_share_not_percent),
]
"""A budget: share of the dense recognizer's MACs in (0, 1]."""


class NoSettings(Strict):
    """The settings of what has none."""


class Entry(Strict):
    """One item of a list in budgets.yaml: a name, or a mapping with a name and settings."""

    name: str
    label: str = Field(
        default="",
        max_length=80,
        validate_default=True,
        description="what tables and plots call it",
    )
    settings: dict[str, Any] = Field(default={}, validate_default=True)

    @classmethod
    @abstractmethod
    def catalog(cls) -> Catalog:
        """Return the table that `name` is looked up in."""

    @classmethod
    @abstractmethod
    def settings_type(cls, name: str) -> type[BaseModel]:
        """Return the pydantic model of the settings that `name` takes."""

    @cached_property
    def choice(self) -> Choice:
        """The entry as a part of a trial: every default filled in."""
        return Choice(name=self.name, settings=self.settings, label=self.label)

    @_model_validator(mode="before")
    @classmethod
    def _gather_settings(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"name": data}
        if not isinstance(data, Mapping):
            return data
        own = {key for key in cls.model_fields if key != "settings"}
        settings = {str(key): value for key, value in data.items() if key not in own}
        return {key: data[key] for key in own & data.keys()} | {"settings": settings}

    @field_validator("name")
    @classmethod
    def _stands_in_the_table(cls, name: str) -> str:
        if name not in cls.catalog():
            raise ValueError(cls.catalog().explain(name))
        return name

    @field_validator("label")
    @classmethod
    def _label_or_name(cls, label: str, info: ValidationInfo) -> str:
        return label or str(info.data.get("name", ""))

    @field_validator("settings")
    @classmethod
    def _fill_in(cls, settings: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "name" not in info.data:
            return settings
        model = cls.settings_type(info.data["name"])
        return checked(model, settings, also=cls.model_fields).model_dump(mode="json")


def _partial_recipe(overrides: Any) -> Any:
    return checked(Recipe, overrides).model_dump(exclude_unset=True)


RecipeOverrides = Annotated[dict[str, Any], BeforeValidator(_partial_recipe)]


class DatasetEntry(Entry):
    """A data set; `recipe` overrides the sweep's."""

    pool: str = Field(
        default="",
        max_length=80,
        description="data sets of one pool, splits of the same clips for instance, are one data set"
        " to tables and plots, where each takes the place of a seed",
    )
    recipe: RecipeOverrides = {}

    @classmethod
    def catalog(cls) -> Catalog:
        """Return the data sets."""
        return tables.DATASETS

    @classmethod
    def settings_type(cls, name: str) -> type[BaseModel]:
        """Return what the data set says its settings are."""
        return _settings_type(tables.DATASETS, name)


class RecognizerEntry(Entry):
    """A recognizer; `recipe` overrides the sweep's and the data set's."""

    recipe: RecipeOverrides = {}

    @classmethod
    def catalog(cls) -> Catalog:
        """Return the recognizers."""
        return tables.RECOGNIZERS

    @classmethod
    def settings_type(cls, name: str) -> type[BaseModel]:
        """Return the empty model: a recognizer is fixed by its name and the scale."""
        return NoSettings


class MethodEntry(Entry):
    """A method; `budgets` replaces the sweep's list for this entry."""

    budgets: Annotated[tuple[Share, ...] | None, AfterValidator(not_empty)] = None
    start: Start = Field(
        default=SCRATCH,
        description="start from drawn weights, or from those of the trained dense recognizer",
    )

    @classmethod
    def catalog(cls) -> Catalog:
        """Return the methods."""
        return tables.METHODS

    @classmethod
    def settings_type(cls, name: str) -> type[BaseModel]:
        """Return what the method says its settings are."""
        return _settings_type(tables.METHODS, name)

    @property
    def takes_budget(self) -> bool:
        """Whether the method is trained once for each budget."""
        return bool(tables.METHODS.load(self.name).takes_budget)

    @property
    def has_gates(self) -> bool:
        """Whether a trained recognizer can be shifted to another budget."""
        return bool(tables.METHODS.load(self.name).has_gates)

    @field_validator("budgets")
    @classmethod
    def _only_where_taken(
        cls, budgets: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        name = info.data.get("name")
        if budgets is not None and name and not tables.METHODS.load(name).takes_budget:
            raise ValueError(f"the method {name!r} takes no budget; leave this key out")
        return budgets

    @field_validator("start")
    @classmethod
    def _only_with_dense_weights(cls, start: Start, info: ValidationInfo) -> Start:
        name = info.data.get("name")
        if start != SCRATCH and name and not tables.METHODS.load(name).starts_from_dense:
            raise ValueError(f"the method {name!r} cannot start from {start}; leave this key out")
        return start


def _settings_type(catalog: Catalog, name: str) -> type[BaseModel]:
    model: type[BaseModel] = catalog.load(name).settings_type
    return model
