"""Presets: settings of the method that belong together, by one name. What is set beside it wins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..catalog import Catalog, Entry

PRESETS: dict[str, dict[str, Any]] = {
    "paper-like": {
        "axes": ["channel", "time"],
        "search_space": 3,
        "keep": "first",
        "weights": "soft",
        "normalise": False,
        "gate_norm": "batch",
        "gate_input": "frames",
        "gate_stride": 1,
        "activation": "exact",
        "training": {"square": True, "only_correct": True, "pressure": "clip"},
    },
    "foldable": {
        "cheap": "copy",
        "placement": "after",
        "normalise": True,
        "weights": "hard",
    },
}
"""`paper-like`: what is recalled of the paper, wherever the default is ours; what it does not name
is not known. `foldable`: what the inference engine never has to write down, copies behind the
activation, and one live branch that weighs one."""

SUMMARIES = {
    "paper-like": "what is recalled of the paper",
    "foldable": "what the inference engine can fold away",
}
_CATALOG = Catalog("preset", {name: Entry("", text) for name, text in SUMMARIES.items()})


def with_preset(settings: Any) -> Any:
    """Return settings with those of the preset they name filled in, and its name taken out.

    Args:
        settings: As in budgets.yaml; anything but a mapping is returned as it is.

    Raises:
        ValueError: There is no such preset.
    """
    if not isinstance(settings, Mapping) or "preset" not in settings:
        return settings
    name = settings["preset"]
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(_CATALOG.explain(str(name)))
    own = {key: value for key, value in settings.items() if key != "preset"}
    return _over(PRESETS[name], own)


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**base, **own}
    for key, value in base.items():
        if isinstance(value, Mapping) and isinstance(own.get(key), Mapping):
            merged[key] = _over(value, own[key])
    return merged
