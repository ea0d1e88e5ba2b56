"""Mistakes in a file a person wrote: collected with their paths, told in one message."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

from results.files import DamagedFileError, StoreError
from results.tracking_uri import TrackingError

UNKNOWN_KEY = "unknown_key"
GATHERED = frozenset({"settings", "axes", "options"})
"""Fields that hold what stands flat in the file; never part of a path people read."""

_STANDARD = frozenset(get_args(ErrorType))
_MAPPING = re.compile(r"a valid dictionary( or instance of \w+)?")
"""What pydantic calls a thing that people who write YAML know as a mapping."""

_T = TypeVar("_T")
_Model = TypeVar("_Model", bound=BaseModel)


class UserError(Exception):
    """Something only the person at the keyboard can mend; told without a traceback."""


class BudgetsError(ValueError):
    """Everything wrong with a budgets.yaml; `problems` has one sentence a mistake."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__("\n  ".join([f"{source}: {count}.", *map(_indented, problems)]))


class Strict(BaseModel):
    """Base of the models that are read from a file: frozen, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def checked(model: type[_Model], data: Any, also: Iterable[str] = ()) -> _Model:
    """Return `data` validated by a model; errors carry the choices beside every unknown key.

    Args:
        model: A pydantic model, say a method's settings.
        data: What the file holds.
        also: Further keys that are legal at this place, for the list of choices.

    Raises:
        ValidationError: All mistakes.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # pydantic's "Extra inputs are not permitted" does not say what is permitted
        lines = [_with_choices(line, model, also) for line in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(error.title, lines) from None


def is_for_people(error: BaseException) -> bool:
    """Return whether the message says all that a person needs, so that no traceback is shown."""
    known = (UserError, BudgetsError, StoreError, DamagedFileError, TrackingError)
    return isinstance(error, known)


def not_empty(values: tuple[_T, ...] | None) -> tuple[_T, ...] | None:
    """Return the values, if there are any; a check for pydantic's `AfterValidator`."""
    # `min_length` would also complain of items that are there, but wrong
    if values is not None and not values:
        raise ValueError("must have at least 1 item")
    return values


def nearest(name: object, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the choice nearest to `name`, "" if none is near."""
    near = difflib.get_close_matches(str(name), list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def sentences(error: ValidationError) -> list[str]:
    """Return one sentence a mistake: path, rule, value, choices and the nearest match."""
    return [_sentence(line) for line in error.errors(include_url=False)]


def path_text(steps: Iterable[object]) -> str:
    """Return a path as people write it: `budgets[2]`, `recipe.epochs`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def _with_choices(line: Any, model: type[BaseModel], also: Iterable[str]) -> InitErrorDetails:
    kind, loc, context = line["type"], line["loc"], line.get("ctx", {})
    problem: Any = kind
    if kind == "extra_forbidden":
        names = [*_fields_at(model, loc[:-1]), *(also if len(loc) == 1 else ())]
        choices = [name for name in names if name not in GATHERED]
        problem = PydanticCustomError(UNKNOWN_KEY, "unknown", {"choices": choices})
    elif kind not in _STANDARD:
        problem = PydanticCustomError(kind, line["msg"], context)
    return InitErrorDetails(type=problem, loc=loc, input=line["input"], ctx=context)


def _fields_at(model: type[BaseModel] | None, steps: Iterable[int | str]) -> list[str]:
    for step in steps:
        if model is not None and isinstance(step, str) and step in model.model_fields:
            model = _model_in(model.model_fields[step].annotation)
    # of the schema, since keys that are resolved before validation are no fields
    return list(model.model_json_schema().get("properties", ())) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _sentence(line: Mapping[str, Any]) -> str:
    where = f"`{path_text(step for step in line['loc'] if step not in GATHERED)}`"
    kind, context, message = line["type"], line.get("ctx", {}), line["msg"]
    if kind == UNKNOWN_KEY:
        choices = context["choices"]
        hint = nearest(line["loc"][-1], choices)
        return f"{where} is not known here.{hint} Choices: {', '.join(choices) or 'none'}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "value_error":
        return f"{where}: {context['error']}"
    rule = message.replace("Input should", "must").replace("Value should", "must")
    rule = _MAPPING.sub("a mapping of keys", rule.replace("a valid tuple", "a list"))
    hint = nearest(line["input"], str(context.get("expected", "")).split("'")[1::2])
    return f"{where} {rule}, but got {_shown(line['input'])}.{hint}"


def _indented(problem: str) -> str:
    return problem.replace("\n", "\n  ")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
