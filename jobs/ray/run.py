"""One submission of calls as one Ray Tune experiment.

Trial number i runs call number i. Tune sees only that number and the metrics: payloads may hold
what it would take for a search space, and names what no folder can be called.
"""

from __future__ import annotations

import queue
import re
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from ..executor import Call, Outcome, State
from ..options import RayOptions
from .asha import GroupAsha
from .worker import Message, trainable


class RayRun:
    """Calls on their way through Tune.

    Args:
        calls: Checked calls.
        options: `max_concurrent` and `asha` are used here.
        folder: Absolute folder for Tune's own results.
    """

    def __init__(self, calls: Sequence[Call], options: RayOptions, folder: Path) -> None:
        self._calls = tuple(calls)
        self._options = options
        self._folder = folder
        self._events: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._scheduler = _scheduler(self._calls, options)
        self._thread = threading.Thread(target=self._fit, name="ray-tune", daemon=True)

    def outcomes(self) -> Iterator[Outcome]:
        """Start, and yield outcomes as they come; closing the iterator cancels the rest."""
        waiting = {call.name: call for call in self._calls}
        if not self._cancelled.is_set():
            self._thread.start()
        try:
            for outcome in self._as_completed(len(waiting)):
                del waiting[outcome.call.name]
                yield outcome
            yield from (self._left_over(call) for call in waiting.values())
            waiting.clear()
            self._warn_if_not_judged()
        finally:
            if waiting:
                self._cancelled.set()
            self._join()

    def cancel(self) -> None:
        """Kill what runs, forget what waits, and return when that is done."""
        self._cancelled.set()
        self._join()

    def _as_completed(self, count: int) -> Iterator[Outcome]:
        """Yield up to `count` outcomes; fewer if Tune ends before."""
        for _ in range(count):
            event = self._events.get() if self._thread.ident else None
            if event is None:
                return
            if isinstance(event, BaseException):
                raise event
            yield event

    def _join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()

    def _left_over(self, call: Call) -> Outcome:
        if self._cancelled.is_set():
            return Outcome(call, State.STOPPED)
        return Outcome(call, State.FAILED, error="Ray Tune ended without a result for this call.")

    def _warn_if_not_judged(self) -> None:
        if self._options.asha and self._scheduler and not self._scheduler.has_judged:
            warnings.warn(
                f"No call reported `{self._options.asha.metric}`, so `asha` had nothing to judge.",
                stacklevel=3,
            )

    def _fit(self) -> None:
        try:
            self._tuner().fit()
        except _Cancelled:
            pass
        except BaseException as error:  # belongs to whoever waits for outcomes
            self._events.put(error)
        finally:
            self._events.put(None)

    def _tuner(self) -> Any:
        name_trial = partial(_trial_name, [call.name for call in self._calls])
        return tune.Tuner(
            trainable(self._calls),
            param_space={"index": tune.grid_search(list(range(len(self._calls))))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=self._options.max_concurrent,
                scheduler=self._scheduler,
                trial_name_creator=name_trial,
                trial_dirname_creator=name_trial,
            ),
            run_config=tune.RunConfig(
                name=f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}",
                storage_path=str(self._folder),
                callbacks=[_Feed(self._calls, self._events, self._cancelled)],
                verbose=0,
            ),
        )


class _Cancelled(Exception):  # noqa: N818  # nothing went wrong
    """Raised within Tune's loop: it then cleans up and lets go."""


class _Feed(tune.Callback):  # type: ignore[misc]  # Ray ships no types
    """Turns what Tune tells into outcomes, and keeps time limits; lives in Tune's thread."""

    def __init__(
        self,
        calls: Sequence[Call],
        events: queue.SimpleQueue[Outcome | BaseException | None],
        cancelled: threading.Event,
    ) -> None:
        self._calls = calls
        self._events = events
        self._cancelled = cancelled
        self._last: dict[int, Message] = {}
        self._deadlines: dict[int, float] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its settings for a later resume, which we never ask for; queues cannot be.
        return tune.Callback, ()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._cancelled.is_set():
            for trial in trials:
                _kill(trial)
            raise _Cancelled
        now = time.monotonic()
        for trial in trials:
            if self._deadlines.get(trial.config["index"], now) < now:
                _kill(trial)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        limit_min = self._call(trial).resources.time_min
        if limit_min is not None:
            self._deadlines[trial.config["index"]] = time.monotonic() + 60 * limit_min

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._last[trial.config["index"]] = result["message"]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = self._last.get(trial.config["index"])
        stopped = Outcome(self._call(trial), State.STOPPED, value=last.content if last else None)
        self._end(trial, otherwise=stopped)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell what the worker could not: it died, or its answer cannot be sent."""
        call = self._call(trial)
        error = Path(trial.error_file).read_text(encoding="utf-8")
        if time.monotonic() > self._deadlines.get(trial.config["index"], float("inf")):
            error = f"Killed at its limit of {call.resources.time_min} min."
        self._end(trial, otherwise=Outcome(call, State.FAILED, error=error))

    def _call(self, trial: Any) -> Call:
        index: int = trial.config["index"]
        return self._calls[index]

    def _end(self, trial: Any, otherwise: Outcome) -> None:
        """Believe the worker's last word; without one, what Tune observed."""
        self._deadlines.pop(trial.config["index"], None)
        last = self._last.pop(trial.config["index"], None)
        outcome = otherwise
        if last and last.kind == "returned":
            outcome = Outcome(otherwise.call, State.DONE, value=last.content)
        elif last and last.kind == "failed":
            outcome = Outcome(otherwise.call, State.FAILED, error=last.content)
        self._events.put(outcome)


def _scheduler(calls: Sequence[Call], options: RayOptions) -> GroupAsha | None:
    if options.asha is None:
        return None
    return GroupAsha(options.asha, f"reported/{options.asha.metric}", [c.group for c in calls])


def _trial_name(names: Sequence[str], trial: Any) -> str:
    """Return a folder name that starts with the number of the call, so it is unique."""
    index = trial.config["index"]
    readable = re.sub(r"[^A-Za-z0-9.=-]+", "-", names[index])
    return f"{index:05d}-{readable[:60]}"


def _kill(trial: Any) -> None:
    """End the trial's process now; Tune itself would wait for the next report."""
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor)
