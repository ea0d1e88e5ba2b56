"""What a trial tells about single clips: what each executed, and whether its motion mattered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import pseudo_collate
from torch.utils.data import Dataset

from registry.evaluation import Evaluation, evaluate, gates_decide
from registry.interfaces import Prepared, Splits
from registry.stills import Frozen as FrozenClips
from registry.vared.calibration import Shares, shifted
from registry.vared.controller import BudgetHook, calibration_batches
from registry.vared.settings import ControlSettings
from results.clips import Clip, Clips, Route, distinct
from results.dependence import against_frozen, input_dependence
from results.record import AnyBudget, Frozen, InputDependence

MAX_FROZEN_CLIPS = 128


def clips_of(
    key: str, evaluation: Evaluation, dense_macs: int, class_names: Sequence[str]
) -> Clips:
    """Return what a trial did with each validation clip.

    Args:
        key: Of the trial.
        evaluation: Of its validation list.
        dense_macs: Multiply-adds of the dense recognizer.
        class_names: Names by label.
    """
    routes, which = _routes(evaluation)
    predictions = evaluation.scores_NK.argmax(1)
    return Clips(
        key=key,
        class_names=tuple(class_names),
        layers=tuple(evaluation.routes),
        routes=routes,
        clips=tuple(
            Clip(
                name=name,
                label=int(evaluation.labels_N[i]),
                prediction=int(predictions[i]),
                share=round(int(evaluation.macs_N[i]) / dense_macs, 6),
                motion=_motion(evaluation, i),
                route=which[i] if routes else None,
            )
            for i, name in enumerate(evaluation.clips)
        ),
    )


def _routes(evaluation: Evaluation) -> tuple[tuple[Route, ...], list[int]]:
    if not evaluation.routes:
        return (), []
    rows = evaluation.computed_NL2.round(3).tolist()
    return distinct(
        Route(channels=tuple(row[0] for row in layers), frames=tuple(row[1] for row in layers))
        for layers in rows
    )


def _motion(evaluation: Evaluation, index: int) -> float | None:
    readable = bool(evaluation.readable_N[index])
    return round(float(evaluation.motion_N[index]), 3) if readable else None


def dependence(
    model: Any, val: Dataset[Any], clips: Clips, batch: int, dense_macs: int
) -> InputDependence | None:
    """Return whether gates save by how much a clip moves; None where no gates decide.

    Args:
        model: The trained recognizer.
        val: The validation clips.
        clips: What it did with each of them.
        batch: Clips at a time.
        dense_macs: Multiply-adds of the dense recognizer.
    """
    if not gates_decide(model):
        return None
    return input_dependence(clips, _against_frozen(model, val, clips, batch, dense_macs))


def _against_frozen(
    model: Any, val: Dataset[Any], clips: Clips, batch: int, dense_macs: int
) -> Frozen | None:
    """The share of some clips frozen to one frame, spread over the list."""
    readable = [i for i, clip in enumerate(clips.clips) if clip.motion is not None]
    if not readable:
        return None
    # rounded up, so that no more than so many are left
    chosen = readable[:: -(-len(readable) // MAX_FROZEN_CLIPS)]
    executed = evaluate(model, FrozenClips(val, chosen), batch, dense_macs).macs_N
    moving = [clips.clips[i].share for i in chosen]
    return against_frozen(moving, [round(int(macs) / dense_macs, 6) for macs in executed])


def any_budget(
    prepared: Prepared, splits: Splits, batch: int, budgets: Sequence[float]
) -> tuple[AnyBudget, ...]:
    """Return what the trained recognizer does at other budgets, and leave it as it is.

    Gates are shifted on the training clips that they were calibrated on in training, each time from
    where training left them.

    Args:
        prepared: The recognizer, trained, and its hooks.
        splits: Its clips.
        batch: Clips at a time.
        budgets: Shares of the dense multiply-adds; those no route comes below are left out.
    """
    if not budgets or not gates_decide(prepared.model):
        return ()
    model: Any = prepared.model
    costs = model.vared.costs
    shares = Shares(model, calibration_batches(splits.train, batch, pseudo_collate))
    found = []
    for budget in budgets:
        if budget <= costs.floor():
            continue
        with shifted(shares, budget, _margin(prepared)):
            seen = evaluate(model, splits.val, batch, costs.dense)
        share = float(seen.macs_N.mean()) / costs.dense
        found.append(AnyBudget(budget=budget, share=share, top1=seen.top(1)))
    return tuple(found)


def _margin(prepared: Prepared) -> float:
    """How far under a budget the trial's own gates were calibrated."""
    own = (hook.settings for hook in prepared.hooks if isinstance(hook, BudgetHook))
    return next(own, ControlSettings()).margin
