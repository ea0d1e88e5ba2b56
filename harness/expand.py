"""From a sweep to its trials: everything resolved, in a stable order, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from registry import tables
from registry.interfaces import Manifest

from .budgets import Sweep
from .entries import DatasetEntry, MethodEntry, RecognizerEntry
from .problems import BudgetsError, sentences
from .search import RECIPE, Point, label_of, part_of, relevant_points, with_values
from .starts import without_source
from .trial import Choice, Recipe, Start, Trial

Manifests = dict[str, Manifest]
"""By the data set's label."""


@dataclass(frozen=True)
class _Variant:
    """A method at one point of the search, and the recipe part of that point."""

    choice: Choice
    recipe: dict[str, Any]
    budgets: tuple[float | None, ...]
    any_budget: tuple[float, ...]
    start: Start


def expand(sweep: Sweep, data_root: Path | None = None) -> list[Trial]:
    """Return the trials of a sweep.

    Seeds vary slowest, so that an interrupted sweep has whole frontiers of fewer seeds. A method
    that takes no budget is trained once per data set, recognizer and seed.

    Args:
        sweep: A validated sweep.
        data_root: Folder that data sets given by relative paths lie in.

    Raises:
        BudgetsError: Too many trials, data sets that cannot be used, clips that a recognizer does
            not take, or a combination of settings that a method refuses.
    """
    return trials_of(sweep, manifests(sweep, data_root))


def manifests(sweep: Sweep, data_root: Path | None) -> Manifests:
    """Return what each data set consists of.

    Raises:
        BudgetsError: All data sets that cannot be used, each with what is wrong with it, and all
            recognizers that do not take clips as long as they are asked to.
    """
    found: Manifests = {}
    problems = list(_misfits(sweep))
    for number, entry in enumerate(sweep.datasets):
        source = tables.DATASETS.load(entry.name)
        settings = source.settings_type.model_validate(entry.settings)
        try:
            found[entry.label] = source.manifest(settings, data_root)
        except (ValueError, OSError) as error:
            problems.append(f"`datasets[{number}]` ({entry.label}): {error}")
    problems += _counted_twice(sweep, found)
    if problems:
        raise BudgetsError(sweep.name, problems)
    return found


def _counted_twice(sweep: Sweep, found: Manifests) -> Iterator[str]:
    """Data sets of a pool with the same clips: they would count as two runs, and are one."""
    seen: dict[tuple[str, str], str] = {}
    for number, entry in enumerate(sweep.datasets):
        if entry.pool and entry.label in found:
            first = seen.setdefault((entry.pool, found[entry.label].digest), entry.label)
            if first != entry.label:
                rule = f"must differ from all others in {entry.pool}, but has the clips of {first}"
                yield f"`datasets[{number}]` ({entry.label}) {rule}"


def trials_of(sweep: Sweep, found: Manifests) -> list[Trial]:
    """Return the trials of a sweep over data sets whose manifests are known.

    Raises:
        BudgetsError: As `expand`, less the data sets.
    """
    variants = _variants(sweep)
    _guard(sweep, variants)
    templates = [
        _trial(sweep, dataset, recognizer, variant, budget, found[dataset.label].digest)
        for dataset in sweep.datasets
        for recognizer in sweep.recognizers
        for variant in variants
        for budget in variant.budgets
    ]
    trials = (trial.with_seed(seed) for seed in sweep.seeds for trial in templates)
    unique: dict[str, Trial] = {}
    for trial in trials:
        unique.setdefault(trial.key, trial)
    _check_sources(sweep, list(unique.values()))
    return list(unique.values())


def _check_sources(sweep: Sweep, trials: list[Trial]) -> None:
    if lost := without_source(trials):
        labels = ", ".join(dict.fromkeys(trial.method.label for trial in lost))
        rule = f"`methods`: {labels} starts from dense, which must be among the methods"
        raise BudgetsError(sweep.name, [rule])


def _misfits(sweep: Sweep) -> Iterator[str]:
    # found here, since in a trial it would be found again in every one of them
    searched = [variant.recipe for variant in _variants(sweep)]
    for number, entry in enumerate(sweep.recognizers):
        recognizer = tables.RECOGNIZERS.load(entry.name)
        lengths = {
            _recipe(sweep.recipe, dataset.recipe, entry.recipe, recipe).frames
            for dataset in sweep.datasets
            for recipe in searched
        }
        for num_frames in sorted(lengths):
            try:
                recognizer.config(
                    scale=sweep.scale, num_classes=2, num_frames=num_frames, dropout=0.0
                )
            except ValueError as error:
                yield f"`recognizers[{number}]` ({entry.label}) with `frames`: {error}"


def _guard(sweep: Sweep, variants: list[_Variant]) -> None:
    per_cell = sum(len(variant.budgets) for variant in variants)
    count = len(sweep.seeds) * len(sweep.datasets) * len(sweep.recognizers) * per_cell
    if count > sweep.max_trials:
        rule = f"this sweep has {count} trials, more than `max_trials`, {sweep.max_trials}"
        raise BudgetsError(sweep.name, [f"{rule}; raise that if you mean it"])


def _variants(sweep: Sweep) -> list[_Variant]:
    variants: list[_Variant] = []
    problems: list[str] = []
    for number, method in enumerate(sweep.methods):
        budgets = _budgets(sweep, method)
        also = sweep.any_budget if method.has_gates else ()
        for point in relevant_points(sweep.search, method.name):
            try:
                choice = _choice(method, point)
            except ValidationError as error:
                where = f"`methods[{number}]` at {label_of(point)}"
                problems += [f"{where}: {text}" for text in sentences(error)]
            else:
                variants.append(
                    _Variant(choice, part_of(point, RECIPE), budgets, also, method.start)
                )
    if problems:
        raise BudgetsError(sweep.name, problems)
    return variants


def _budgets(sweep: Sweep, method: MethodEntry) -> tuple[float | None, ...]:
    if not method.takes_budget:
        return (None,)
    return tuple(dict.fromkeys(method.budgets or sweep.budgets))


def _choice(method: MethodEntry, point: Point) -> Choice:
    model = MethodEntry.settings_type(method.name)
    settings = model.model_validate(with_values(method.settings, part_of(point, method.name)))
    label = " ".join(filter(None, [method.label, label_of(point)]))
    return Choice(name=method.name, settings=settings.model_dump(mode="json"), label=label)


def _recipe(base: Recipe, *overrides: dict[str, Any]) -> Recipe:
    values = base.model_dump()
    for override in overrides:
        values |= override
    return Recipe.model_validate(values)


def _trial(
    sweep: Sweep,
    dataset: DatasetEntry,
    recognizer: RecognizerEntry,
    variant: _Variant,
    budget: float | None,
    digest: str,
) -> Trial:
    return Trial(
        dataset=dataset.choice,
        recognizer=recognizer.choice,
        method=variant.choice,
        budget=budget,
        scale=sweep.scale,
        recipe=_recipe(sweep.recipe, dataset.recipe, recognizer.recipe, variant.recipe),
        data_digest=digest,
        any_budget=variant.any_budget,
        start=variant.start,
    )
