"""From trials back to a budgets.yaml with every default written out, and whether it gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from registry.interfaces import Manifest
from results.record import Record

from .budgets import parse
from .expand import trials_of
from .problems import BudgetsError
from .trial import SCRATCH, Choice, Recipe, Trial


@dataclass(frozen=True)
class Resolved:
    """A budgets.yaml made from trials.

    Args:
        text: The file; empty where one file cannot say it.
        note: Whether it gives the same trials, in a sentence.
        is_exact: Whether today's code makes of it exactly the trials of the sweep.
    """

    text: str
    note: str
    is_exact: bool = False


def resolve(name: str, records: Sequence[Record], keys: Iterable[str]) -> Resolved:
    """Return the file that asks for the trials of records, and how far it gives them.

    Args:
        name: Of the sweep.
        records: Under the labels of the sweep.
        keys: Of all trials of the sweep.
    """
    try:
        trials = [Trial.model_validate(record.trial) for record in records]
        document = _document(name, records, trials)
    except (ValidationError, ValueError) as error:
        why = str(error).partition("\n")[0]
        return Resolved("", f"No one file asks for these trials ({why}); see their trial.json.")
    note, is_exact = _agreement(document, records, frozenset(keys))
    return Resolved(f"# {note}\n{yaml.safe_dump(document, sort_keys=False)}", note, is_exact)


def _document(name: str, records: Sequence[Record], trials: Sequence[Trial]) -> dict[str, Any]:
    budgets: dict[str, dict[float, None]] = {}
    for record, trial in zip(records, trials, strict=True):
        budgets.setdefault(record.method, {})
        if trial.budget is not None:
            budgets[record.method][trial.budget] = None
    methods = {r.method: t.method for r, t in zip(records, trials, strict=True)}
    starts = {
        record.method: {"start": trial.start}
        for record, trial in zip(records, trials, strict=True)
        if trial.start != SCRATCH
    }
    shifted = [trial.any_budget for trial in trials if trial.any_budget]
    also = {"any_budget": [*_only("lists of any_budget", shifted)]} if shifted else {}
    recipe, of_recognizers = _recipes(records, trials)
    recognizers = {r.recognizer: t.recognizer for r, t in zip(records, trials, strict=True)}
    return {
        "name": name,
        "datasets": _datasets(records, trials),
        "recognizers": [
            entry | of_recognizers.get(entry["label"], {}) for entry in _entries(recognizers)
        ],
        "methods": [
            entry
            | ({"budgets": [*budgets[entry["label"]]]} if budgets[entry["label"]] else {})
            | starts.get(entry["label"], {})
            for entry in _entries(methods)
        ],
        **also,
        "seeds": [*dict.fromkeys(trial.seed for trial in trials)],
        "scale": _only("scales", [trial.scale for trial in trials]),
        "recipe": recipe,
        "max_trials": max(2000, len(trials)),
    }


def _recipes(
    records: Sequence[Record], trials: Sequence[Trial]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The recipe of most trials, and what recognizers have of their own."""
    by_recognizer: dict[str, list[Recipe]] = {}
    for record, trial in zip(records, trials, strict=True):
        by_recognizer.setdefault(record.recognizer, []).append(trial.recipe)
    (common, _), *_ = Counter(trial.recipe for trial in trials).most_common(1)
    shared = common.model_dump()
    own = {}
    for label, recipes in by_recognizer.items():
        recipe = _only(f"recipes of {label}", recipes).model_dump()
        if changed := {key: value for key, value in recipe.items() if value != shared[key]}:
            own[label] = {"recipe": changed}
    return shared, own


def _datasets(records: Sequence[Record], trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Entries; where one label stands for several data sets, they are its pool."""
    by_label: dict[str, dict[str, Choice]] = {}
    for record, trial in zip(records, trials, strict=True):
        by_label.setdefault(record.dataset, {})[trial.dataset.canonical] = trial.dataset
    entries = []
    for label, choices in by_label.items():
        if len(choices) == 1:
            entries += _entries({label: next(iter(choices.values()))})
        else:
            pooled = _entries({choice.label: choice for choice in choices.values()})
            entries += [entry | {"pool": label} for entry in pooled]
    return entries


def _own_label(record: Record) -> str:
    """Of the data set, also where it is pooled."""
    return Trial.model_validate(record.trial).dataset.label


def _entries(choices: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": choice.name, "label": label, **choice.settings}
        for label, choice in choices.items()
    ]


def _only(what: str, values: Sequence[Any]) -> Any:
    if any(value != values[0] for value in values):
        raise ValueError(f"they have several {what}")
    return values[0]


def _agreement(
    document: dict[str, Any], records: Sequence[Record], keys: frozenset[str]
) -> tuple[str, bool]:
    found = {
        label: Manifest(record.manifest_digest, 0, 0)
        for record in records
        for label in (_own_label(record), record.dataset)
    }
    try:
        made = {trial.key for trial in trials_of(parse(document), found)}
    except BudgetsError as error:
        return f"This code does not take it: {error.problems[0]}", False
    if made == keys:
        return "This code makes of it exactly the trials of the sweep, by their keys.", True
    return (
        f"This code makes {len(made)} trials of it, {len(made & keys)} of them among the "
        f"{len(keys)} of the sweep: use the revision that the records name.",
        False,
    )
