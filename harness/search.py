"""The `search:` of budgets.yaml: axes over the recipe and over settings of methods."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from .entries import MethodEntry
from .problems import Strict, checked, nearest, not_empty, sentences
from .trial import Recipe

RECIPE = "recipe"
"""Head of the axes over the recipe; every other head is the name of a method."""

Point = dict[str, Any]
"""One setting of the axes, such as {"recipe.lr": 0.001, "vared.temperature": 0.5}."""


class Block(Strict):
    """Axes that vary together: all combinations (`grid`), or in step (`zip`)."""

    mode: Literal["grid", "zip"] = "grid"
    axes: dict[str, Annotated[tuple[Any, ...], AfterValidator(not_empty)]] = {}

    @model_validator(mode="before")
    @classmethod
    def _gather_axes(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        axes = {str(key): value for key, value in data.items() if key != "mode"}
        return {"mode": data.get("mode", "grid"), "axes": axes}

    @model_validator(mode="after")
    def _in_step(self) -> Block:
        lengths = {axis: len(values) for axis, values in self.axes.items()}
        if self.mode == "zip" and len(set(lengths.values())) > 1:
            raise ValueError(f"axes in `mode: zip` must be equally long, but are {lengths}")
        return self

    @property
    def points(self) -> list[Point]:
        """The settings of this block's axes, in the order of the file."""
        if not self.axes:
            return [{}]
        combine = zip if self.mode == "zip" else itertools.product
        return [dict(zip(self.axes, values)) for values in combine(*self.axes.values())]  # noqa: B905


def relevant_points(blocks: Sequence[Block], method: str) -> list[Point]:
    """Return the combinations of all blocks, as far as they touch `method` or the recipe."""
    combinations = (
        {axis: value for part in parts for axis, value in part.items()}
        for parts in itertools.product(*(_relevant(block, method) for block in blocks))
    )
    return list(combinations)


def part_of(point: Point, head: str) -> Point:
    """Return what a point sets under `head`, without the head: {"lr": 0.001}."""
    prefix = f"{head}."
    return {axis.removeprefix(prefix): v for axis, v in point.items() if axis.startswith(prefix)}


def with_values(settings: Mapping[str, Any], values: Point) -> dict[str, Any]:
    """Return settings with some replaced; "training.gate_lr" reaches into a nested mapping."""
    result = dict(settings)
    for path, value in values.items():
        head, _, rest = path.partition(".")
        result[head] = with_values(result.get(head) or {}, {rest: value}) if rest else value
    return result


def label_of(point: Point) -> str:
    """Return how tables tell this point from others, such as "lr=0.001 batch=8"."""
    return " ".join(f"{axis.rpartition('.')[2]}={value}" for axis, value in point.items())


def check_axes(blocks: Sequence[Block], methods: Sequence[MethodEntry]) -> None:
    """Check every axis and value against what the recipe and the methods take.

    Raises:
        ValidationError: All that is wrong, each with its path.
    """
    wrong = [*_repeated(blocks)]
    for number, block in enumerate(blocks):
        for axis, values in block.axes.items():
            wrong += [_line((number, axis), text) for text in _wrong_axis(axis, methods)]
            wrong += [
                _line((number, axis, place), text)
                for place, value in enumerate(values)
                for text in _wrong_value(axis, value, methods)
            ]
    if wrong:
        raise ValidationError.from_exception_data("search", wrong)


def _relevant(block: Block, method: str) -> list[Point]:
    kept: list[Point] = []
    for point in block.points:
        part = {a: v for a, v in point.items() if a.partition(".")[0] in (RECIPE, method)}
        if part not in kept:
            kept.append(part)
    return kept


def _models(methods: Sequence[MethodEntry]) -> dict[str, type[BaseModel]]:
    return {RECIPE: Recipe} | {m.name: MethodEntry.settings_type(m.name) for m in methods}


def _fields(model: type[BaseModel], head: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{head}.{name}")
        else:
            yield f"{head}.{name}"


def _axes(methods: Sequence[MethodEntry]) -> list[str]:
    return [axis for head, model in _models(methods).items() for axis in _fields(model, head)]


def _wrong_axis(axis: str, methods: Sequence[MethodEntry]) -> Iterator[str]:
    choices = _axes(methods)
    if axis not in choices:
        yield f"is no axis here.{nearest(axis, choices)} Choices: {', '.join(choices)}"


def _wrong_value(axis: str, value: Any, methods: Sequence[MethodEntry]) -> Iterator[str]:
    if axis not in _axes(methods):
        return
    head, _, path = axis.partition(".")
    settings = next((m.settings for m in methods if m.name == head), {})
    try:
        checked(_models(methods)[head], with_values(settings, {path: value}))
    except ValidationError as error:
        yield from sentences(error)


def _repeated(blocks: Sequence[Block]) -> Iterator[InitErrorDetails]:
    seen: set[str] = set()
    for number, block in enumerate(blocks):
        for axis in seen & block.axes.keys():
            yield _line((number, axis), "stands in two blocks of `search`")
        seen |= block.axes.keys()


def _line(loc: tuple[int | str, ...], text: str) -> InitErrorDetails:
    return InitErrorDetails(
        type="value_error", loc=loc, input=None, ctx={"error": ValueError(text)}
    )
