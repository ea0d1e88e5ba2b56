"""How large dense recognizers are: counted once, then remembered in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from registry import recognizers
from registry.datasets.inspection import cache_folder
from results.store import write_atomic

from .trial import Trial


class Size(NamedTuple):
    """A dense recognizer's multiply-adds for one clip, and its parameters."""

    macs: int
    params: int


def dense_size(trial: Trial) -> Size:
    """Return the size of a trial's dense recognizer, from the user's cache if it was built before.

    Counting builds it, without memory for its weights; importing what that takes is slow.
    """
    recipe = trial.recipe
    asked: dict[str, Any] = {"scale": trial.scale, "size": recipe.size, "frames": recipe.frames}
    versions = [version("mmaction2"), _sources_digest()]
    memory = cache_folder() / "sizes.json"
    key = json.dumps([trial.recognizer.name, asked, versions])
    known = _recall(memory)
    if key not in known:
        from registry.macs import summarise

        summary = summarise(trial.recognizer.name, **asked)
        known[key] = [round(summary["dense_gmacs"] * 1e9), summary["params"]]
        _remember(memory, known)
    return Size(*known[key])


@lru_cache(maxsize=1)
def _sources_digest() -> str:
    """Whatever may change the size of a recognizer."""
    folder = Path(recognizers.__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return hashlib.sha256(sources).hexdigest()[:12]


def _recall(memory: Path) -> dict[str, list[int]]:
    try:
        known: dict[str, list[int]] = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known


def _remember(memory: Path, known: Mapping[str, list[int]]) -> None:
    with contextlib.suppress(OSError):  # a home that cannot be written costs time, not results
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(memory, json.dumps(known))
