"""Base of all that budgets.yaml may set about methods and data sets."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Settings(BaseModel):
    """Frozen; unknown fields are refused.

    A trial is known by its settings, every default filled in. A field added after trials had been
    run would change them all, so it is left out of the plain data while it is at its default: those
    trials keep their keys and records. For the same reason its default must never change,
    unless for one that means the same in each of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    added: ClassVar[frozenset[str]] = frozenset()
    """Fields that came after trials had been run."""

    @model_serializer(mode="wrap")
    def _less_what_was_added(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = plain(self)
        fields = type(self).model_fields
        idle = {name for name in self.added if getattr(self, name) == fields[name].default}
        return {name: value for name, value in data.items() if name not in idle}
