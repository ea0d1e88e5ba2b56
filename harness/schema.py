"""The JSON schema of budgets.yaml, for editors: made from the models and the tables."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from jobs.backends import BACKENDS, options_type

from .budgets import Sweep
from .entries import DatasetEntry, Entry, MethodEntry, RecognizerEntry
from .problems import GATHERED

_ENTRIES: dict[str, type[Entry]] = {
    "datasets": DatasetEntry,
    "recognizers": RecognizerEntry,
    "methods": MethodEntry,
}


def schema() -> dict[str, Any]:
    """Return the schema. Loads every method and data set, for what they let be set."""
    whole = Sweep.model_json_schema()
    definitions: dict[str, Any] = whole["$defs"]
    properties: dict[str, Any] = whole["properties"]
    for key, entry in _ENTRIES.items():
        items = {"anyOf": _choices(entry, definitions)}
        properties[key] = {"type": "array", "minItems": 1, "items": items}
    properties["executor"] = {"anyOf": _executors(definitions)}
    properties["search"] = _search()
    properties["seeds"]["anyOf"] = [properties["seeds"].copy(), {"type": "integer", "minimum": 1}]
    for moved in ("type", "items"):
        properties["seeds"].pop(moved, None)
    whole["required"] = sorted(_ENTRIES)  # the name is the file's where it is not given
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | whole


def _choices(entry: type[Entry], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    names = list(entry.catalog())
    own = _inlined(entry, definitions)
    mappings = [
        _mapping(name, own | _inlined(entry.settings_type(name), definitions)) for name in names
    ]
    return [{"enum": names}, *mappings]


def _executors(definitions: dict[str, Any]) -> list[dict[str, Any]]:
    mappings = [_mapping(name, _inlined(options_type(name), definitions)) for name in BACKENDS]
    return [{"enum": list(BACKENDS)}, *mappings]


def _inlined(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    described = model.model_json_schema()
    definitions |= described.get("$defs", {})
    properties: dict[str, Any] = described.get("properties", {})
    return {name: what for name, what in properties.items() if name not in GATHERED}


def _mapping(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties | {"name": {"const": name}},
        "required": ["name"],
        "additionalProperties": False,
    }


def _search() -> dict[str, Any]:
    block = {
        "type": "object",
        "properties": {"mode": {"enum": ["grid", "zip"]}},
        "additionalProperties": {"type": "array", "minItems": 1},
    }
    return {"anyOf": [block, {"type": "array", "items": block}]}
