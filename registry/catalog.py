"""Catalog: a name leads to "module:attribute", imported only when asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One line of a table: where the thing lives, and one sentence for people."""

    target: str
    summary: str


class Catalog(Mapping[str, Entry]):
    """A read-only table of names. Looking an unknown name up says which are near.

    Args:
        kind: What the names stand for, singular, as a person would say it.
        entries: The table.
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise LookupError(self.explain(name))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def explain(self, name: str) -> str:
        """Return the sentence for an unknown name: the nearest match and all choices."""
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"unknown {self.kind} {name!r}.{hint} Choices: {', '.join(self._entries)}"

    def load(self, name: str) -> Any:
        """Import and return what `name` stands for.

        Raises:
            LookupError: The name is not in the table.
        """
        module, _, attribute = self[name].target.partition(":")
        return getattr(importlib.import_module(module), attribute)
