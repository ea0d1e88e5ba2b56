"""run(trial) -> Record: build, train, evaluate, count, time. Runs on a worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from jobs.worker import Worker
from registry.evaluation import Evaluation, check_engine, evaluate, verify_macs
from registry.interfaces import Prepared
from registry.latency import compare
from registry.macs import count
from registry.recognizers.build import build
from registry.recognizers.forward import recognizer_forward
from registry.starting import StartFrom
from registry.training import Trained, train
from registry.vared.engine import accelerate
from registry.weights import write_weights
from results.clips import Clips
from results.record import Accuracy, EngineCheck, Latency, Macs, Record
from results.store import Store

from .checkout import code_revision
from .checkpoints import Checkpoints
from .environment import environment
from .machine_times import own_times
from .starts import weights_to_start_from
from .study import any_budget, clips_of, dependence
from .trial import Trial
from .workbench import Workbench, num_params, open_workbench, prepare

NUM_VERIFIED_CLIPS = 4
NUM_LATENCY_REPEATS = 20
WINDOW = 0.05
"""A budget is met by a share at or under it and not more than this far below."""


def run(payload: Mapping[str, Any], worker: Worker) -> dict[str, Any]:
    """Run one trial and write its record; go on where an earlier attempt was interrupted.

    Args:
        payload: `trial` as plain data, `runs` and `data_root` as paths (`data_root` may be None),
            `threads` to compute with, `checkpoint_s` between checkpoints, whether it
            `keeps_weights`.
        worker: Hears each epoch's figures, and says when to end; must keep a folder.

    Returns:
        Key and status of the record that now lies in the trial's folder.
    """
    began = _Began(datetime.now(timezone.utc), time.perf_counter())
    trial = Trial.model_validate(payload["trial"])
    torch.set_num_threads(int(payload.get("threads", 1)))
    store = Store(Path(payload["runs"]))
    data_root = None if payload.get("data_root") is None else Path(payload["data_root"])
    folder = store.trial_folder(trial.key)
    checkpoints = Checkpoints(folder.checkpoint_path, payload["checkpoint_s"], worker)
    times = own_times(folder.latency_path, store.root)
    start = weights_to_start_from(trial, store)

    bench = open_workbench(trial, data_root)
    prepared = _started(prepare(trial, bench, times), start)
    logs = worker.folder or folder.path
    trained = train(
        prepared, bench.splits, trial.recipe, trial.seed, logs, worker.report, checkpoints
    )
    if payload.get("keeps_weights"):
        write_weights(folder.weights_path, prepared.model)
    record, clips = _measured(trial, bench, prepared, trained, began)
    store.write_clips(clips)
    store.write_record(record)
    folder.checkpoint_path.unlink(missing_ok=True)
    return {"key": record.key, "status": record.status}


@dataclass(frozen=True)
class _Began:
    """When an attempt at a trial began: by the calendar, and by a clock that only grows."""

    at: datetime
    clock: float


def _measured(
    trial: Trial, bench: Workbench, prepared: Prepared, trained: Trained, began: _Began
) -> tuple[Record, Clips]:
    """Measure what was trained, as a whole and clip by clip."""
    own_macs = _own_macs(prepared, bench)
    batch, val = trial.recipe.batch, bench.splits.val
    evaluation = evaluate(prepared.model, val, batch, own_macs)
    macs = _macs(prepared, evaluation, bench)
    fast, why_not = _accelerated(prepared)
    clips = clips_of(trial.key, evaluation, bench.dense_macs, bench.splits.class_names)
    depends = dependence(prepared.model, val, clips, batch, bench.dense_macs)
    shifted = any_budget(prepared, bench.splits, batch, trial.any_budget)
    latency = _latency(prepared, fast, bench)
    engine = _engine_check(fast, trial, bench, evaluation)
    record = Record(
        key=trial.key,
        status="ok",
        trial=trial.model_dump(mode="json"),
        dataset=trial.dataset.label or trial.dataset.name,
        recognizer=trial.recognizer.label or trial.recognizer.name,
        method=trial.method.label or trial.method.name,
        budget=trial.budget,
        seed=trial.seed,
        accuracy=_accuracy(evaluation),
        macs=macs,
        latency=latency,
        engine=engine,
        num_params=num_params(prepared.model),
        num_params_dense=bench.dense_params,
        budget_status=_budget_status(trial.budget, macs.share),
        train_time_s=trained.time_s,
        loader_wait_s=trained.waited_s,
        wall_time_s=trained.earlier_s + time.perf_counter() - began.clock,
        num_steps=trained.num_steps,
        history=trained.history,
        routes=evaluation.routes,
        input_dependence=depends,
        any_budget=shifted,
        manifest_digest=trial.data_digest,
        code_revision=code_revision(),
        environment=environment(),
        started_at=began.at.isoformat(timespec="seconds"),
        finished_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        warnings=(*bench.splits.warnings, *prepared.notes, *why_not),
        unreadable_clips=evaluation.unreadable,
    )
    return record, clips


def _started(prepared: Prepared, weights: Path | None) -> Prepared:
    if weights is None:
        return prepared
    notes = (*prepared.notes, "training started from the trained dense recognizer's weights")
    return replace(prepared, hooks=[StartFrom(weights), *prepared.hooks], notes=notes)


def _own_macs(prepared: Prepared, bench: Workbench) -> int:
    """Multiply-adds of the recognizer as it is; of one with gates, those of a blank clip."""
    example = bench.example.to(_device(prepared))
    return count(prepared.model, example, recognizer_forward).total


def _device(prepared: Prepared) -> torch.device:
    return next(prepared.model.parameters()).device


def _accuracy(evaluation: Evaluation) -> Accuracy:
    return Accuracy(
        top1=evaluation.top(1),
        top5=evaluation.top(5),
        mean_class=evaluation.mean_class(),
        num_clips=len(evaluation.labels_N),
        num_unreadable=len(evaluation.unreadable),
    )


def _macs(prepared: Prepared, evaluation: Evaluation, bench: Workbench) -> Macs:
    import numpy as np

    executed = evaluation.macs_N
    p5, p50, p95 = (float(q) for q in np.percentile(executed, [5, 50, 95]))
    num_clips = min(NUM_VERIFIED_CLIPS, len(executed))
    return Macs(
        dense=bench.dense_macs,
        mean=float(executed.mean()),
        p5=p5,
        p50=p50,
        p95=p95,
        min=int(executed.min()),
        max=int(executed.max()),
        gate=float(evaluation.gate_N.mean()),
        rebuild=float(evaluation.rebuild_N.mean()),
        num_clips_verified=verify_macs(prepared.model, bench.splits.val, range(num_clips)),
    )


def _accelerated(prepared: Prepared) -> tuple[Any, tuple[str, ...]]:
    """The recognizer in the engine; a backbone it cannot run loses those figures, not the trial."""
    try:
        return accelerate(prepared.model), ()
    except ValueError as error:
        return None, (f"not timed in the engine: {error}",)


def _latency(prepared: Prepared, fast: Any, bench: Workbench) -> Latency:
    dense = build(bench.config, bench.example).to(_device(prepared)).eval()
    recognizers = {"dense_": dense, "": prepared.model}
    if fast is not None:
        recognizers |= {"engine_dense_": accelerate(dense), "engine_": fast}
    timings = compare(recognizers, bench.splits.val, NUM_LATENCY_REPEATS)
    figures = {
        f"{prefix}{name}": ms for prefix, t in timings.items() for name, ms in vars(t).items()
    }
    return Latency(**figures, num_repeats=NUM_LATENCY_REPEATS, num_threads=torch.get_num_threads())


def _engine_check(
    fast: Any, trial: Trial, bench: Workbench, evaluation: Evaluation
) -> EngineCheck | None:
    if fast is None:
        return None
    return EngineCheck(**vars(check_engine(fast, bench.splits.val, trial.recipe.batch, evaluation)))


def _budget_status(budget: float | None, share: float) -> Any:
    if budget is None:
        return None
    if share > budget:
        return "infeasible"
    return "met" if share >= budget - WINDOW else "under"
