"""Values of command-line options that are YAML, as in budgets.yaml."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from .document import read_value
from .problems import UserError, checked, sentences

_Model = TypeVar("_Model", bound=BaseModel)


def option_value(option: str, model: type[_Model], text: str) -> _Model:
    """Return what an option's text says, checked.

    Args:
        option: Its name, without dashes.
        model: What it is to be.
        text: YAML.

    Raises:
        UserError: With every mistake.
    """
    try:
        return checked(model, read_value(text))
    except ValidationError as error:
        raise UserError("\n  ".join(f"`--{option}`: {text}" for text in sentences(error))) from None
    except ValueError as error:
        raise UserError(f"`--{option}` {error}") from error
